// A grid, or a shared screen with a column beside it, on a ground of one's own, with a logo and a lower third.
//
//   logo         address of an image, top right
//   background   a colour of CSS (`%23102030`, `navy`), or the address of an image
//   title        the lower third's first line
//   subtitle     its second
import {
  type Box,
  besideStage,
  gridShape,
  inGrid,
  type Layout,
  type Options,
  type Ornament,
  type Size,
  stageRanks,
  type Tile,
} from "@weir/layout";

/** Between tiles, in pixels: each is a card with round corners on the ground. */
const GAP = 8;

/** The tiles' area: the stage without the logo and the lower third. Both scale with the stage, as layout.css has it. */
function room(stage: Size, options: Options): Box {
  const unit = stage.height / 100;
  const top = options.has("logo") ? 14 * unit : 4 * unit;
  const bottom = options.has("title") || options.has("subtitle") ? 20 * unit : 4 * unit;
  return { x: 4 * unit, y: top, width: stage.width - 8 * unit, height: stage.height - top - bottom };
}

function isPicture(value: string): boolean {
  return /^(https?:|data:image\/)/i.test(value);
}

function presents(tiles: readonly Tile[]): boolean {
  return tiles.some((tile) => tile.kind === "screen-share");
}

const branded: Layout = {
  ranks: (tiles, stage, options) => {
    const box = room(stage, options);
    if (presents(tiles)) {
      return stageRanks(box, GAP);
    }
    const { columns, rows } = gridShape(tiles.length, box);
    return [columns * rows];
  },
  arrange: (tiles, stage, options) => {
    const box = room(stage, options);
    if (presents(tiles)) {
      return besideStage(tiles, box, GAP);
    }
    // Rows that would be empty are left out.
    const { columns, rows } = gridShape(tiles.length, box);
    return inGrid(tiles, box, { columns, rows: Math.min(rows, Math.ceil(tiles.length / columns)) }, GAP);
  },
  ornaments: (options) => {
    const background = options.get("background");
    const logo = options.get("logo");
    const title = options.get("title");
    const subtitle = options.get("subtitle");
    const ornaments: Ornament[] = [];
    if (background) {
      ornaments.push({
        className: "background",
        ...(isPicture(background) ? { image: background } : { color: background }),
      });
    }
    if (logo && isPicture(logo)) {
      ornaments.push({ className: "logo", image: logo });
    }
    if (title) {
      ornaments.push({ className: "title", text: title });
    }
    if (subtitle) {
      ornaments.push({ className: "subtitle", text: subtitle });
    }
    return ornaments;
  },
};
export default branded;
