// Who speaks, or the screen that is shared, and nobody else.
import { type Layout, place, whole } from "@weir/layout";

const singleSpeaker: Layout = {
  ranks: () => [1],
  arrange: (tiles, stage) => tiles.slice(0, 1).map((tile) => place(tile, whole(stage), "stage")),
};
export default singleSpeaker;
