// The operator's console: looks at the service every two seconds, and shows what it says.

import * as api from "./api";
import { pause } from "./backoff";
import { Card } from "./card";
import { busy, fresh, h, say } from "./dom";
import { finishedList } from "./finished";
import { StartForm } from "./form";
import { cores } from "./format";
import type { Board, Recording } from "./info";
import "./style.css";

const STATES: Record<Board["node"]["state"], string> = {
  serving: "takes recordings",
  unheard: "reports do not get through: nothing new is begun",
  terminating: "is shutting down",
};

const now = () => performance.now() / 1000;

class Console {
  readonly #node = h("p", { class: "node" });
  readonly #trouble = h("p", { class: "trouble", role: "alert", hidden: true });
  readonly #running = h("div", { class: "cards" });
  readonly #empty = h(
    "div",
    { class: "empty", hidden: true },
    h("p", {}, "Nothing is recorded now."),
    h("p", {}, "Start with “New recording”, with one of LiveKit's SDKs or the lk command, or with:"),
    h("pre", {}, h("code", {}, "lk egress start --type web request.json")),
  );
  readonly #finished = h("ul", { class: "finished" });
  readonly #nothingYet = h("p", { class: "quiet-text" }, "Nothing has ended yet.");
  readonly #content = h("div", { hidden: true });
  readonly #door = this.#tokenForm();
  readonly #leave = h("button", { type: "button", class: "quiet", hidden: true }, "Forget token");
  readonly #form = new StartForm(() => this.#soon());
  readonly #new = h("button", { type: "button", onclick: () => this.#form.open() }, "New recording");
  readonly #cards = new Map<string, Card>();
  #failed = 0;
  #timer: number | undefined;
  #looks = 0;
  #shownFinished = "";
  /** Why the last key was not taken. */
  #refusedKey = "";

  constructor(root: HTMLElement) {
    const [running, finished] = [fresh("running"), fresh("finished")];
    this.#content.append(
      h(
        "section",
        { "aria-labelledby": running },
        h("div", { class: "row spread" }, h("h2", { id: running }, "Running"), this.#new),
        this.#empty,
        this.#running,
      ),
      h(
        "section",
        { "aria-labelledby": finished },
        h("h2", { id: finished }, "Finished"),
        this.#nothingYet,
        this.#finished,
      ),
    );
    this.#leave.addEventListener("click", () => {
      api.token.forget();
      this.#soon();
    });
    root.append(
      h("header", { class: "row spread" }, h("h1", {}, "Weir"), this.#node, this.#leave),
      h("main", {}, this.#trouble, this.#door, this.#content),
      this.#form.element,
    );
    document.addEventListener("visibilitychange", () => this.#soon());
    window.addEventListener("hashchange", () => void this.#enter());
    window.setInterval(() => this.#tick(), 500);
    void this.#enter();
  }

  /** Begins a session, where the address has a key, and looks. */
  async #enter(): Promise<void> {
    const key = api.keyIn(location.hash);
    if (key !== undefined) {
      // It is good once: it need not stay in the address, nor in the history.
      history.replaceState(null, "", location.pathname + location.search);
      await this.#begin(key);
    }
    this.#soon();
  }

  /** Begins a session, or shows that the key was refused. */
  async #begin(key: string): Promise<void> {
    try {
      await api.begin(key);
      this.#refusedKey = "";
    } catch (error) {
      this.#refusedKey = error instanceof Error ? error.message : String(error);
    }
  }

  #tick(): void {
    if (document.hidden) return;
    for (const card of this.#cards.values()) card.tick(now());
  }

  /** Looks at once. */
  #soon(): void {
    window.clearTimeout(this.#timer);
    if (!document.hidden) void this.#look();
  }

  async #look(): Promise<void> {
    this.#looks += 1;
    const look = this.#looks;
    try {
      const board = await api.board();
      // A later look may have been faster.
      if (look !== this.#looks) return;
      this.#failed = 0;
      this.#show(board);
      this.#trouble.hidden = true;
    } catch (error) {
      if (look !== this.#looks) return;
      this.#failed += 1;
      this.#fail(error);
    }
    window.clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = window.setTimeout(() => void this.#look(), pause(this.#failed));
  }

  #fail(error: unknown): void {
    const refused = error instanceof api.Refused && error.needsToken;
    // Who has shown none yet is only asked for it.
    if (!refused || api.token.get() !== "") this.#tell(error);
    else if (this.#refusedKey !== "") this.#tell(new Error(this.#refusedKey));
    else this.#trouble.hidden = true;
    if (refused) {
      this.#content.hidden = true;
      this.#leave.hidden = true;
      this.#door.hidden = false;
      say(this.#node, "");
      this.#drop(new Set());
    }
  }

  #tell(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    say(this.#trouble, text.charAt(0).toUpperCase() + text.slice(1));
    this.#trouble.hidden = false;
  }

  #show(board: Board): void {
    const { node, recordings, finished } = board;
    this.#door.hidden = true;
    this.#content.hidden = false;
    this.#leave.hidden = api.token.get() === "";
    say(
      this.#node,
      `${cores(node.cores_in_use)} of ${node.cores} in use · ${STATES[node.state]} · ${node.version}`,
    );
    this.#node.dataset.state = node.state;
    this.#new.disabled = node.state !== "serving";
    this.#empty.hidden = recordings.length > 0;
    this.#drop(new Set(recordings.map((recording) => recording.info.egress_id)));
    for (const recording of recordings) this.#card(recording);
    this.#nothingYet.hidden = finished.length > 0;
    const wall = Date.now() / 1000;
    const shown = JSON.stringify([finished, Math.floor(wall / 30)]);
    if (shown !== this.#shownFinished) {
      this.#shownFinished = shown;
      this.#finished.replaceChildren(...finishedList(finished, wall));
    }
    const count = recordings.length;
    document.title = count > 0 ? `(${count}) Weir` : "Weir";
  }

  #card(recording: Recording): void {
    const id = recording.info.egress_id;
    const known = this.#cards.get(id);
    known?.update(recording, now());
    if (known !== undefined) return;
    const card = new Card(recording, now(), (work) => this.#act(work));
    this.#cards.set(id, card);
    this.#running.append(card.element);
  }

  /** Takes away what does not run any more. */
  #drop(running: Set<string>): void {
    for (const [id, card] of this.#cards) {
      if (running.has(id)) continue;
      card.close();
      this.#cards.delete(id);
    }
  }

  async #act(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      this.#soon();
      return true;
    } catch (error) {
      this.#looks += 1;
      this.#tell(error);
      // It stays to be read.
      window.clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => void this.#look(), 8000);
      return false;
    }
  }

  #tokenForm(): HTMLElement {
    const [id, hint] = [fresh("token"), fresh("hint")];
    const input = h("input", {
      id,
      type: "password",
      autocomplete: "off",
      "aria-describedby": hint,
      required: true,
    });
    const go = h("button", { type: "submit" }, "Open");
    const form = h(
      "form",
      { class: "door", hidden: true, novalidate: true },
      h("h2", {}, "Who are you?"),
      h("label", { for: id }, "Key, or LiveKit access token"),
      h("div", { class: "row" }, input, go),
      h(
        "p",
        { id: hint, class: "quiet-text" },
        "On the service's own machine, weir console prints a key that opens this page once. From anywhere, show a token with the grant roomRecord, signed with the service's API key. It is kept until this tab is closed.",
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (text === "") {
        input.focus();
        return;
      }
      input.value = "";
      const key = api.keyIn(text);
      void busy(go, async () => {
        this.#refusedKey = "";
        if (key === undefined) api.token.keep(text);
        else await this.#begin(key);
        await this.#look();
      });
    });
    return form;
  }
}

const root = document.getElementById("app");
if (root) new Console(root);
