import { expect, test } from "vitest";
import { Publishers, Recorder, type SeenTile } from "./browser";
import { LiveKitServer, until } from "./livekit";
import { browser, pages, server } from "./room";

async function address(
  room: string,
  egressId: string,
  options: Record<string, string> = {},
): Promise<string> {
  const token = await server.recorderToken(room, egressId);
  // As the recorder makes it: sorted.
  const params = new URLSearchParams({ layout: "grid", token, url: server.url, ...options });
  return `${pages.url}/dist/layout/?${params}`;
}

const join = (room: string, identities: string[], options = {}) =>
  Publishers.join(browser, pages.url, server, room, identities, options);

test("shows who is there where the layout says, starts at the first picture and ends with the room", async () => {
  const publishers = await join("four", ["ann", "ben", "cem", "dea"], { microphone: "0" });
  const recorder = await Recorder.open(browser, await address("four", "EG_four"));
  await recorder.says("START_RECORDING");
  const tiles = await recorder.sees(
    "four tiles with pictures",
    (seen) => seen.filter((tile) => tile.received > 0).length === 4,
  );
  expect(tiles.map(({ box }) => box)).toEqual([
    "0,0 640x360",
    "640,0 640x360",
    "0,360 640x360",
    "640,360 640x360",
  ]);
  expect(tiles.map(({ id }) => id)).toEqual(["ann", "ben", "cem", "dea"].map((name) => `${name}/camera/0`));
  // The colours of the publisher's palette, undisturbed at 70 % of a tile's height.
  await recorder.shows(318, 249, ([red, green, blue]) => red > 150 && green < 80 && blue < 80);

  await publishers.act(1, "leave");
  await recorder.sees("three tiles", (seen) => seen.length === 3);
  await server.rooms.deleteRoom("four");
  await recorder.says("END_RECORDING");
  expect(recorder.console.filter((line) => line.endsWith("_RECORDING"))).toEqual([
    "START_RECORDING",
    "END_RECORDING",
  ]);
  await recorder.close();
  await publishers.page.close();
});

test("changes the layout at once when the recorder's metadata say so", async () => {
  const publishers = await join("layouts", ["ann", "ben", "cem"]);
  const recorder = await Recorder.open(browser, await address("layouts", "EG_layouts"));
  await recorder.says("START_RECORDING");
  await recorder.sees(
    "three tiles",
    (seen) => seen.length === 3 && seen.every(({ box }) => box.endsWith("640x360")),
  );
  const loaded = await recorder.page.evaluate("performance.timeOrigin");

  await server.rooms.updateParticipant("layouts", "EG_layouts", { metadata: '{"layout":"speaker-light"}' });
  const seen = await recorder.sees("a stage", (tiles) => tiles.some(({ role }) => role === "stage"));
  expect(seen.map(({ role }) => role).sort()).toEqual(["column", "column", "stage"]);
  await recorder.shows(100, 700, (color) => color.every((value) => value === 255));

  for (const metadata of ["{", '{"layout":7}', "[]", '"grid"', "null"]) {
    await server.rooms.updateParticipant("layouts", "EG_layouts", { metadata });
  }
  await server.rooms.updateParticipant("layouts", "EG_layouts", { metadata: '{"layout":"single-speaker"}' });
  await recorder.sees("one tile", (tiles) => tiles.length === 1 && tiles[0]?.box === "0,0 1280x720");
  expect(await recorder.page.evaluate("performance.timeOrigin")).toBe(loaded);
  await recorder.close();
  await publishers.page.close();
});

test("a shared screen takes the stage and gives it back", async () => {
  const publishers = await join("screen", ["ann", "ben"]);
  const recorder = await Recorder.open(browser, await address("screen", "EG_screen"));
  await recorder.sees(
    "two tiles",
    (seen) => seen.length === 2 && seen.every(({ box }) => box.endsWith("640x720")),
  );
  await publishers.act(1, "shareScreen");
  const tiles = await recorder.sees("three tiles", (seen) => seen.length === 3);
  const stage = tiles.find(({ role }) => role === "stage");
  expect(stage).toMatchObject({ id: "ben/screen_share/0", fit: "contain" });
  await publishers.act(1, "stopScreen");
  await recorder.sees(
    "two tiles",
    (seen) => seen.length === 2 && seen.every(({ box }) => box.endsWith("640x720")),
  );
  await recorder.close();
  await publishers.page.close();
});

test("who speaks is shown, and the one before until then", async () => {
  const publishers = await join("speech", ["ann", "ben"]);
  await publishers.act(1, "microphone", false);
  const recorder = await Recorder.open(
    browser,
    await address("speech", "EG_speech", { layout: "single-speaker" }),
  );
  await recorder.says("START_RECORDING");
  await recorder.sees(
    "ann's picture alone",
    ([tile, ...others]) => tile?.id === "ann/camera/0" && tile.received > 0 && others.length === 0,
  );
  // Whatever changes, some tile has a frame; of a successor whose frame is long in coming, for two seconds.
  await recorder.page.evaluate(() => {
    let changed: number | undefined;
    const bare = new MutationObserver(() => {
      if (document.querySelector('.tile[data-id="ben/camera/0"]')) {
        changed ??= performance.now();
      }
      if (![...document.querySelectorAll("video")].some(({ videoWidth }) => videoWidth > 0)) {
        document.documentElement.dataset.bare ??= String(performance.now() - (changed ?? performance.now()));
      }
    });
    bare.observe(document.body, { childList: true });
  });
  await publishers.act(0, "microphone", false);
  await publishers.act(1, "microphone", true);
  await recorder.sees("ben alone", ([tile, ...others]) => tile?.id === "ben/camera/0" && others.length === 0);
  await recorder.sees("ben's picture", ([tile]) => (tile?.received ?? 0) > 0);
  const bare = await recorder.page.locator("html").getAttribute("data-bare");
  expect(Number(bare ?? Number.POSITIVE_INFINITY)).toBeGreaterThan(1900);
  await until("the tile of before goes", async () =>
    (await recorder.page.locator(".tile").count()) === 1 ? true : undefined,
  );
  await recorder.close();
  await publishers.page.close();
});

test("a camera that is off leaves its tile; one that is unpublished takes it along", async () => {
  const publishers = await join("off", ["ann", "ben"]);
  const recorder = await Recorder.open(browser, await address("off", "EG_off", { names: "1", muted: "1" }));
  await recorder.sees("two tiles", (seen) => seen.length === 2 && seen.every(({ received }) => received > 0));
  await publishers.act(1, "camera", false);
  await recorder.sees("one camera off", (seen) => seen.filter(({ camera }) => camera === "off").length === 1);
  expect(await recorder.page.locator(".tile[data-camera=off] .figure").isVisible()).toBe(true);
  await publishers.act(1, "microphone", false);
  await until("the microphone's mark", async () =>
    (await recorder.page.locator(".label .microphone").filter({ visible: true }).count()) === 1
      ? true
      : undefined,
  );
  expect((await recorder.page.locator(".label").allTextContents()).sort()).toEqual([
    "Name of ann",
    "Name of ben",
  ]);
  await publishers.act(1, "unpublish", "camera");
  await recorder.sees("one tile", (seen) => seen.length === 1 && seen[0]?.id === "ann/camera/0");
  await recorder.close();
  await publishers.page.close();
});

test("a tile receives no more than it shows", async () => {
  // Two layers: 320x180 and 640x360.
  const publishers = await join("layers", ["ann"], { simulcast: "1" });
  const recorder = await Recorder.open(browser, await address("layers", "EG_layers"), {
    width: 320,
    height: 180,
  });
  // A browser that is short of CPU sends smaller frames than those.
  const isSmall = ([tile]: readonly SeenTile[]) =>
    tile !== undefined && tile.received > 0 && tile.received <= 320;
  await recorder.sees("the small picture", isSmall);
  await recorder.page.setViewportSize({ width: 1280, height: 720 });
  await recorder.sees("the large picture", ([tile]) => tile !== undefined && tile.received > 320);
  await recorder.page.setViewportSize({ width: 320, height: 180 });
  await recorder.sees("the small picture again", isSmall);
  await recorder.close();
  await publishers.page.close();
});

test("tiles keep their last pictures while the connection is made again", async () => {
  const other = await LiveKitServer.start();
  try {
    const publishers = await Publishers.join(browser, pages.url, other, "again", ["ann"], {
      microphone: "0",
    });
    const token = await other.recorderToken("again", "EG_again");
    const params = new URLSearchParams({ layout: "grid", token, url: other.url });
    const recorder = await Recorder.open(browser, `${pages.url}/dist/layout/?${params}`);
    await recorder.says("START_RECORDING");
    const isRed = ([r, g, b]: [number, number, number]) => r > 150 && g < 80 && b < 80;
    await recorder.shows(640, 504, isRed);
    const first = await recorder.track();
    expect(first).toBeDefined();
    await other.goAway();
    await other.comeBack();
    const back = Date.now();
    await recorder.says("the connection to the room is lost, trying again");
    const deadline = Date.now() + 90_000;
    // Both come back, in either order, and the tile has its old frame until it has a new one. The page waits ten seconds for who
    // was there, which a busy machine may need longer for.
    for (let track = first; track === first || track === undefined; track = await recorder.track()) {
      if (!isRed(await recorder.color(640, 504))) {
        expect(Date.now() - back).toBeGreaterThan(10_000);
      }
      expect(Date.now()).toBeLessThan(deadline);
    }
    await recorder.shows(640, 504, isRed);
    expect(recorder.console).not.toContain("END_RECORDING");
    await recorder.close();
    await publishers.page.close();
  } finally {
    await other.close();
  }
});

test("a template made with LiveKit's own package is told of layouts, too", async () => {
  const publishers = await join("foreign", ["ann"]);
  const token = await server.recorderToken("foreign", "EG_foreign");
  const params = new URLSearchParams({ layout: "first", token, url: server.url });
  const recorder = await Recorder.open(browser, `${pages.url}/dist-test/egress-sdk/?${params}`);
  await recorder.says("START_RECORDING");
  expect(await recorder.page.locator("[data-layout]").textContent()).toBe("first");
  await server.rooms.updateParticipant("foreign", "EG_foreign", { metadata: '{"layout":"speaker"}' });
  await recorder.page.locator("[data-layout=speaker]").waitFor();
  await server.rooms.deleteRoom("foreign");
  await recorder.says("END_RECORDING");
  await recorder.close();
  await publishers.page.close();
});

test("says that it was evicted when its twin joins, and not that the recording ends", async () => {
  const publishers = await join("evicted", ["ann"]);
  const recorder = await Recorder.open(browser, await address("evicted", "EG_evicted"));
  await recorder.says("START_RECORDING");
  // The server lets the last one in who has an identity, and throws the other out.
  const twin = await Recorder.open(browser, await address("evicted", "EG_evicted"));
  await recorder.says("WEIR_EVICTED");
  await twin.says("START_RECORDING");
  await publishers.page.close();
  await server.rooms.deleteRoom("evicted");
  await twin.says("END_RECORDING");
  expect(recorder.console).not.toContain("END_RECORDING");
  expect(twin.console).not.toContain("WEIR_EVICTED");
  await recorder.close();
  await twin.close();
});

test("shows every codec", async () => {
  const codecs = ["av1", "h264", "vp8", "vp9"];
  const publishers = await join("codecs", codecs, { codec: codecs, microphone: "0" });
  const recorder = await Recorder.open(browser, await address("codecs", "EG_codecs"));
  await recorder.sees("four tiles", (seen) => seen.filter(({ received }) => received > 0).length === 4);
  // In the order in which they came, and of one second in that of their names: red, green, blue, yellow.
  await recorder.shows(318, 249, ([red, green, blue]) => red > 120 && green <= 110 && blue <= 120);
  await recorder.shows(962, 249, ([red, green, blue]) => red <= 120 && green > 110 && blue <= 120);
  await recorder.shows(318, 613, ([red, green, blue]) => red <= 120 && green <= 110 && blue > 120);
  await recorder.shows(962, 613, ([red, green, blue]) => red > 120 && green > 110 && blue <= 120);
  for (const [index, codec] of codecs.entries()) {
    expect(await publishers.codec(index)).toBe(`video/${codec}`);
  }
  await recorder.close();
  await publishers.page.close();
});

test("starts with sound alone where there is no video, and not in an empty room", async () => {
  const recorder = await Recorder.open(browser, await address("sound", "EG_sound"));
  const publishers = await join("sound", [], {});
  expect(recorder.started).toBeUndefined();
  const one = await join("sound", ["ann"], { camera: "0" });
  await recorder.says("START_RECORDING");
  // Playing begins a moment after the track is there.
  await until("one participant is heard", async () => {
    const playing = await recorder.page.evaluate(
      () => [...document.querySelectorAll("audio")].filter((element) => !element.paused).length,
    );
    return playing === 1 ? true : undefined;
  });
  await Promise.all([recorder.close(), publishers.page.close(), one.page.close()]);
});

test("says what is wrong, and never the token", async () => {
  const missing = await Recorder.open(browser, `${pages.url}/dist/layout/?layout=grid`);
  expect(await missing.page.locator("div.error").textContent()).toBe("missing required params url and token");
  const token = `${await server.recorderToken("wrong", "EG_wrong")}x`;
  const params = new URLSearchParams({ layout: "grid", token, url: server.url });
  const wrong = await Recorder.open(browser, `${pages.url}/dist/layout/?${params}`);
  const text = await wrong.page.locator("div.error").textContent();
  expect(text).not.toBe("");
  expect(text).not.toContain(token);
  expect(wrong.console.filter((line) => line.endsWith("_RECORDING"))).toEqual([]);
  await missing.close();
  await wrong.close();
});
