import { describe, expect, it } from "vitest";
import { keyIn } from "./api";

describe("a one-time key", () => {
  it("is found in what somebody types or opens", () => {
    const key = "wk_0aZ9";
    expect(keyIn(key)).toBe(key);
    expect(keyIn(` ${key}\n`)).toBe(key);
    expect(keyIn(`#key=${key}`)).toBe(key);
    expect(keyIn(`http://localhost:7981/#key=${key}`)).toBe(key);
  });

  it("is nothing else", () => {
    for (const text of [
      "",
      "#",
      "#key=",
      "wk_",
      "eyJh.eyJz.c2ln",
      "ws_0aZ9",
      "xwk_0aZ9",
      "wk_0a Z9",
      "#other=wk_0",
    ]) {
      expect(keyIn(text)).toBeUndefined();
    }
  });
});
