// A machine-readable number in a frame: 34 cells side by side, white for 1, black for 0.
//
//   guard      white, black: the levels of 1 and 0 in this frame
//   value      24 bits, the highest first
//   check      8 bits: the highest byte of value × 2654435769 (mod 2^32)
//
// tests/support/barcode.rs reads it.
"use strict";

const BAR_CELLS = 34;

function barCells(value) {
  value &= 0xffffff;
  const check = Math.imul(value, 2654435769) >>> 24;
  const cells = [1, 0];
  for (let bit = 23; bit >= 0; bit--) cells.push((value >>> bit) & 1);
  for (let bit = 7; bit >= 0; bit--) cells.push((check >>> bit) & 1);
  return cells;
}

/** Draws `value` over a rectangle of a 2D context. */
function drawBar(context, value, x, y, width, height) {
  const cells = barCells(value);
  context.fillStyle = "#000";
  context.fillRect(x, y, width, height);
  context.fillStyle = "#fff";
  for (let i = 0; i < BAR_CELLS; i++) {
    if (!cells[i]) continue;
    let end = i + 1;
    while (end < BAR_CELLS && cells[end]) end++;
    const left = Math.round((i * width) / BAR_CELLS);
    context.fillRect(x + left, y, Math.round((end * width) / BAR_CELLS) - left, height);
    i = end;
  }
}

/** Positions an element over a part of the window, given in fractions of its width and height; returns its size in pixels. */
function place(element, { x, y, width, height }) {
  const left = Math.round(x * innerWidth), top = Math.round(y * innerHeight);
  const size = { width: Math.round((x + width) * innerWidth) - left, height: Math.round((y + height) * innerHeight) - top };
  Object.assign(element.style, {
    position: "absolute", left: `${left}px`, top: `${top}px`, width: `${size.width}px`, height: `${size.height}px`,
  });
  if (element instanceof HTMLCanvasElement) Object.assign(element, size);
  return size;
}

/** Converts a time of the page's clock to wall-clock milliseconds in 24 bits (wraps after 4 h 39 min). */
function wallMillis(timestamp) {
  return Math.round(performance.timeOrigin + timestamp) % 0x1000000;
}

/** Reads a query parameter in seconds; returns milliseconds, or `undefined` if it is missing. */
function queryMillis(name) {
  const text = new URLSearchParams(location.search).get(name);
  return text === null ? undefined : Number(text) * 1000;
}

/** Parameters of every page: ?start=S and ?end=S log the signals S seconds after the page was opened. */
for (const [name, signal] of [["start", "START_RECORDING"], ["end", "END_RECORDING"]]) {
  const at = queryMillis(name);
  if (at !== undefined) setTimeout(() => console.log(signal), Math.max(0, at - performance.now()));
}
