// How long to wait before the next look. Pure.

const EVERY = 2000;
const LONGEST = 30_000;

/** Milliseconds until the next look, after so many that failed in a row. */
export function pause(failed: number): number {
  return Math.min(EVERY * 2 ** Math.min(failed, 10), LONGEST);
}
