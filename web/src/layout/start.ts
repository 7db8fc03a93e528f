// When a recording begins: with the first picture, or with what there is when none is to be expected.

export interface Signs {
  /** Since the room was joined, in ms. */
  readonly elapsed: number;
  /** Pictures of others that were really shown. */
  readonly pictures: number;
  /** Video that others have published and not muted: what a picture may yet come of. */
  readonly videos: number;
  /** Tracks of any kind that are received. */
  readonly tracks: number;
}

/** Without any video, tracks get this long to be accompanied by one. */
export const WITHOUT_VIDEO = 500;
/** Video that shows nothing is waited for this long. */
export const WITHOUT_PICTURE = 5000;

export function mayStart({ elapsed, pictures, videos, tracks }: Signs): boolean {
  if (pictures > 0) {
    return true;
  }
  return tracks > 0 && elapsed > (videos === 0 ? WITHOUT_VIDEO : WITHOUT_PICTURE);
}
