// What a layout in templates/ is made of. A layout says where tiles go; it knows nothing of rooms, tracks or elements.

/** A camera or a shared screen to be placed. */
export interface Tile {
  /** The same for as long as this participant shows this. */
  readonly id: string;
  readonly kind: "camera" | "screen-share";
  /** Width by height as they are at the moment; 16:9 until that is known. */
  readonly aspect: number;
}

/** In CSS pixels, which are the recording's pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Box extends Size {
  readonly x: number;
  readonly y: number;
}

/** `cover` fills the box and loses what is beyond it, `contain` shows all and leaves the rest of the box empty. */
export type Fit = "cover" | "contain";

/** The place of a tile. A tile without one is neither shown nor received. */
export interface Placement extends Box {
  readonly id: string;
  readonly fit: Fit;
  /** The tile's role in this layout, for its style sheet: `.tile[data-role="inset"]`. */
  readonly role?: string;
}

/** Query parameters of the page other than `url`, `token` and `layout`. */
export type Options = ReadonlyMap<string, string>;

/** Something that is shown beside the tiles: an element of class `ornament` and its own, to be placed by the style sheet. */
export interface Ornament {
  readonly className: string;
  readonly text?: string;
  /** Address of an image. */
  readonly image?: string;
  /** Any colour of CSS. */
  readonly color?: string;
}

/** The default export of a `layout.ts`. All of it is pure: the same arguments, the same answer. */
export interface Layout {
  /**
   * How many places there are of each rank, from the most to the least prominent. Tiles come in the order of their importance;
   * which of them have a place of a rank is decided by that order, but within a rank nobody moves for it.
   */
  ranks(tiles: readonly Tile[], stage: Size, options: Options): readonly number[];
  /** Places tiles, the most important one first. */
  arrange(tiles: readonly Tile[], stage: Size, options: Options): Placement[];
  ornaments?(options: Options): Ornament[];
}

/** All of a stage. */
export function whole(stage: Size): Box {
  return { x: 0, y: 0, ...stage };
}

/** How a tile's video fills its box: cameras may be cropped, screens and portrait video may not. */
export function fitOf(tile: Tile): Fit {
  return tile.kind === "screen-share" || tile.aspect < 1 ? "contain" : "cover";
}

/** Size of the video in a box, including the part that `cover` crops. */
export function pictureSize({ width, height, fit }: Size & { readonly fit: Fit }, aspect: number): Size {
  const byWidth = { width, height: width / aspect };
  const byHeight = { width: height * aspect, height };
  const wider = byHeight.width > width;
  const size = (fit === "cover") === wider ? byHeight : byWidth;
  return { width: Math.round(size.width), height: Math.round(size.height) };
}

/** One tile in a box. */
export function place(tile: Tile, box: Box, role?: string): Placement {
  const placement = { id: tile.id, fit: fitOf(tile), ...rounded(box) };
  return role === undefined ? placement : { ...placement, role };
}

/** A box on whole pixels: neighbours that touched still do. */
export function rounded(box: Box): Box {
  const x = Math.round(box.x);
  const y = Math.round(box.y);
  return { x, y, width: Math.round(box.x + box.width) - x, height: Math.round(box.y + box.height) - y };
}

export interface GridShape {
  readonly columns: number;
  readonly rows: number;
}

/** The shapes of a grid, and the width that each wants at least. */
const GRIDS: readonly (GridShape & { readonly minWidth: number })[] = [
  { columns: 1, rows: 1, minWidth: 0 },
  { columns: 2, rows: 1, minWidth: 0 },
  { columns: 2, rows: 2, minWidth: 560 },
  { columns: 3, rows: 3, minWidth: 700 },
  { columns: 4, rows: 4, minWidth: 960 },
  { columns: 5, rows: 5, minWidth: 1100 },
];

/**
 * The grid for a number of tiles, as LiveKit's components choose it: the smallest that has room for all, or else the largest that
 * is not too narrow; then there is a second page, which nobody sees. Two stand upon one another where it is higher than wide.
 */
export function gridShape(count: number, { width, height }: Size): GridShape {
  const fitting = GRIDS.filter((grid) => width >= grid.minWidth);
  const grid = fitting.find(({ columns, rows }) => columns * rows >= count) ?? fitting.at(-1);
  const { columns, rows } = grid ?? { columns: 1, rows: 1 };
  return columns !== rows && width <= height ? { columns: rows, rows: columns } : { columns, rows };
}

/**
 * Tiles in a grid of equal cells, row by row; those that have no cell are not placed. `shape`: where it is not to be
 * {@link gridShape}'s. `gap`: between cells, in pixels; LiveKit's own page has none.
 */
export function inGrid(
  tiles: readonly Tile[],
  box: Box,
  { columns, rows }: GridShape = gridShape(tiles.length, box),
  gap = 0,
): Placement[] {
  const width = (box.width - (columns - 1) * gap) / columns;
  const height = (box.height - (rows - 1) * gap) / rows;
  return tiles.slice(0, columns * rows).map((tile, index) => {
    const column = index % columns;
    const row = Math.floor(index / columns);
    return place(tile, { x: box.x + column * (width + gap), y: box.y + row * (height + gap), width, height });
  });
}

/** The column beside a stage is a fifth of the stage's width; its tiles are 16:10, from the top. */
function column(box: Box, gap: number): { width: number; height: number; places: number } {
  const width = (box.width - gap) / 6;
  const height = (width * 10) / 16;
  return { width, height, places: Math.max(1, Math.floor((box.height + gap) / (height + gap))) };
}

/** The ranks of {@link besideStage}: the stage, then the column. */
export function stageRanks(box: Box, gap = 0): number[] {
  return [1, column(box, gap).places];
}

/**
 * The first tile on a stage, the next in a column on the left of it. Alone it has all the room. `gap`: between tiles, in pixels;
 * LiveKit's own page has none.
 */
export function besideStage(tiles: readonly Tile[], box: Box, gap = 0): Placement[] {
  const [first, ...others] = tiles;
  if (first === undefined) {
    return [];
  }
  if (others.length === 0) {
    return [place(first, box, "stage")];
  }
  const { width, height, places } = column(box, gap);
  const stage = { ...box, x: box.x + width + gap, width: box.width - width - gap };
  return [
    place(first, stage, "stage"),
    ...others
      .slice(0, places)
      .map((tile, index) =>
        place(tile, { x: box.x, y: box.y + index * (height + gap), width, height }, "column"),
      ),
  ];
}
