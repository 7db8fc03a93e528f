// When a recording begins: with the first picture, or with what there is when none is to be expected.

export interface Signs {
  /** Since the room was joined, in ms. */
  readonly elapsed: number;
  /** Since a picture of others was first on the screen, in ms; `undefined`: none was. */
  readonly sincePicture: number | undefined;
  /** Tiles and tracks whose first picture is yet to come. */
  readonly waiting: number;
  /** Video that others have published and not muted: what a picture may yet come of. */
  readonly videos: number;
  /** Tracks of any kind that are received. */
  readonly tracks: number;
}

/** With the first picture here, the others' get this long, so that a recording need not begin with holes in it. */
export const TOGETHER = 500;
/** Without any video, tracks get this long to be accompanied by one. */
export const WITHOUT_VIDEO = 500;
/** Video that shows nothing is waited for this long. */
export const WITHOUT_PICTURE = 5000;

export function mayStart({ elapsed, sincePicture, waiting, videos, tracks }: Signs): boolean {
  if (sincePicture !== undefined) {
    return waiting === 0 || sincePicture > TOGETHER;
  }
  return tracks > 0 && elapsed > (videos === 0 ? WITHOUT_VIDEO : WITHOUT_PICTURE);
}
