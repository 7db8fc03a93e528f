import { describe, expect, test } from "vitest";
import { names, template } from "./layouts";
import { type Options, type Placement, pictureSize, type Size, type Tile } from "./template";

const HD = { width: 1280, height: 720 };
const PORTRAIT = { width: 720, height: 1280 };
const NONE: Options = new Map();

function tiles(count: number, rest: Partial<Tile> = {}): Tile[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `t${index}`,
    kind: "camera",
    aspect: 16 / 9,
    ...rest,
  }));
}

function arrange(
  name: string,
  given: readonly Tile[],
  stage: Size = HD,
  options: Options = NONE,
): Placement[] {
  return template(name).layout.arrange(given, stage, options);
}

const boxes = (placements: readonly Placement[]) =>
  placements.map(({ x, y, width, height }) => `${x},${y} ${width}x${height}`);

function overlap(a: Placement, b: Placement): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

describe("every layout", () => {
  const stages = [
    HD,
    PORTRAIT,
    { width: 1920, height: 1080 },
    { width: 640, height: 360 },
    { width: 500, height: 500 },
  ];
  const brands: Options[] = [
    NONE,
    new Map([["title", "x"]]),
    new Map([
      ["logo", "https://x/l.png"],
      ["title", "x"],
    ]),
  ];
  test.each(names)("%s keeps within the stage, places nobody twice, and as many as it has places", (name) => {
    for (const stage of stages) {
      for (const options of brands) {
        for (let count = 0; count <= 30; count += 1) {
          for (const screens of [0, 1]) {
            const given = tiles(count).map(
              (tile, index): Tile => (index < screens ? { ...tile, kind: "screen-share" } : tile),
            );
            const placements = arrange(name, given, stage, options);
            for (const { x, y, width, height } of placements) {
              expect(x >= 0 && y >= 0 && width > 0 && height > 0).toBe(true);
              expect(x + width <= stage.width && y + height <= stage.height).toBe(true);
              expect([x, y, width, height].every(Number.isInteger)).toBe(true);
            }
            const places = template(name)
              .layout.ranks(given, stage, options)
              .reduce((sum, rank) => sum + rank, 0);
            expect(placements.map(({ id }) => id)).toEqual(given.slice(0, places).map(({ id }) => id));
            if (name !== "picture-in-picture") {
              const hit = placements.some((a, i) => placements.some((b, j) => i < j && overlap(a, b)));
              expect(hit).toBe(false);
            }
          }
        }
      }
    }
  });
});

describe("grid", () => {
  test.each([
    [1, HD, 1, 1],
    [2, HD, 2, 1],
    [2, PORTRAIT, 1, 2],
    [2, { width: 720, height: 720 }, 1, 2],
    [3, HD, 2, 2],
    [4, HD, 2, 2],
    [4, { width: 480, height: 360 }, 2, 1],
    [5, HD, 3, 3],
    [9, HD, 3, 3],
    [9, { width: 640, height: 360 }, 2, 2],
    [9, PORTRAIT, 3, 3],
    [10, HD, 4, 4],
    [10, PORTRAIT, 3, 3],
    [16, { width: 960, height: 540 }, 4, 4],
    [17, HD, 5, 5],
    [25, HD, 5, 5],
    [26, HD, 5, 5],
    [25, { width: 1099, height: 720 }, 4, 4],
  ])("%d tiles in %o: %d columns, %d rows", (count, stage, columns, rows) => {
    const placements = arrange("grid", tiles(count), stage);
    expect(placements).toHaveLength(Math.min(count, columns * rows));
    const edges = (length: number, count: number, at: number) =>
      [at, at + 1].map((edge) => Math.round((length / count) * edge));
    placements.forEach(({ x, y, width, height }, index) => {
      const [column, row] = [index % columns, Math.floor(index / columns)];
      expect([x, x + width]).toEqual(edges(stage.width, columns, column));
      expect([y, y + height]).toEqual(edges(stage.height, rows, row));
    });
  });

  test("cells touch one another", () => {
    expect(boxes(arrange("grid", tiles(4)))).toEqual([
      "0,0 640x360",
      "640,0 640x360",
      "0,360 640x360",
      "640,360 640x360",
    ]);
  });

  test("a camera fills its cell; an upright one and a screen are shown whole", () => {
    const [wide, upright, screen] = [
      tiles(1),
      tiles(1, { aspect: 9 / 16 }),
      tiles(1, { kind: "screen-share" }),
    ];
    expect(arrange("grid", wide)[0]?.fit).toBe("cover");
    expect(arrange("grid", upright)[0]?.fit).toBe("contain");
    expect(arrange("grid", screen)[0]?.fit).toBe("contain");
  });
});

describe("speaker", () => {
  test("nobody, one, and one with others", () => {
    expect(arrange("speaker", [])).toEqual([]);
    expect(boxes(arrange("speaker", tiles(1)))).toEqual(["0,0 1280x720"]);
    const three = arrange("speaker", tiles(3));
    // 1fr : 5fr; the column's tiles are 16:10.
    expect(boxes(three)).toEqual(["213,0 1067x720", "0,0 213x133", "0,133 213x134"]);
    expect(three.map(({ role }) => role)).toEqual(["stage", "column", "column"]);
    const full = arrange("speaker", tiles(3), { width: 1920, height: 1080 });
    expect(boxes(full)).toEqual(["320,0 1600x1080", "0,0 320x200", "0,200 320x200"]);
  });

  const stages = [HD, PORTRAIT, { width: 1920, height: 1080 }, { width: 854, height: 480 }];
  test.each(stages)("tiles touch one another in %o", (stage) => {
    const [first, ...column] = arrange("speaker", tiles(9), stage);
    expect(first?.width).toBe(stage.width - (first?.x ?? 0));
    let y = 0;
    for (const tile of column) {
      expect([tile.x, tile.width, tile.y]).toEqual([0, first?.x, y]);
      y += tile.height;
    }
  });

  test("the column has as many as fit", () => {
    expect(arrange("speaker", tiles(30))).toHaveLength(1 + 5);
    // Tiles of 120x75.
    expect(arrange("speaker", tiles(30), PORTRAIT)).toHaveLength(1 + 17);
  });
});

test("single-speaker shows the first and nobody else", () => {
  expect(boxes(arrange("single-speaker", tiles(4)))).toEqual(["0,0 1280x720"]);
});

test("picture-in-picture puts the second into a corner", () => {
  expect(boxes(arrange("picture-in-picture", tiles(3)))).toEqual(["0,0 1280x720", "936,516 320x180"]);
  const topLeft = arrange("picture-in-picture", tiles(2), HD, new Map([["corner", "top-left"]]));
  expect(boxes(topLeft)[1]).toBe("24,24 320x180");
});

describe("branded", () => {
  test("leaves room for what it was given", () => {
    const bare = arrange("branded", tiles(1));
    const full = arrange(
      "branded",
      tiles(1),
      HD,
      new Map([
        ["logo", "https://x/l.png"],
        ["title", "Talk"],
      ]),
    );
    expect(boxes(bare)).toEqual(["29,29 1222x662"]);
    expect(boxes(full)).toEqual(["29,101 1222x475"]);
  });

  test("a shared screen has the stage", () => {
    const [screen, ...cameras] = tiles(3);
    const placements = arrange("branded", screen ? [{ ...screen, kind: "screen-share" }, ...cameras] : []);
    expect(placements.map(({ role }) => role)).toEqual(["stage", "column", "column"]);
    const [stage, tile] = placements;
    expect(stage?.x).toBe((tile?.x ?? 0) + (tile?.width ?? 0) + 8);
  });

  test("the ground is seen between tiles", () => {
    const [left, right] = arrange("branded", tiles(2));
    expect(right?.x).toBe((left?.x ?? 0) + (left?.width ?? 0) + 8);
  });

  test("ornaments follow the options, and images come from the web alone", () => {
    const ornaments = (options: Record<string, string>) =>
      template("branded").layout.ornaments?.(new Map(Object.entries(options)));
    expect(ornaments({})).toEqual([]);
    expect(ornaments({ background: "navy", logo: "https://x/l.png", title: "T", subtitle: "S" })).toEqual([
      { className: "background", color: "navy" },
      { className: "logo", image: "https://x/l.png" },
      { className: "title", text: "T" },
      { className: "subtitle", text: "S" },
    ]);
    expect(ornaments({ background: "https://x/b.png" })).toEqual([
      { className: "background", image: "https://x/b.png" },
    ]);
    expect(ornaments({ logo: "file:///etc/passwd" })).toEqual([]);
  });
});

test("a tile requests the size at which its video is shown", () => {
  const wide = 16 / 9;
  expect(pictureSize({ width: 640, height: 360, fit: "cover" }, wide)).toEqual({ width: 640, height: 360 });
  expect(pictureSize({ width: 636, height: 720, fit: "cover" }, wide)).toEqual({ width: 1280, height: 720 });
  expect(pictureSize({ width: 636, height: 720, fit: "contain" }, wide)).toEqual({ width: 636, height: 358 });
  expect(pictureSize({ width: 1280, height: 720, fit: "contain" }, 9 / 16)).toEqual({
    width: 405,
    height: 720,
  });
});
