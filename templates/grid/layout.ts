// Everyone in equal cells: 1, 2, 4, 9, 16, 25.
import { gridShape, inGrid, type Layout, whole } from "@weir/layout";

const grid: Layout = {
  ranks: (tiles, stage) => {
    const { columns, rows } = gridShape(tiles.length, stage);
    return [columns * rows];
  },
  arrange: (tiles, stage) => inGrid(tiles, whole(stage)),
};
export default grid;
