import { expect, test } from "vitest";
import { asked, parseQuery } from "./query";

test("a layout may bring its options", () => {
  expect(asked("speaker-light")).toEqual({ name: "speaker-light", options: new Map() });
  expect(asked("")).toEqual({ name: "", options: new Map() });
  const { name, options } = asked(
    "branded-light?title=All+hands&logo=https%3A%2F%2Fa.example%2Fl.png%3Fv%3D1&title=Late",
  );
  expect(name).toBe("branded-light");
  expect([...options]).toEqual([
    ["title", "Late"],
    ["logo", "https://a.example/l.png?v=1"],
  ]);
});

test("what an address says counts with what its layout says", () => {
  const address = (layout: string) =>
    `?url=ws%3A%2F%2Fhost&token=t&names=1&title=of+the+address&layout=${encodeURIComponent(layout)}`;
  const plain = parseQuery(address("branded"));
  expect(plain).toMatchObject({ url: "ws://host", token: "t", layout: "branded", names: true, muted: false });
  expect([...(plain?.options ?? [])]).toEqual([
    ["names", "1"],
    ["title", "of the address"],
  ]);
  const own = parseQuery(address("branded?title=its+own&muted=1"));
  expect(own?.options.get("title")).toBe("its own");
  expect(own).toMatchObject({ names: true, muted: true });
  expect([...(own?.options.keys() ?? [])]).not.toContain("token");
});

test("without a room or a token there is nothing to join", () => {
  expect(parseQuery("?url=ws%3A%2F%2Fhost")).toBeUndefined();
  expect(parseQuery("?token=t&layout=grid")).toBeUndefined();
});
