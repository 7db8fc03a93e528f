// Takes the frame of each layout that templates/ shows: `npm run previews`.
import { readdir, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Publishers, Recorder } from "./browser";
import { browser, pages, server } from "./room";

const ROOT = new URL("../../templates/", import.meta.url);
const SIZE = { width: 480, height: 270 };

const LOGO =
  "data:image/svg+xml," +
  encodeURIComponent(
    '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="60"><path d="M10 15q15 30 30 15t30 0 30 0v25H10z" fill="#e8a33d"/><text x="110" y="45" font-family="sans-serif" font-size="34" font-weight="bold" fill="#fff">WEIR</text></svg>',
  );
const OPTIONS: Record<string, Record<string, string>> = {
  branded: { background: "#16324f", logo: LOGO, title: "The state of the river", subtitle: "Annual meeting" },
};

test("previews", { timeout: 300_000 }, async () => {
  const colors = ["#2d6a8e", "#8e4a2d", "#3c7a4e", "#6a4a8e", "#8e7a2d", "#4a5a6a"];
  const identities = ["ann", "ben", "cem", "dea", "eli", "fay"];
  const publishers = await Publishers.join(browser, pages.url, server, "previews", identities, {
    color: colors,
    microphone: "0",
  });
  const folders = await readdir(ROOT, { withFileTypes: true });
  for (const { name } of folders.filter((entry) => entry.isDirectory())) {
    const token = await server.recorderToken("previews", `EG_${name}`);
    const params = new URLSearchParams({ layout: name, token, url: server.url, ...OPTIONS[name] });
    const recorder = await Recorder.open(browser, `${pages.url}/dist/layout/?${params}`);
    await recorder.says("START_RECORDING");
    await recorder.sees(
      "pictures",
      (tiles) => tiles.length > 0 && tiles.every(({ received }) => received > 0),
    );
    // Sharp frames take a moment.
    await recorder.page.waitForTimeout(3000);
    const png = await recorder.shrunk(SIZE);
    expect(png.length).toBeLessThan(60_000);
    await writeFile(new URL(`${name}/preview.png`, ROOT), png);
    await recorder.close();
  }
  await publishers.page.close();
});
