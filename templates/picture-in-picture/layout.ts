// The most important tile fills the stage, the next one sits in a corner of it.
//
//   corner   top-left, top-right, bottom-left, bottom-right (the default)
import { type Box, type Layout, type Options, place, type Size, whole } from "@weir/layout";

const MARGIN = 24;

function inset(stage: Size, options: Options): Box {
  // A quarter of the shorter way of counting, so that upright recordings have one that can be seen.
  const width = Math.min(stage.width / 3, Math.max(stage.width, stage.height) / 4);
  const height = (width * 9) / 16;
  const corner = options.get("corner") ?? "bottom-right";
  return {
    x: corner.endsWith("left") ? MARGIN : stage.width - MARGIN - width,
    y: corner.startsWith("top") ? MARGIN : stage.height - MARGIN - height,
    width,
    height,
  };
}

const pictureInPicture: Layout = {
  ranks: () => [1, 1],
  arrange: (tiles, stage, options) => {
    const [first, second] = tiles;
    return [
      ...(first ? [place(first, whole(stage), "stage")] : []),
      ...(second ? [place(second, inset(stage, options), "inset")] : []),
    ];
  },
};
export default pictureInPicture;
