import { expect, test } from "vitest";
import { names as folders, template } from "./layouts";
import { layoutIn } from "./metadata";
import { choose } from "./names";
import { parseQuery } from "./query";
import { scrubbed } from "./signals";

test.each([
  ["", "grid", "dark"],
  ["grid", "grid", "dark"],
  ["grid-light", "grid", "light"],
  ["gird-light", "grid", "light"],
  ["grid-dark", "grid", "dark"],
  ["speaker", "speaker", "dark"],
  ["speaker-light", "speaker", "light"],
  ["speakers", "speaker", "dark"],
  ["single-speaker-light", "single-speaker", "light"],
  ["single-speaker-dark", "single-speaker", "dark"],
  ["picture-in-picture-light", "picture-in-picture", "light"],
  ["branded", "branded", "dark"],
  ["LIGHT", "grid", "dark"],
  ["__proto__", "grid", "dark"],
])("%j is %s, %s", (name, layout, theme) => {
  expect(choose(name, folders, false)).toEqual({ layout, theme });
  expect(template(layout).name).toBe(layout);
});

test("a shared screen makes a speaker of a grid that was asked for, and of nothing else", () => {
  const shared = (name: string) => choose(name, folders, true);
  expect(shared("grid")).toEqual({ layout: "speaker", theme: "dark" });
  expect(shared("grid-light")).toEqual({ layout: "speaker", theme: "light" });
  expect(shared("")).toEqual({ layout: "grid", theme: "dark" });
  expect(shared("gird")).toEqual({ layout: "grid", theme: "dark" });
  expect(shared("single-speaker").layout).toBe("single-speaker");
  expect(shared("branded").layout).toBe("branded");
});

test("the longest folder that a name begins with is meant", () => {
  expect(choose("speaker-wide-light", ["grid", "speaker", "speaker-wide"], false).layout).toBe(
    "speaker-wide",
  );
});

test("a layout is read out of metadata, and everything else is left alone", () => {
  expect(layoutIn('{"layout":"speaker-light"}')).toBe("speaker-light");
  expect(layoutIn('{"layout":"","else":1}')).toBe("");
  for (const other of [
    undefined,
    "",
    "{",
    "null",
    "7",
    '"grid"',
    "[]",
    "{}",
    '{"layout":7}',
    '{"layout":null}',
  ]) {
    expect(layoutIn(other)).toBeUndefined();
  }
});

test("the address says room, token, layout and options", () => {
  const query = parseQuery(
    "?layout=grid-light&token=a.b.c&url=ws%3A%2F%2Fhost%3A7880&names=1&logo=https%3A%2F%2Fx%2Fl.png",
  );
  expect(query).toMatchObject({
    url: "ws://host:7880",
    token: "a.b.c",
    layout: "grid-light",
    names: true,
    muted: false,
  });
  expect([...(query?.options ?? [])]).toEqual([
    ["names", "1"],
    ["logo", "https://x/l.png"],
  ]);
  expect(parseQuery("?url=ws://x&token=y")?.layout).toBe("");
  for (const missing of [
    "",
    "?layout=grid",
    "?url=ws://x",
    "?token=y",
    "?url=&token=y",
    "?url=ws://x&token=",
  ]) {
    expect(parseQuery(missing)).toBeUndefined();
  }
});

test("what is told has no token in it", () => {
  expect(scrubbed("invalid token: a+b, again a%2Bb", "a+b")).toBe("invalid token: ***, again ***");
  expect(scrubbed("nothing", "")).toBe("nothing");
});
