// The page that shows a room: joins it, keeps the stage as the room is, says when to record.
import {
  DisconnectReason,
  type Participant,
  type RemoteTrack,
  Room,
  RoomEvent,
  setLogLevel,
  Track,
} from "livekit-client";
import { names } from "./layouts";
import { layoutIn } from "./metadata";
import { choose } from "./names";
import { complete, counts, type Showing, showings } from "./people";
import { parseQuery, type Query } from "./query";
import { say, scrubbed, showError, warn } from "./signals";
import { Stage } from "./stage";
import { mayStart, WITHOUT_PICTURE, WITHOUT_VIDEO } from "./start";

/** Who speaks changes the picture at most this often, in ms. */
const SPEAKERS = 1000;
/** After a reconnect, what was shown stays until its tracks are back, but not longer than this, in ms. */
const RETURN = 5000;

class Page {
  readonly #query: Query;
  readonly #room = new Room({
    // A tile receives and decodes no more than it shows.
    adaptiveStream: { pixelDensity: 1, pauseVideoInBackground: false },
    dynacast: false,
  });
  readonly #stage: Stage;
  #layout: string;
  #joinedAt: number | undefined;
  #pictures = 0;
  #started = false;
  #pending = false;
  #spokeAt = -Infinity;
  #speakers: ReturnType<typeof setTimeout> | undefined;
  #last: Showing[] = [];
  /** Set while the connection is being made again: nothing is taken off the stage. */
  #holding: "until-connected" | "until-complete" | undefined;

  constructor(query: Query) {
    this.#query = query;
    this.#layout = query.layout;
    this.#stage = new Stage(
      document.body,
      query.options,
      query,
      () => this.#pictured(),
      () => this.#change(),
    );
  }

  async run(): Promise<void> {
    this.#listen();
    this.#change();
    await this.#room.connect(this.#query.url, this.#query.token);
    this.#joinedAt = performance.now();
    this.#relayout();
    this.#change();
    for (const wait of [WITHOUT_VIDEO, WITHOUT_PICTURE]) {
      setTimeout(() => this.#consider(), wait + 1);
    }
  }

  #listen(): void {
    const change = () => this.#change();
    this.#room
      .on(RoomEvent.ParticipantConnected, change)
      .on(RoomEvent.ParticipantDisconnected, change)
      .on(RoomEvent.ParticipantNameChanged, change)
      .on(RoomEvent.TrackPublished, change)
      .on(RoomEvent.TrackUnpublished, change)
      .on(RoomEvent.TrackMuted, change)
      .on(RoomEvent.TrackUnmuted, change)
      .on(RoomEvent.TrackSubscribed, (track) => {
        this.#hear(track);
        change();
      })
      .on(RoomEvent.TrackUnsubscribed, (track) => {
        unhear(track);
        change();
      })
      .on(RoomEvent.ActiveSpeakersChanged, () => this.#heard())
      .on(RoomEvent.ParticipantMetadataChanged, (_before: string | undefined, participant: Participant) => {
        if (participant === this.#room.localParticipant) {
          this.#relayout();
        }
      })
      .on(RoomEvent.Reconnecting, () => {
        warn("the connection to the room is lost, trying again");
        this.#holding = "until-connected";
      })
      .on(RoomEvent.Reconnected, () => this.#release())
      .on(RoomEvent.Disconnected, (reason) => {
        if (this.#joinedAt !== undefined) {
          warn(`the room is left: ${reason === undefined ? "unknown reason" : DisconnectReason[reason]}`);
          say("END_RECORDING");
        }
      });
    window.addEventListener("resize", change);
  }

  #hear(track: RemoteTrack): void {
    if (track.kind === Track.Kind.Audio) {
      document.body.append(track.attach());
    }
  }

  /** Speech comes and goes several times a second; what it changes on the stage is changed less often. */
  #heard(): void {
    clearTimeout(this.#speakers);
    const wait = this.#spokeAt + SPEAKERS - performance.now();
    this.#speakers = setTimeout(
      () => {
        this.#spokeAt = performance.now();
        this.#change();
      },
      Math.max(0, wait),
    );
  }

  #release(): void {
    if (this.#holding === undefined) {
      return;
    }
    this.#holding = "until-complete";
    setTimeout(() => {
      if (this.#holding === "until-complete") {
        this.#holding = undefined;
        this.#change();
      }
    }, RETURN);
    this.#change();
  }

  #relayout(): void {
    // An empty name asks for what the recording began with.
    this.#layout = layoutIn(this.#room.localParticipant.metadata) || this.#query.layout;
    this.#change();
  }

  /** However much happens at once, the stage is rendered once. */
  #change(): void {
    if (!this.#pending) {
      this.#pending = true;
      queueMicrotask(() => {
        this.#pending = false;
        this.#render();
      });
    }
  }

  #render(): void {
    if (this.#holding === "until-connected") {
      return;
    }
    let shown = showings(this.#room);
    if (this.#holding === "until-complete") {
      if (complete(this.#room)) {
        this.#holding = undefined;
      } else {
        // Who is here again but not yet to be seen keeps the last picture.
        const here = new Set(shown.map(({ id }) => id));
        shown = [...shown, ...this.#last.filter(({ id }) => !here.has(id))];
      }
    }
    this.#last = shown;
    const screenShared = shown.some(({ kind }) => kind === "screen-share");
    this.#stage.render(choose(this.#layout, names, screenShared), shown);
    this.#consider();
  }

  #pictured(): void {
    this.#pictures += 1;
    this.#consider();
  }

  #consider(): void {
    if (this.#started || this.#joinedAt === undefined) {
      return;
    }
    const elapsed = performance.now() - this.#joinedAt;
    if (mayStart({ elapsed, pictures: this.#pictures, ...counts(this.#room) })) {
      this.#started = true;
      say("START_RECORDING");
    }
  }
}

function unhear(track: RemoteTrack): void {
  if (track.kind === Track.Kind.Audio) {
    for (const element of track.detach()) {
      element.remove();
    }
  }
}

const query = parseQuery(window.location.search);
if (query === undefined) {
  showError("missing required params url and token");
} else {
  // What the library logs has the room's address and the server's words in it; what matters is told by signals.ts.
  setLogLevel("silent");
  new Page(query).run().catch((error: unknown) => {
    showError(scrubbed(error instanceof Error ? error.message : String(error), query.token));
  });
}
