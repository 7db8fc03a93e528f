// Who speaks, or the screen that is shared, large; the others in a column on the left.
import { besideStage, type Layout, stageRanks, whole } from "@weir/layout";

const speaker: Layout = {
  ranks: (_tiles, stage) => stageRanks(whole(stage)),
  arrange: (tiles, stage) => besideStage(tiles, whole(stage)),
};
export default speaker;
