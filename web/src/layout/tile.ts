// One tile's element: a video or a placeholder, and a label.
import { type Placement, pictureSize } from "@weir/layout";
import type { RemoteVideoTrack } from "livekit-client";
import type { Showing } from "./people";

export interface Labels {
  readonly names: boolean;
  readonly muted: boolean;
}

const SVG = "http://www.w3.org/2000/svg";
const FIGURE =
  "M12 12.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zm0 1.75c-4.4 0-8 2.4-8 5.4V21h16v-1.35c0-3-3.6-5.4-8-5.4z";
const MICROPHONE =
  "M9 6a3 3 0 0 1 6 0v6a3 3 0 0 1-6 0z M5 11.5h2a5 5 0 0 0 10 0h2a7 7 0 0 1-6 6.9V22h-2v-3.6A7 7 0 0 1 5 11.5z M3.5 2 22 20.5 20.5 22 2 3.5z";

function sign(className: string, path: string): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("viewBox", "0 0 24 24");
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/** Changes an attribute only where it says something new, so that nothing is styled or painted again for nothing. */
function mark(element: HTMLElement, name: string, value: string | undefined): void {
  if (value !== element.dataset[name]) {
    if (value === undefined) {
      delete element.dataset[name];
    } else {
      element.dataset[name] = value;
    }
  }
}

export class TileView {
  readonly element = document.createElement("div");
  readonly #labels: Labels;
  readonly #label = document.createElement("div");
  readonly #name = document.createElement("span");
  /** Resolves at the first frame. */
  readonly pictured: Promise<void>;
  #resolve: () => void = () => {};
  readonly #onPicture: () => void;
  readonly #onShape: () => void;
  #track: RemoteVideoTrack | undefined;
  #video: HTMLVideoElement | undefined;
  #former: HTMLVideoElement | undefined;
  #pictured = false;
  #box = "";

  /** `onPicture`: a track's first frame is on the screen. `onShape`: the frames' dimensions changed. */
  constructor(id: string, labels: Labels, onPicture: () => void, onShape: () => void) {
    this.pictured = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#onPicture = onPicture;
    this.#onShape = onShape;
    this.#labels = labels;
    this.element.className = "tile";
    this.element.dataset.id = id;
    this.element.append(sign("figure", FIGURE));
    this.#label.className = "label";
    if (labels.muted) {
      this.#label.append(sign("microphone", MICROPHONE));
    }
    if (labels.names) {
      this.#label.append(this.#name);
    }
  }

  /** Whether the current track has shown a frame, or has no video to show. */
  get settled(): boolean {
    return this.#pictured || this.element.dataset.camera === "off";
  }

  /** Aspect ratio of the received frames; `undefined` before the first one. */
  get aspect(): number | undefined {
    const video = this.#video;
    return video && video.videoWidth > 0 ? video.videoWidth / video.videoHeight : undefined;
  }

  update(showing: Showing, placement: Placement): void {
    const { x, y, width, height, fit, role } = placement;
    const box = `left:${x}px;top:${y}px;width:${width}px;height:${height}px`;
    if (box !== this.#box) {
      this.#box = box;
      this.element.style.cssText = box;
    }
    mark(this.element, "kind", showing.kind);
    mark(this.element, "fit", fit);
    mark(this.element, "role", role);
    mark(this.element, "camera", showing.cameraOn ? "on" : "off");
    mark(this.element, "speaking", showing.speaking ? "" : undefined);
    this.#relabel(showing);
    this.#show(showing.track);
    // No more is received and decoded than is shown. The client library tells the server only of what is new.
    showing.publication.setVideoDimensions(pictureSize(placement, showing.aspect));
  }

  #relabel({ kind, name, microphone }: Showing): void {
    if (this.#name.textContent !== name) {
      this.#name.textContent = name;
    }
    const muted = kind === "camera" && microphone === "muted";
    mark(this.#label, "muted", muted ? "" : undefined);
    if (this.#labels.names || (this.#labels.muted && muted)) {
      if (this.#label.parentElement === null) {
        this.element.append(this.#label);
      }
    } else {
      this.#label.remove();
    }
  }

  #show(track: RemoteVideoTrack): void {
    if (track === this.#track) {
      if (this.#video?.paused && track.mediaStreamTrack.readyState === "live") {
        this.#video.play().catch(() => {
          // It was given another track, or taken away, before it played.
        });
      }
      return;
    }
    this.#dropFormer();
    if (this.#video) {
      this.#former = this.#video;
      this.#former.className = "former";
    }
    const video = document.createElement("video");
    // Sound has elements of its own.
    video.muted = true;
    video.autoplay = true;
    video.disablePictureInPicture = true;
    // Not by the track's `attach`: when the connection is lost, the library takes tracks out of the elements that it knows of, and
    // with them the last frame.
    video.srcObject = new MediaStream([track.mediaStreamTrack]);
    this.#track = track;
    this.#video = video;
    this.#pictured = false;
    this.element.prepend(video);
    video.addEventListener("resize", this.#onShape);
    video.requestVideoFrameCallback(() => {
      if (this.#video === video) {
        this.#pictured = true;
        this.#dropFormer();
        this.#resolve();
        this.#onPicture();
      }
    });
  }

  /** Keeps the last frame after its track has ended, when Chromium would show a black one. */
  freeze(): void {
    this.#video?.pause();
  }

  #dropFormer(): void {
    drop(this.#former);
    this.#former = undefined;
  }

  remove(): void {
    this.#dropFormer();
    drop(this.#video);
    this.#video = undefined;
    this.element.remove();
  }
}

/** Ends an element for good: a media element that still has a source may go on for as long as it likes. */
function drop(video: HTMLVideoElement | undefined): void {
  if (video) {
    video.srcObject = null;
    video.remove();
  }
}
