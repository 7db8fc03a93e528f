import { expect, test } from "vitest";
import { pause } from "./backoff";
import { ago, bytes, clock, cores, counted, seconds } from "./format";

test("times", () => {
  expect([0, 7.9, 187, 3725, 360_000, -1, Number.NaN].map(clock)).toEqual([
    "0:00",
    "0:07",
    "3:07",
    "1:02:05",
    "100:00:00",
    "0:00",
    "0:00",
  ]);
  expect([0, 59, 60, 3599, 3600, 86_399, 86_400, 200_000].map(ago)).toEqual([
    "just now",
    "just now",
    "1 min ago",
    "59 min ago",
    "1 h ago",
    "23 h ago",
    "1 day ago",
    "2 days ago",
  ]);
  expect([seconds("1500000000"), seconds("0"), seconds(undefined), seconds("rubbish")]).toEqual([
    1.5, 0, 0, 0,
  ]);
});

test("numbers", () => {
  expect([0, 812, 999, 1000, 1_499_000, 9_960_000, 42_400_000, 3e12, -1].map(bytes)).toEqual([
    "0 B",
    "812 B",
    "999 B",
    "1.0 kB",
    "1.5 MB",
    "10 MB",
    "42 MB",
    "3.0 TB",
    "0 B",
  ]);
  expect([cores(0.424), cores(1), cores(2)]).toEqual(["0.42 cores", "1.00 core", "2.00 cores"]);
  expect([counted(1, "file"), counted(1234, "file")]).toEqual(["1 file", "1,234 files"]);
});

test("a service that is away is asked less and less, and never seldom", () => {
  expect([0, 1, 2, 3, 4, 50].map(pause)).toEqual([2000, 4000, 8000, 16_000, 30_000, 30_000]);
});
