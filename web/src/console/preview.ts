// The preview of a recording, fetched only while it is visible.

import * as api from "./api";
import { h, say } from "./dom";

/** The service asks a recorder once a second at most. */
const EVERY = 1500;

export class Preview {
  readonly element: HTMLElement;
  readonly #id: string;
  readonly #image = h("img", { alt: "", hidden: true });
  readonly #note = h("figcaption", {}, "No preview yet");
  readonly #watch: IntersectionObserver;
  #seen = false;
  #timer: number | undefined;
  #url: string | undefined;
  #gone = false;

  constructor(id: string, title: string, soundOnly: boolean) {
    this.#id = id;
    this.#image.alt = `What is recorded of ${title}`;
    this.element = h("figure", { class: "picture" }, this.#image, this.#note);
    this.#watch = new IntersectionObserver((entries) => {
      this.#seen = entries.at(-1)?.isIntersecting ?? false;
      this.#plan(0);
    });
    if (soundOnly) say(this.#note, "Sound only");
    else {
      this.#watch.observe(this.element);
      document.addEventListener("visibilitychange", this.#turned);
    }
  }

  close(): void {
    this.#gone = true;
    this.#watch.disconnect();
    document.removeEventListener("visibilitychange", this.#turned);
    window.clearTimeout(this.#timer);
    if (this.#url !== undefined) URL.revokeObjectURL(this.#url);
  }

  readonly #turned = () => this.#plan(0);

  #plan(after: number): void {
    window.clearTimeout(this.#timer);
    if (this.#gone || !this.#seen || document.hidden) return;
    this.#timer = window.setTimeout(() => void this.#look(), after);
  }

  async #look(): Promise<void> {
    try {
      const jpeg = await api.preview(this.#id);
      if (jpeg !== undefined && !this.#gone) await this.#show(jpeg);
    } catch {
      // The list, fetched as often, shows the error.
    }
    this.#plan(EVERY);
  }

  async #show(jpeg: Blob): Promise<void> {
    const [before, url] = [this.#url, URL.createObjectURL(jpeg)];
    this.#url = url;
    this.#image.src = url;
    await this.#image.decode().catch(() => undefined);
    this.#image.hidden = false;
    this.#note.hidden = true;
    if (before !== undefined) URL.revokeObjectURL(before);
  }
}
