// What every test with a room needs: a server, the pages, a browser. Importing it starts them before a file's tests, and ends them after.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll } from "vitest";
import { startBrowser } from "./browser";
import { LiveKitServer, servePages } from "./livekit";

export let server: LiveKitServer;
export let pages: { url: string; close: () => void };
export let browser: Browser;

beforeAll(async () => {
  [server, pages, browser] = await Promise.all([LiveKitServer.start(), servePages(), startBrowser()]);
});

afterAll(async () => {
  await browser?.close();
  pages?.close();
  await server?.close();
});
