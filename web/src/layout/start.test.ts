import { expect, test } from "vitest";
import { mayStart, type Signs } from "./start";

const nothing: Signs = { elapsed: 0, sincePicture: undefined, waiting: 0, videos: 0, tracks: 0 };

test("with a frame in every tile it starts at once", () => {
  expect(mayStart({ ...nothing, elapsed: 1, sincePicture: 0, videos: 3, tracks: 6 })).toBe(true);
});

test("with some frames it starts a little later", () => {
  const some = { ...nothing, elapsed: 900, waiting: 1, videos: 3, tracks: 6 };
  expect(mayStart({ ...some, sincePicture: 500 })).toBe(false);
  expect(mayStart({ ...some, sincePicture: 501 })).toBe(true);
});

test("without video, it starts half a second after the room was joined", () => {
  const sound = { ...nothing, tracks: 1 };
  expect(mayStart({ ...sound, elapsed: 500 })).toBe(false);
  expect(mayStart({ ...sound, elapsed: 501 })).toBe(true);
});

test("video that shows nothing is waited for for five seconds", () => {
  const dark = { ...nothing, waiting: 1, videos: 1, tracks: 1 };
  expect(mayStart({ ...dark, elapsed: 5000 })).toBe(false);
  expect(mayStart({ ...dark, elapsed: 5001 })).toBe(true);
});

test("where nothing is received it never starts", () => {
  expect(mayStart({ ...nothing, elapsed: 3_600_000 })).toBe(false);
  expect(mayStart({ ...nothing, elapsed: 3_600_000, videos: 2, waiting: 2 })).toBe(false);
});
