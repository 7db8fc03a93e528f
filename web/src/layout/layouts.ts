// Every folder of templates/ is a layout: its `layout.ts` arranges, its `layout.css` is in force while it is shown.
import type { Layout } from "@weir/layout";
import { FALLBACK } from "./names";

const arrangements = import.meta.glob<Layout>("../../../templates/*/layout.ts", {
  eager: true,
  import: "default",
});
const styles = import.meta.glob<string>("../../../templates/*/layout.css", {
  eager: true,
  query: "?inline",
  import: "default",
});

export interface Template {
  readonly name: string;
  readonly layout: Layout;
  readonly css: string;
}

const templates = new Map<string, Template>(
  Object.entries(arrangements).map(([path, layout]) => {
    const name = path.split("/").at(-2) ?? "";
    return [name, { name, layout, css: styles[path.replace(/\.ts$/, ".css")] ?? "" }];
  }),
);

export const names: readonly string[] = [...templates.keys()];

export function template(name: string): Template {
  const found = templates.get(name) ?? templates.get(FALLBACK);
  if (found === undefined) {
    throw new Error(`templates/ has no ${FALLBACK}`);
  }
  return found;
}
