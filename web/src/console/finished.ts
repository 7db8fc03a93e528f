// What has ended.

import { h } from "./dom";
import { ago, clock, seconds } from "./format";
import type { EgressInfo } from "./info";
import { outputList } from "./outputs";
import * as view from "./view";

export function finishedList(infos: EgressInfo[], now: number): HTMLElement[] {
  return infos.map((info) => {
    const { word, tone } = view.status(info);
    const ended = seconds(info.ended_at);
    const when = new Date(ended * 1000);
    return h(
      "li",
      { class: "ended", "data-egress": info.egress_id },
      h(
        "div",
        { class: "row" },
        h("span", { class: "status", "data-tone": tone }, word),
        h("span", { class: "title" }, view.title(info)),
        h("span", { class: "facts" }, clock(view.length(info))),
        h("time", { datetime: when.toISOString(), title: when.toLocaleString() }, ago(now - ended)),
      ),
      info.error !== "" && h("p", { class: "problem" }, info.error),
      info.details !== "" && h("p", { class: "notes" }, info.details),
      h("ul", { class: "outputs", "aria-label": "Outputs" }, ...outputList(view.outputs(info))),
    );
  });
}
