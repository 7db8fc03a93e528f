// The outputs of a recording, as a list.

import { busy, h } from "./dom";
import type { Output } from "./view";

export function outputList(outputs: Output[], remove?: (url: string) => Promise<unknown>): HTMLElement[] {
  return outputs.map((output) => h("li", {}, ...parts(output, remove)));
}

function parts(output: Output, remove?: (url: string) => Promise<unknown>): HTMLElement[] {
  const { kind, name, href, state, tone, error, removable } = output;
  const place = href
    ? h("a", { class: "name", href, target: "_blank", rel: "noopener noreferrer" }, name)
    : h("span", { class: "name" }, name);
  const rest = h(
    "span",
    { class: "row" },
    place,
    h("span", { class: "state", "data-tone": tone }, state),
    remove !== undefined && removable !== undefined && button(removable, remove),
    error !== undefined && h("span", { class: "problem" }, error),
  );
  return [h("span", { class: "kind" }, kind), rest];
}

function button(url: string, remove: (url: string) => Promise<unknown>): HTMLElement {
  const off = h(
    "button",
    { type: "button", class: "quiet small", "aria-label": `Stop streaming to ${url}` },
    "Remove",
  );
  off.addEventListener("click", () => void busy(off, async () => void (await remove(url))));
  return off;
}
