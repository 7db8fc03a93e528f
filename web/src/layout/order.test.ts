import { describe, expect, test } from "vitest";
import { byImportance, type Candidate, settled } from "./order";

function camera(id: string, joinedAt: number, rest: Partial<Candidate> = {}): Candidate {
  return {
    id,
    kind: "camera",
    speaking: false,
    level: 0,
    lastSpoke: undefined,
    cameraOn: true,
    joinedAt,
    ...rest,
  };
}

const ids = (candidates: readonly Candidate[]) => byImportance(candidates).map(({ id }) => id);

describe("byImportance", () => {
  test("screens, speech, recent speech, cameras, arrival: each before all that comes after it", () => {
    const steps = [
      camera("screen of an early one", 1, { kind: "screen-share", cameraOn: false }),
      camera("screen of a late one", 9, { kind: "screen-share", speaking: true, level: 1 }),
      camera("loud", 8, { speaking: true, level: 0.9, cameraOn: false }),
      camera("quiet", 2, { speaking: true, level: 0.1, lastSpoke: 900 }),
      camera("spoke just now", 7, { lastSpoke: 800, cameraOn: false }),
      camera("spoke before", 3, { lastSpoke: 100 }),
      camera("came first", 4),
      camera("came next", 6),
      camera("camera off", 0, { cameraOn: false }),
    ];
    const expected = steps.map(({ id }) => id);
    expect(ids(steps)).toEqual(expected);
    expect(ids([...steps].reverse())).toEqual(expected);
    expect(ids([...steps.slice(4), ...steps.slice(0, 4)])).toEqual(expected);
  });

  test("who came at the same time has an order, too, and the list is not touched", () => {
    const given = [camera("b", 1), camera("a", 1)];
    expect(ids(given)).toEqual(["a", "b"]);
    expect(given.map(({ id }) => id)).toEqual(["b", "a"]);
  });
});

describe("settled", () => {
  test("within a rank nobody moves for a new order", () => {
    expect(settled(["a", "b", "c"], ["c", "b", "a"], [4])).toEqual(["a", "b", "c"]);
  });

  test("who comes takes a free place, who goes leaves one", () => {
    expect(settled(["a", "b"], ["x", "a", "b"], [4])).toEqual(["a", "b", "x"]);
    expect(settled(["a", "b", "c"], ["a", "c"], [4])).toEqual(["a", "c"]);
    expect(settled(["a", "b", "c", "d"], ["a", "c", "d"], [4])).toEqual(["a", "d", "c"]);
  });

  test("whoever belongs on the first page is there, in the place of the one who does not", () => {
    expect(settled(["a", "b", "c"], ["c", "a", "b"], [2])).toEqual(["a", "c", "b"]);
  });

  test("a new speaker changes places on the stage, and the column keeps the others", () => {
    expect(settled(["a", "b", "c", "d"], ["c", "a", "b", "d"], [1, 5])).toEqual(["c", "b", "a", "d"]);
  });

  test("it always has exactly those that there are", () => {
    const all = ["a", "b", "c", "d", "e"];
    for (const ranks of [[1], [5], [1, 2], [2, 2], [9], []]) {
      for (const next of [all, [...all].reverse(), ["e", "a"], ["x", "c", "a", "y"], []]) {
        expect([...settled(all, next, ranks)].sort()).toEqual([...next].sort());
      }
    }
  });
});
