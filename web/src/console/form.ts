// The form that starts a recording.

import * as api from "./api";
import { busy, fresh, h, say } from "./dom";
import { body, type Draft, LAYOUTS, PRESETS, type Problems, problems } from "./draft";

type Field = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

export class StartForm {
  readonly element: HTMLDialogElement;
  readonly #form: HTMLFormElement;
  readonly #fields = new Map<string, { field: Field; problem: HTMLElement; row: HTMLElement }>();
  readonly #refusal = h("p", { class: "problem", role: "alert", hidden: true });
  readonly #go = h("button", { type: "submit" }, "Start recording");
  readonly #started: () => void;

  constructor(started: () => void) {
    this.#started = started;
    const title = fresh("start");
    this.#form = h(
      "form",
      { novalidate: true },
      h("h2", { id: title }, "New recording"),
      h(
        "fieldset",
        { class: "choice" },
        h("legend", {}, "What"),
        this.#radio("web", "A web page", true),
        this.#radio("room", "A LiveKit room", false),
      ),
      this.#text("url", "Address", "https://example.com/talk", { inputmode: "url" }),
      this.#check("await_start_signal", "Wait until the page says START_RECORDING"),
      this.#text("room", "Room", "the room's name"),
      this.#select(
        "layout",
        "Layout",
        LAYOUTS.map((name) => [name, name] as const),
      ),
      h(
        "div",
        { class: "columns" },
        this.#select("media", "Media", [
          ["both", "both"],
          ["video", "video only"],
          ["audio", "audio only"],
        ]),
        this.#select("preset", "Quality", PRESETS),
      ),
      h("h3", {}, "Outputs"),
      this.#text("file", "File", "talk-{time}.mp4", { value: "recording-{time}.mp4" }),
      this.#text("segments", "HLS segments", "hls/talk"),
      this.#area("streams", "Streams, one address a line", "rtmps://host/app/key"),
      this.#check("streams_later", "Let streams be added while it runs"),
      this.#refusal,
      h(
        "div",
        { class: "row end" },
        h("button", { type: "button", class: "quiet", onclick: () => this.element.close() }, "Cancel"),
        this.#go,
      ),
    );
    this.element = h("dialog", { class: "start", "aria-labelledby": title }, this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void busy(this.#go, () => this.#submit());
    });
    this.#form.addEventListener("change", () => this.#arrange());
    this.#form.addEventListener("input", () => this.#show({}));
    this.#arrange();
  }

  open(): void {
    this.#refusal.hidden = true;
    this.#show({});
    this.element.showModal();
  }

  #draft(): Draft {
    const data = new FormData(this.#form);
    const text = (name: string) => String(data.get(name) ?? "");
    return {
      source: text("source") === "room" ? "room" : "web",
      url: text("url"),
      await_start_signal: data.has("await_start_signal"),
      room: text("room"),
      layout: text("layout"),
      media: text("media") as Draft["media"],
      preset: text("preset"),
      file: text("file"),
      segments: text("segments"),
      streams: text("streams"),
      streams_later: data.has("streams_later"),
    };
  }

  async #submit(): Promise<void> {
    const draft = this.#draft();
    const wrong = problems(draft);
    this.#show(wrong);
    const first = [...this.#fields.keys()].find((name) => wrong[name as keyof Problems] !== undefined);
    if (first !== undefined) return this.#fields.get(first)?.field.focus();
    try {
      await api.start(body(draft));
      this.element.close();
      this.#form.reset();
      this.#arrange();
    } catch (error) {
      say(this.#refusal, error instanceof Error ? error.message : String(error));
      this.#refusal.hidden = false;
      this.#refusal.scrollIntoView({ block: "nearest" });
    }
    this.#started();
  }

  /** Shows the fields of what is to be recorded. */
  #arrange(): void {
    const { source } = this.#draft();
    for (const [name, of] of Object.entries({
      url: "web",
      await_start_signal: "web",
      room: "room",
      layout: "room",
    })) {
      const row = this.#fields.get(name)?.row;
      if (row) row.hidden = of !== source;
    }
  }

  #show(wrong: Problems): void {
    for (const [name, { field, problem }] of this.#fields) {
      const text = wrong[name as keyof Problems];
      say(problem, text ?? "");
      problem.hidden = text === undefined;
      field.setAttribute("aria-invalid", String(text !== undefined));
    }
  }

  #radio(value: string, label: string, checked: boolean): HTMLElement {
    return h("label", {}, h("input", { type: "radio", name: "source", value, checked }), label);
  }

  #text(name: string, label: string, placeholder: string, more: Record<string, string> = {}): HTMLElement {
    const plain = { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off" };
    return this.#row(name, label, h("input", { ...plain, placeholder, ...more }));
  }

  #area(name: string, label: string, placeholder: string): HTMLElement {
    return this.#row(
      name,
      label,
      h("textarea", { rows: 2, placeholder, autocomplete: "off", spellcheck: "false" }),
    );
  }

  #select(name: string, label: string, options: readonly (readonly [string, string])[]): HTMLElement {
    const entries = options.map(([value, text]) => h("option", { value }, text));
    return this.#row(name, label, h("select", {}, ...entries));
  }

  #row(name: string, label: string, field: Field): HTMLElement {
    const [id, hint] = [fresh(name), fresh("hint")];
    field.id = id;
    field.name = name;
    field.setAttribute("aria-describedby", hint);
    const problem = h("p", { id: hint, class: "problem", hidden: true });
    const row = h("div", { class: "field" }, h("label", { for: id }, label), field, problem);
    this.#fields.set(name, { field, problem, row });
    return row;
  }

  #check(name: string, label: string): HTMLElement {
    const field = h("input", { type: "checkbox", name });
    const row = h("div", { class: "field check" }, h("label", {}, field, label));
    this.#fields.set(name, { field, problem: h("p"), row });
    return row;
  }
}
