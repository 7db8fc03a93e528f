// The words that the recorder waits for. They go to the console, as LiveKit's templates have it. Those that begin with `WEIR_` are
// Weir's own.

export type Signal = "START_RECORDING" | "END_RECORDING" | "WEIR_EVICTED" | `WEIR_ROOM_ID ${string}`;

export function say(signal: Signal): void {
  // biome-ignore lint/suspicious/noConsole: the recorder reads the console.
  console.log(signal);
}

/** How long a page that is not painted at all is waited for, in ms. */
const UNPAINTED = 200;

/** Calls back when the page's current state is on the screen: a frame is announced before it is painted, one paint later. */
export function onceShown(callback: () => void): void {
  let called = false;
  const once = () => {
    if (!called) {
      called = true;
      callback();
    }
  };
  requestAnimationFrame(() => requestAnimationFrame(once));
  setTimeout(once, UNPAINTED);
}

/** For whoever reads the page's console when something went wrong. */
export function warn(text: string): void {
  // biome-ignore lint/suspicious/noConsole: see above.
  console.warn(text);
}

/** Removes the token, which some of the server's messages repeat, from an error's text. */
export function scrubbed(text: string, token: string): string {
  return token === "" ? text : text.replaceAll(token, "***").replaceAll(encodeURIComponent(token), "***");
}

/** Shows why there is nothing to record, where the recorder looks for it. */
export function showError(text: string): void {
  const error = document.createElement("div");
  error.className = "error";
  error.textContent = text;
  document.body.replaceChildren(error);
}
