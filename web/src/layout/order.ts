// Who comes first. A layout gives the first places to the first tiles.

export interface Candidate {
  readonly id: string;
  readonly kind: "camera" | "screen-share";
  readonly speaking: boolean;
  /** How loud, from 0 to 1. */
  readonly level: number;
  /** When they were last heard, in ms of any clock; `undefined`: never. */
  readonly lastSpoke: number | undefined;
  readonly cameraOn: boolean;
  readonly joinedAt: number;
}

/** Screens that are shared; who speaks, the loudest first; who spoke most recently; whose camera is on; who came first. */
export function byImportance<T extends Candidate>(candidates: readonly T[]): T[] {
  return [...candidates].sort(
    (a, b) =>
      first(a.kind === "screen-share", b.kind === "screen-share") ||
      (a.kind === "screen-share" ? 0 : speech(a, b) || first(a.cameraOn, b.cameraOn)) ||
      a.joinedAt - b.joinedAt ||
      (a.id < b.id ? -1 : 1),
  );
}

function first(a: boolean, b: boolean): number {
  return Number(b) - Number(a);
}

function speech(a: Candidate, b: Candidate): number {
  return (
    first(a.speaking, b.speaking) ||
    (a.speaking ? b.level - a.level : 0) ||
    (b.lastSpoke ?? -Infinity) - (a.lastSpoke ?? -Infinity) ||
    0
  );
}

/**
 * Keeps tiles where they were. `next` decides which tiles have places of a rank. Those that already had one of these places
 * keep it, and the others take the free ones.
 *
 * `ranks`: how many places there are of each rank, in the order of the lists.
 */
export function settled(
  previous: readonly string[],
  next: readonly string[],
  ranks: readonly number[],
): string[] {
  const result: string[] = [];
  for (const size of ranks) {
    const start = result.length;
    const members = next.slice(start, start + size);
    const kept = members.map((_, index) => {
      const before = previous[start + index];
      return before !== undefined && members.includes(before) ? before : undefined;
    });
    const others = members.filter((id) => !kept.includes(id));
    result.push(...kept.map((id) => id ?? others.shift() ?? "").filter((id) => id !== ""));
  }
  return [...result, ...next.slice(result.length)];
}
