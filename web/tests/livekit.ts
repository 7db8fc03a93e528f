// A real livekit-server on loopback, as scripts/peers.sh installs it; and the pages, from a server of files.
import { type ChildProcess, spawn } from "node:child_process";
import { webcrypto } from "node:crypto";
import { once } from "node:events";
import { access, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { AccessToken, RoomServiceClient } from "livekit-server-sdk";

// Node.js 18 has it in a module alone; LiveKit's client looks for it here.
globalThis.crypto ??= webcrypto as Crypto;

const KEY = "testskey";
const SECRET = "secret-of-the-tests-which-is-long-enough";

/** The kernel takes ports of outgoing connections from 32768 on (Linux's default), so that these stay free until a server has them. */
const FIRST = 15_000;
const EPHEMERAL = 32_768;

/** Ports that nobody listens on. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (
    let port = FIRST + Math.floor(Math.random() * (EPHEMERAL - FIRST - 1000));
    ports.length < count;
    port++
  ) {
    const server = createServer().listen(port, "127.0.0.1");
    const isFree = await Promise.race([
      once(server, "listening").then(() => true),
      once(server, "error").then(() => false),
    ]).catch(() => false);
    if (isFree) {
      ports.push(port);
      await new Promise((resolve) => server.close(resolve));
    }
  }
  return ports;
}

/** Asks again and again until it holds, or the time is over: a minute, which a busy machine does not need. */
export async function until<T>(what: string, probe: () => Promise<T | undefined>, ms = 60_000): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await probe();
    if (found !== undefined) {
      return found;
    }
    if (Date.now() > deadline) {
      throw new Error(`not within ${ms} ms: ${what}`);
    }
    await sleep(50);
  }
}

export class LiveKitServer {
  readonly rooms: RoomServiceClient;
  #process: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    private readonly home: string,
    private readonly program: string,
  ) {
    // By itself it waits for ten seconds, which a busy machine may need.
    this.rooms = new RoomServiceClient(`http://127.0.0.1:${port}`, KEY, SECRET, { requestTimeout: 60 });
  }

  static async start(): Promise<LiveKitServer> {
    const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
    const peers = process.env.WEIR_TEST_PEERS ?? join(cache, "weir/peers");
    const program = join(peers, "current/bin/livekit-server");
    await access(program).catch(() => {
      throw new Error("livekit-server is missing: run scripts/peers.sh");
    });
    const [port, tcp, udp] = await freePorts(3);
    const home = await mkdtemp(join(tmpdir(), "weir-livekit"));
    const config = {
      port,
      bind_addresses: ["127.0.0.1"],
      rtc: {
        tcp_port: tcp,
        udp_port: udp,
        node_ip: "127.0.0.1",
        use_external_ip: false,
        enable_loopback_candidate: true,
        // Otherwise the address that it tells of may be that of a socket elsewhere, as chance has it.
        ips: { includes: ["127.0.0.1/32"] },
      },
      keys: { [KEY]: SECRET },
    };
    // JSON is YAML.
    await writeFile(join(home, "livekit.yaml"), JSON.stringify(config));
    const server = new LiveKitServer(port ?? 0, home, program);
    await server.comeBack();
    return server;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** Starts it at the same address; rooms are new. */
  async comeBack(): Promise<void> {
    this.#process = spawn(this.program, ["--config", join(this.home, "livekit.yaml")], {
      cwd: this.home,
      stdio: "ignore",
    });
    await until("livekit-server answers", () =>
      fetch(`http://127.0.0.1:${this.port}`).then(
        (answer) => (answer.ok ? true : undefined),
        () => undefined,
      ),
    );
  }

  /** Kills it. */
  async goAway(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child && child.exitCode === null) {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    }
  }

  async close(): Promise<void> {
    await this.goAway();
    await rm(this.home, { recursive: true, force: true });
  }

  /** For a participant who publishes. */
  token(room: string, identity: string, name = ""): Promise<string> {
    const token = new AccessToken(KEY, SECRET, { identity, name });
    token.addGrant({ roomJoin: true, room, canPublish: true, canSubscribe: true });
    return token.toJwt();
  }

  /** For a recorder, as LiveKit Egress makes it. */
  recorderToken(room: string, egressId: string): Promise<string> {
    const token = new AccessToken(KEY, SECRET, { identity: egressId });
    token.kind = "egress";
    token.addGrant({
      roomJoin: true,
      room,
      canPublish: false,
      canPublishData: false,
      canSubscribe: true,
      hidden: true,
      recorder: true,
    });
    return token.toJwt();
  }
}

const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

/** Serves web/: `/dist/layout/`, `/dist-test/publisher/`. */
export async function servePages(): Promise<{ url: string; close: () => void }> {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const server = createHttpServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://x");
    const path = join(root, normalize(pathname.endsWith("/") ? `${pathname}index.html` : pathname));
    readFile(path).then(
      (bytes) => response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "" }).end(bytes),
      () => response.writeHead(404).end(),
    );
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}
