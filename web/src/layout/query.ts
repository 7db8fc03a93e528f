// What the page's address says.
import type { Options } from "@weir/layout";

export interface Query {
  /** Address of the room's server: `ws://…` */
  readonly url: string;
  readonly token: string;
  readonly layout: string;
  /** `names=1` shows participants' names, `muted=1` who has no open microphone. */
  readonly names: boolean;
  readonly muted: boolean;
  /** Everything, for layouts that have options of their own, with those of the layout that it begins with; without the token. */
  readonly options: Options;
}

/** A layout as it is asked for: its name and, behind a question mark, its options as in an address. */
export interface Asked {
  readonly name: string;
  readonly options: Options;
}

/** `branded?title=All+hands&logo=https://…`: a request and `UpdateLayout` have this one text to say it with. */
export function asked(layout: string): Asked {
  const at = layout.indexOf("?");
  return at < 0
    ? { name: layout, options: new Map() }
    : { name: layout.slice(0, at), options: new Map(new URLSearchParams(layout.slice(at))) };
}

/** Returns `undefined` without a room to join. */
export function parseQuery(search: string): Query | undefined {
  const params = new URLSearchParams(search);
  const url = params.get("url") ?? "";
  const token = params.get("token") ?? "";
  if (url === "" || token === "") {
    return undefined;
  }
  const layout = params.get("layout") ?? "";
  const others = [...params].filter(([name]) => !["url", "token", "layout"].includes(name));
  const options = new Map([...others, ...asked(layout).options]);
  const on = (name: string) => options.get(name) === "1" || options.get(name) === "true";
  return { url, token, layout, names: on("names"), muted: on("muted"), options };
}
