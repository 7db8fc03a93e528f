// The words that the recorder waits for. They go to the console, as LiveKit's templates have it.

export function say(signal: "START_RECORDING" | "END_RECORDING"): void {
  // biome-ignore lint/suspicious/noConsole: this is how the recorder is told.
  console.log(signal);
}

/** For whoever reads the page's console when something went wrong. */
export function warn(text: string): void {
  // biome-ignore lint/suspicious/noConsole: see above.
  console.warn(text);
}

/** Whatever goes wrong is told without the token, which some messages of the server repeat. */
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
