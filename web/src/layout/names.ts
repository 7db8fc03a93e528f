// From the name that a request or a participant's metadata gives to a layout and a theme. Names are taken as LiveKit's own template takes
// them: by what they begin with, and what is unknown is a grid.

export interface Choice {
  /** A folder of templates/. */
  readonly layout: string;
  readonly theme: "light" | "dark";
}

export const FALLBACK = "grid";

/** `known`: the folders of templates/. */
export function choose(name: string, known: readonly string[], screenShared: boolean): Choice {
  const theme = name.endsWith("-light") ? "light" : "dark";
  // A shared screen wants a stage. Who asked for no layout at all gets a grid all the same.
  const wanted = screenShared && name.startsWith(FALLBACK) ? name.replace(FALLBACK, "speaker") : name;
  const layout = known
    .filter((folder) => wanted.startsWith(folder))
    .reduce((longest, folder) => (folder.length > longest.length ? folder : longest), "");
  return { layout: layout === "" ? FALLBACK : layout, theme };
}
