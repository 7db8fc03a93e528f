// Asks the service. What lets the page in, an access token or a session's, is kept as long as the tab is: no cookie, which other ports of
// this machine would get to see.

import type { Board, EgressInfo } from "./info";

const KEPT = "weir-token";
const PATIENCE = 15_000;
/** A start waits for its recorder. */
const LONG_PATIENCE = 60_000;

/** Why something was not done, in the service's own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }

  /** A token has to be shown. */
  get needsToken(): boolean {
    return this.status === 401;
  }
}

export const token = {
  get: (): string => sessionStorage.getItem(KEPT) ?? "",
  keep(text: string): void {
    sessionStorage.setItem(KEPT, text);
  },
  forget(): void {
    sessionStorage.removeItem(KEPT);
  },
};

/** The one-time key in what somebody typed or opened: the key itself, or the address with it. */
export function keyIn(text: string): string | undefined {
  return /(?:^|#key=)(wk_[A-Za-z0-9]+)$/.exec(text.trim())?.[1];
}

/** Begins a session with a key that is good once. One that is refused ends no session. */
export async function begin(key: string): Promise<void> {
  const answer = (await (await ask("session", PATIENCE, { key })).json()) as { token: string };
  token.keep(answer.token);
}

async function ask(path: string, patience: number, body?: unknown): Promise<Response> {
  const shown = token.get();
  const headers: Record<string, string> = shown === "" ? {} : { authorization: `Bearer ${shown}` };
  const post = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  if (body !== undefined) headers["content-type"] = "application/json";
  const options = { ...post, headers, cache: "no-store" as const, signal: AbortSignal.timeout(patience) };
  let answer: Response;
  try {
    answer = await fetch(`console/api/${path}`, options);
  } catch {
    throw new Refused(0, "The service does not answer. Does it still run, and is the network there?");
  }
  if (!answer.ok) {
    throw new Refused(answer.status, await reason(answer));
  }
  return answer;
}

async function reason(answer: Response): Promise<string> {
  try {
    const { message } = (await answer.json()) as { message?: unknown };
    if (typeof message === "string" && message !== "") return message;
  } catch {
    // Somebody else answers, a proxy perhaps.
  }
  return `The service answers with status ${answer.status}`;
}

const of = (id: string, what: string) => `recordings/${encodeURIComponent(id)}/${what}`;

export async function board(): Promise<Board> {
  return (await (await ask("recordings", PATIENCE)).json()) as Board;
}

/** Returns a recording's current frame as JPEG; `undefined` without one. */
export async function preview(id: string): Promise<Blob | undefined> {
  const answer = await ask(of(id, "picture.jpg"), PATIENCE);
  return answer.status === 204 ? undefined : await answer.blob();
}

async function change(path: string, body: unknown): Promise<EgressInfo> {
  return (await (await ask(path, LONG_PATIENCE, body)).json()) as EgressInfo;
}

export const start = (form: unknown): Promise<EgressInfo> => change("start", form);
export const stop = (id: string): Promise<EgressInfo> => change(of(id, "stop"), {});
export const layout = (id: string, name: string): Promise<EgressInfo> =>
  change(of(id, "layout"), { layout: name });
export const addStream = (id: string, url: string): Promise<EgressInfo> =>
  change(of(id, "streams"), { add: [url] });
export const removeStream = (id: string, url: string): Promise<EgressInfo> =>
  change(of(id, "streams"), { remove: [url] });
