// One recording that runs.

import * as api from "./api";
import { busy, confirmed, fresh, h, say } from "./dom";
import { LAYOUTS, streamProblem } from "./draft";
import { bytes, clock, cores, counted } from "./format";
import type { Recording } from "./info";
import { outputList } from "./outputs";
import { Preview } from "./preview";
import * as view from "./view";

/** Runs a request to the service, shows its error if it is refused, and updates the list. */
export type Act = (work: () => Promise<unknown>) => Promise<boolean>;

export class Card {
  readonly element: HTMLElement;
  readonly #act: Act;
  readonly #preview: Preview;
  readonly #status = h("span", { class: "status" });
  readonly #elapsed = h("span", { class: "elapsed" });
  readonly #facts = h("p", { class: "facts" });
  readonly #outputs = h("ul", { class: "outputs", "aria-label": "Outputs" });
  readonly #problem = h("p", { class: "problem", hidden: true });
  readonly #notes = h("p", { class: "notes", hidden: true });
  readonly #stop = h("button", { type: "button", class: "danger" }, "Stop");
  #recording: Recording;
  #last = { at: 0, pictures: 0 };
  #rate: number | undefined;
  #shown = "";

  constructor(recording: Recording, at: number, act: Act) {
    this.#recording = recording;
    this.#act = act;
    const { info } = recording;
    const [title, heading] = [view.title(info), fresh("recording")];
    this.#preview = new Preview(info.egress_id, title, view.isSoundOnly(info));
    this.#stop.addEventListener("click", () => void busy(this.#stop, () => this.#end()));
    this.#stop.setAttribute("aria-label", `Stop recording ${title}`);
    this.element = h(
      "article",
      { class: "card", "aria-labelledby": heading, "data-egress": info.egress_id },
      this.#preview.element,
      h(
        "div",
        { class: "body" },
        h(
          "div",
          { class: "row" },
          this.#status,
          h("span", { class: "kind" }, view.kind(info)),
          this.#elapsed,
        ),
        h("h3", { id: heading, title }, title),
        this.#facts,
        this.#problem,
        this.#notes,
        this.#outputs,
        view.canStream(info) && this.#streamForm(info.egress_id),
        h(
          "div",
          { class: "row actions" },
          view.hasLayout(info) && this.#layoutForm(info.egress_id),
          this.#stop,
        ),
        h("p", { class: "id" }, info.egress_id),
      ),
    );
    this.update(recording, at);
  }

  /** `at`: time of the report, in seconds. */
  update(recording: Recording, at: number): void {
    const now = { at, pictures: recording.progress.pictures };
    if (this.#last.at > 0) this.#rate = view.rate(this.#last, now);
    this.#last = now;
    this.#recording = recording;
    const { info, progress } = recording;
    const { word, tone } = view.status(info);
    say(this.#status, word);
    this.#status.dataset.tone = tone;
    const facts = [
      this.#rate !== undefined && !view.isSoundOnly(info) ? view.movement(this.#rate) : "",
      progress.dropped > 0 ? `${counted(progress.dropped, "frame")} dropped` : "none dropped",
      recording.cpu_cores !== null ? cores(recording.cpu_cores) : "",
      progress.bytes > 0 ? bytes(progress.bytes) : "",
      progress.waiting > 0 ? `${counted(progress.waiting, "file")} to be stored` : "",
    ];
    say(this.#facts, facts.filter((fact) => fact !== "").join(" · "));
    this.#facts.classList.toggle("warn", progress.dropped > 0);
    say(this.#problem, info.error);
    this.#problem.hidden = info.error === "";
    say(this.#notes, info.details);
    this.#notes.hidden = info.details === "";
    this.#stop.hidden = !view.isOpen(info);
    this.#list();
    this.tick(at);
  }

  tick(at: number): void {
    say(this.#elapsed, clock(view.elapsed(this.#recording, at - this.#last.at)));
  }

  close(): void {
    this.#preview.close();
    this.element.remove();
  }

  /** Written anew only where something has changed: a button keeps its focus. */
  #list(): void {
    const { info } = this.#recording;
    const outputs = view.outputs(info);
    const shown = JSON.stringify(outputs);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const remove = (url: string) => this.#act(() => api.removeStream(info.egress_id, url));
    this.#outputs.replaceChildren(...outputList(outputs, remove));
  }

  async #end(): Promise<void> {
    const { info } = this.#recording;
    const detail = `${view.title(info)}: its files are finished and stored. It can't be taken up again.`;
    if (await confirmed("Stop this recording?", detail, "Stop recording")) {
      await this.#act(() => api.stop(info.egress_id));
    }
  }

  #layoutForm(id: string): HTMLElement {
    const [label, now] = [fresh("layout"), view.layout(this.#recording.info) || "grid"];
    const names = LAYOUTS.includes(now) ? LAYOUTS : [now, ...LAYOUTS];
    const options = names.map((name) => h("option", { value: name, selected: name === now }, name));
    const select = h("select", { id: label }, ...options);
    select.addEventListener("change", () => void this.#act(() => api.layout(id, select.value)));
    return h("span", { class: "row" }, h("label", { for: label }, "Layout"), select);
  }

  #streamForm(id: string): HTMLElement {
    const [label, hint] = [fresh("stream"), fresh("hint")];
    const input = h("input", {
      id: label,
      type: "text",
      inputmode: "url",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "rtmps://host/app/key",
      "aria-describedby": hint,
    });
    const problem = h("p", { id: hint, class: "problem", role: "alert", hidden: true });
    const add = h("button", { type: "submit", class: "quiet" }, "Add");
    const submit = async () => {
      const url = input.value.trim();
      const wrong = streamProblem(url);
      say(problem, wrong ?? "");
      problem.hidden = wrong === undefined;
      input.setAttribute("aria-invalid", String(wrong !== undefined));
      if (wrong !== undefined) return input.focus();
      if (await this.#act(() => api.addStream(id, url))) input.value = "";
    };
    const form = h(
      "form",
      { class: "stream", novalidate: true },
      h("label", { for: label }, "Stream to another address"),
      h("div", { class: "row" }, input, add),
      problem,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void busy(add, submit);
    });
    return form;
  }
}
