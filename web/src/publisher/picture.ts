// Frames that identify their sender to people and programs: a colour all over, a number as a bar code in the middle.
//
//   ┌──────────────────────────┐  The bar lies in the middle two fifths of the width (30 % to 70 %), and from 40 % to 60 % of the height,
//   │         (flash)          │  so that it survives margins being cut off. It has eight cells of one width:
//   │                          │
//   │      ▌▐█ ▐  bar  █       │    white, black     what 1 and 0 look like in this drawing
//   │                          │    5 bits           the number, 0 to 31, the highest bit first
//   │ ▪ (moves)                │    1 bit            makes the number of ones among these six even
//   └──────────────────────────┘
//
// The colour is undisturbed at (50 %, 70 %). A square moves along the lower edge (85 % to 95 % of the height). With beeps, the
// top of the middle (30 % to 70 %, 5 % to 25 %) is white while one sounds.

export const CELLS = 8;

/** The bar's cells, `true` for white. */
export function cells(number: number): boolean[] {
  const bits = [4, 3, 2, 1, 0].map((bit) => ((number >> bit) & 1) === 1);
  const odd = bits.filter(Boolean).length % 2 === 1;
  return [true, false, ...bits, odd];
}

export interface Look {
  readonly color: string;
  readonly number: number;
}

/** `moment`: in seconds. */
export function draw(context: CanvasRenderingContext2D, look: Look, moment: number, flash: boolean): void {
  const { width, height } = context.canvas;
  context.fillStyle = look.color;
  context.fillRect(0, 0, width, height);
  const [left, top, cell] = [width * 0.3, height * 0.4, (width * 0.4) / CELLS];
  cells(look.number).forEach((white, index) => {
    const from = Math.round(left + index * cell);
    context.fillStyle = white ? "#fff" : "#000";
    context.fillRect(
      from,
      Math.round(top),
      Math.round(left + (index + 1) * cell) - from,
      Math.round(height * 0.2),
    );
  });
  const side = height * 0.1;
  context.fillStyle = "#fff";
  context.fillRect(((moment / 4) % 1) * (width - side), height * 0.85, side, side);
  if (flash) {
    context.fillRect(left, height * 0.05, width * 0.4, height * 0.2);
  }
}
