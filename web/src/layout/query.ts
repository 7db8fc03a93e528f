// What the page's address says.
import type { Options } from "@weir/layout";

export interface Query {
  /** Where the room is: `ws://…` */
  readonly url: string;
  readonly token: string;
  readonly layout: string;
  /** `names=1` shows participants' names, `muted=1` who has no open microphone. */
  readonly names: boolean;
  readonly muted: boolean;
  /** Everything, for layouts that have options of their own; without the token. */
  readonly options: Options;
}

/** `undefined`: there is no room to join. */
export function parseQuery(search: string): Query | undefined {
  const params = new URLSearchParams(search);
  const url = params.get("url") ?? "";
  const token = params.get("token") ?? "";
  if (url === "" || token === "") {
    return undefined;
  }
  const options = new Map([...params].filter(([name]) => !["url", "token", "layout"].includes(name)));
  const on = (name: string) => options.get(name) === "1" || options.get(name) === "true";
  return { url, token, layout: params.get("layout") ?? "", names: on("names"), muted: on("muted"), options };
}
