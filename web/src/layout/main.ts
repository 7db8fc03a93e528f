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
import { counts, type Showing, showings } from "./people";
import { asked, parseQuery, type Query } from "./query";
import { onceShown, say, scrubbed, showError, warn } from "./signals";
import { Stage } from "./stage";
import { mayStart, type Signs, TOGETHER, WITHOUT_PICTURE, WITHOUT_VIDEO } from "./start";

/** Shortest time between two changes of the layout for speakers, in ms. */
const SPEAKERS = 1000;
/** After a reconnect, shown tiles stay until they are back, at most this long, in ms: others may have to reconnect, too. */
const RETURN = 10_000;

class Page {
  readonly #query: Query;
  readonly #room = new Room({
    // Each tile asks for what it shows itself: see tile.ts. The library's own way starts every track with its smallest layer and
    // takes more than a second to better it.
    adaptiveStream: false,
    dynacast: false,
  });
  readonly #stage: Stage;
  #layout: string;
  #joinedAt: number | undefined;
  #picturedAt: number | undefined;
  #started = false;
  #pending = false;
  #spokeAt = -Infinity;
  #speakers: ReturnType<typeof setTimeout> | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #last: Showing[] = [];
  /** While the connection is made again, the stage stays as it is. */
  #away = false;
  /** Tiles shown before the reconnect that are not back yet. */
  readonly #held = new Map<string, Showing>();

  constructor(query: Query) {
    this.#query = query;
    this.#layout = query.layout;
    this.#stage = new Stage(
      document.body,
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
    // Servers may tell it only after the join.
    void this.#room.getSid().then(
      (id) => say(`WEIR_ROOM_ID ${id}`),
      () => warn("the room's id is unknown"),
    );
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
        this.#away = true;
        this.#stage.freeze();
      })
      .on(RoomEvent.Reconnected, () => this.#release())
      .on(RoomEvent.Disconnected, (reason) => {
        if (this.#joinedAt !== undefined) {
          warn(`the room is left: ${reason === undefined ? "unknown reason" : DisconnectReason[reason]}`);
          // Another recorder of this egress is in the room.
          say(reason === DisconnectReason.DUPLICATE_IDENTITY ? "WEIR_EVICTED" : "END_RECORDING");
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
    if (!this.#away) {
      return;
    }
    this.#away = false;
    for (const showing of this.#last) {
      this.#held.set(showing.id, showing);
    }
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      this.#held.clear();
      this.#change();
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
    if (this.#away) {
      return;
    }
    const here = showings(this.#room);
    for (const { id } of here) {
      this.#held.delete(id);
    }
    const shown = [...here, ...this.#held.values()];
    this.#last = shown;
    if (!this.#started) {
      // Nobody is watching yet: tracks come in any order.
      this.#stage.forget();
    }
    const screenShared = shown.some(({ kind }) => kind === "screen-share");
    const { name, options } = asked(this.#layout);
    this.#stage.render(
      choose(name, names, screenShared),
      new Map([...this.#query.options, ...options]),
      shown,
    );
    this.#consider();
  }

  #pictured(): void {
    if (this.#picturedAt === undefined) {
      this.#picturedAt = performance.now();
      setTimeout(() => this.#consider(), TOGETHER + 1);
    }
    this.#consider();
  }

  #consider(): void {
    if (this.#started || this.#joinedAt === undefined) {
      return;
    }
    const now = performance.now();
    const { videos, missing, tracks } = counts(this.#room);
    const signs: Signs = {
      elapsed: now - this.#joinedAt,
      sincePicture: this.#picturedAt === undefined ? undefined : now - this.#picturedAt,
      waiting: missing + this.#stage.waiting,
      videos,
      tracks,
    };
    if (mayStart(signs)) {
      this.#started = true;
      onceShown(() => say("START_RECORDING"));
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
  // The library's log holds the room's address and the server's texts. signals.ts reports errors without them.
  setLogLevel("silent");
  new Page(query).run().catch((error: unknown) => {
    showError(scrubbed(error instanceof Error ? error.message : String(error), query.token));
  });
}
