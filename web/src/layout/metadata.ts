// What livekit-server's UpdateLayout leaves in the recorder's own metadata: `{"layout": "speaker-light"}`.

/** The layout's name; `undefined` where the metadata are something else. */
export function layoutIn(metadata: string | undefined): string | undefined {
  if (metadata === undefined || metadata === "") {
    return undefined;
  }
  try {
    const value: unknown = JSON.parse(metadata);
    if (
      typeof value === "object" &&
      value !== null &&
      "layout" in value &&
      typeof value.layout === "string"
    ) {
      return value.layout;
    }
  } catch {
    // Others may put there what they like.
  }
  return undefined;
}
