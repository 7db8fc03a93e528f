// Chromium, the pages in it, and what can be seen of them.
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { type LiveKitServer, until } from "./livekit";

/** Time for a page to load or to show something, in ms, also on a busy machine. */
const PAGE_WITHIN = 60_000;

export async function startBrowser(): Promise<Browser> {
  return chromium
    .launch({
      executablePath: process.env.WEIR_CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--headless=new",
        "--autoplay-policy=no-user-gesture-required",
        "--no-sandbox",
        "--mute-audio",
        "--disable-gpu",
      ],
      headless: true,
      timeout: PAGE_WITHIN,
    })
    .catch((error: unknown) => {
      throw new Error("Chromium is missing: run scripts/install.sh test", { cause: error });
    });
}

/** A participant, by what the publisher's page calls. */
type Action = "camera" | "microphone" | "shareScreen" | "stopScreen" | "leave" | "unpublish";

export class Publishers {
  constructor(readonly page: Page) {}

  /** Joins as many as there are identities, in their order. */
  static async join(
    browser: Browser,
    base: string,
    server: LiveKitServer,
    room: string,
    identities: readonly string[],
    options: Record<string, string | string[]> = {},
  ): Promise<Publishers> {
    const params = new URLSearchParams({ url: server.url });
    for (const identity of identities) {
      params.append("token", await server.token(room, identity, `Name of ${identity}`));
    }
    for (const [name, values] of Object.entries(options)) {
      for (const value of [values].flat()) {
        params.append(name, value);
      }
    }
    const page = await browser.newPage();
    page.setDefaultTimeout(PAGE_WITHIN);
    await page.goto(`${base}/dist-test/publisher/?${params}`);
    await page.evaluate("window.publishers.then(() => undefined)");
    return new Publishers(page);
  }

  async act(index: number, action: Action, argument?: boolean | string): Promise<void> {
    const words = argument === undefined ? "" : JSON.stringify(argument);
    await this.page.evaluate(`window.publishers.then((all) => all[${index}].${action}(${words}))`);
  }

  /** Codec in which a participant's camera is sent: `video/vp8`. */
  codec(index: number): Promise<string> {
    return this.page.evaluate(`window.publishers.then((all) => all[${index}].codec())`);
  }
}

export interface SeenTile {
  readonly id: string;
  readonly box: string;
  readonly role: string | undefined;
  readonly fit: string | undefined;
  readonly camera: string | undefined;
  readonly received: number;
}

/** A page that records a room. */
export class Recorder {
  readonly console: string[] = [];
  /** When it said START_RECORDING, in ms since it was opened. */
  started: number | undefined;

  private constructor(
    readonly page: Page,
    private readonly context: BrowserContext,
  ) {}

  static async open(
    browser: Browser,
    address: string,
    size: { width: number; height: number } = { width: 1280, height: 720 },
  ): Promise<Recorder> {
    const context = await browser.newContext({ viewport: size, deviceScaleFactor: 1 });
    context.setDefaultTimeout(PAGE_WITHIN);
    const page = await context.newPage();
    const recorder = new Recorder(page, context);
    const opened = Date.now();
    page.on("console", (message) => {
      recorder.console.push(message.text());
      if (message.text() === "START_RECORDING") {
        recorder.started ??= Date.now() - opened;
      }
    });
    await page.goto(address);
    return recorder;
  }

  async says(line: string, ms?: number): Promise<void> {
    await until(
      `the page says ${line}; it said ${JSON.stringify(this.console)}`,
      async () => (this.console.includes(line) ? true : undefined),
      ms,
    );
  }

  /** The tiles in reading order. */
  tiles(): Promise<SeenTile[]> {
    return this.page.evaluate(() =>
      [...document.querySelectorAll<HTMLElement>(".tile:not(.leaving)")]
        .map((tile) => ({ tile, box: tile.getBoundingClientRect() }))
        .sort((a, b) => a.box.y - b.box.y || a.box.x - b.box.x)
        .map(({ tile, box }) => ({
          id: tile.dataset.id ?? "",
          box: `${box.x},${box.y} ${box.width}x${box.height}`,
          role: tile.dataset.role,
          fit: tile.dataset.fit,
          camera: tile.dataset.camera,
          received: tile.querySelector<HTMLVideoElement>("video:not(.former)")?.videoWidth ?? 0,
        })),
    );
  }

  /** Waits until tiles are as a test wants them. */
  async sees(what: string, test: (tiles: SeenTile[]) => boolean, ms?: number): Promise<SeenTile[]> {
    let last: SeenTile[] = [];
    return until(
      what,
      async () => {
        last = await this.tiles();
        return test(last) ? last : undefined;
      },
      ms,
    ).catch((error: unknown) => {
      throw new Error(`${error instanceof Error ? error.message : error}; there are ${JSON.stringify(last)}`);
    });
  }

  /** The track that the first tile shows, once it has shown a frame of it. */
  async track(): Promise<string | undefined> {
    return this.page.evaluate(() => {
      if (document.querySelector(".tile video.former")) {
        return undefined;
      }
      const stream = document.querySelector<HTMLVideoElement>(".tile video")?.srcObject;
      return stream instanceof MediaStream ? stream.getVideoTracks()[0]?.id : undefined;
    });
  }

  /** Waits until the colour at a point of the page is as a test expects it. */
  async shows(x: number, y: number, test: (color: [number, number, number]) => boolean): Promise<void> {
    let last: number[] = [];
    await until(`the colour at ${x},${y}`, async () => {
      const color = await this.color(x, y);
      last = color;
      return test(color) ? true : undefined;
    }).catch((error: unknown) => {
      throw new Error(`${error instanceof Error ? error.message : error}; it is ${last}`);
    });
  }

  /** The colour at a point of the page, from a real screenshot. */
  async color(x: number, y: number): Promise<[number, number, number]> {
    const png = await this.page.screenshot({ clip: { x, y, width: 1, height: 1 } });
    const decoded = await this.page.evaluate(async (data) => {
      const image = new Image();
      image.src = `data:image/png;base64,${data}`;
      await image.decode();
      const context = new OffscreenCanvas(1, 1).getContext("2d");
      context?.drawImage(image, 0, 0);
      return [...(context?.getImageData(0, 0, 1, 1).data ?? [])];
    }, png.toString("base64"));
    const [red = 0, green = 0, blue = 0] = decoded;
    return [red, green, blue];
  }

  /** A screenshot, scaled down. */
  async shrunk({ width, height }: { width: number; height: number }): Promise<Buffer> {
    const png = await this.page.screenshot();
    const scaled = await this.page.evaluate(
      async ([data, w, h]) => {
        const image = new Image();
        image.src = `data:image/png;base64,${data}`;
        await image.decode();
        const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
        const context = canvas.getContext("2d");
        if (context) {
          context.imageSmoothingQuality = "high";
          context.drawImage(image, 0, 0, w, h);
        }
        return canvas.toDataURL("image/png");
      },
      [png.toString("base64"), width, height] as const,
    );
    return Buffer.from(scaled.slice(scaled.indexOf(",") + 1), "base64");
  }

  async close(): Promise<void> {
    await this.context.close();
  }
}
