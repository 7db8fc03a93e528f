// Decides when a recording begins: at the first frame, or without one if no video is expected.

export interface Signs {
  /** Since the room was joined, in ms. */
  readonly elapsed: number;
  /** Time since the first frame of another participant was on the screen, in ms; `undefined` before that. */
  readonly sincePicture: number | undefined;
  /** Tiles and tracks that still wait for their first frame. */
  readonly waiting: number;
  /** Unmuted video tracks of others, which may still bring a first frame. */
  readonly videos: number;
  /** Tracks of any kind that are received. */
  readonly tracks: number;
}

/** After the first frame the other tracks get this long, so that a recording does not begin with empty tiles. */
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
