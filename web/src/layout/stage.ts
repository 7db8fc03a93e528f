// The page's surface: puts tiles where a layout wants them, touching only what changed.
import type { Options, Ornament, Placement, Size, Tile } from "@weir/layout";
import { type Template, template } from "./layouts";
import type { Choice } from "./names";
import { byImportance, settled } from "./order";
import type { Showing } from "./people";
import { type Labels, TileView } from "./tile";

/** How long a tile that loses its place covers a successor that has no frame yet, in ms. */
const COVER = 2000;

/** Remembers the tiles' places from one change to the next. */
export class Places {
  #previous: string[] = [];

  forget(): void {
    this.#previous = [];
  }

  /** Assigns a place to each tile, from their former places. */
  next(shown: readonly (Tile & Showing)[], { layout }: Template, stage: Size, options: Options): Placement[] {
    const tiles = byImportance(shown);
    const ids = tiles.map(({ id }) => id);
    this.#previous = settled(this.#previous, ids, layout.ranks(tiles, stage, options));
    const order = new Map(this.#previous.map((id, index) => [id, index]));
    tiles.sort((a, b) => (order.get(a.id) ?? 0) - (order.get(b.id) ?? 0));
    return layout.arrange(tiles, stage, options);
  }
}

export class Stage {
  readonly #root: HTMLElement;
  readonly #labels: Labels;
  readonly #onPicture: () => void;
  readonly #onShape: () => void;
  readonly #tiles = new Map<string, TileView>();
  readonly #places = new Places();
  readonly #sheet = new CSSStyleSheet();
  #shown = "";

  constructor(root: HTMLElement, labels: Labels, onPicture: () => void, onShape: () => void) {
    this.#root = root;
    this.#labels = labels;
    this.#onPicture = onPicture;
    this.#onShape = onShape;
    document.adoptedStyleSheets = [this.#sheet];
  }

  /** Lets the next change put everyone where their importance says, wherever they were. */
  forget(): void {
    this.#places.forget();
  }

  /** Lets every tile keep the frame that it has. */
  freeze(): void {
    for (const tile of this.#tiles.values()) {
      tile.freeze();
    }
  }

  /** How many tiles have not yet shown a frame that they will show. */
  get waiting(): number {
    return [...this.#tiles.values()].filter(({ settled }) => !settled).length;
  }

  render(choice: Choice, options: Options, showings: readonly Showing[]): void {
    const chosen = template(choice.layout);
    this.#dress(choice, options, chosen);
    const shown = showings.map((showing) => ({
      ...showing,
      aspect: this.#tiles.get(showing.id)?.aspect ?? showing.aspect,
    }));
    const size = { width: window.innerWidth, height: window.innerHeight };
    const placements = this.#places.next(shown, chosen, size, options);

    const byId = new Map(shown.map((showing) => [showing.id, showing]));
    const fresh: TileView[] = [];
    for (const placement of placements) {
      const showing = byId.get(placement.id);
      if (showing) {
        fresh.push(...this.#put(showing, placement));
      }
    }
    const placed = new Set(placements.map(({ id }) => id));
    for (const { id, publication } of shown) {
      publication.setEnabled(placed.has(id));
    }
    for (const [id, tile] of this.#tiles) {
      if (!placed.has(id)) {
        this.#tiles.delete(id);
        this.#retire(tile, byId.has(id), fresh);
      }
    }
  }

  /** Gives a tile its place; returns it when it has no frame yet. */
  #put(showing: Showing, placement: Placement): TileView[] {
    let tile = this.#tiles.get(showing.id);
    if (tile === undefined) {
      tile = new TileView(showing.id, this.#labels, this.#onPicture, this.#onShape);
      this.#tiles.set(showing.id, tile);
      this.#root.append(tile.element);
    }
    tile.update(showing, placement);
    return tile.settled ? [] : [tile];
  }

  /** Takes a tile away: at once, or, where somebody still shows it and others have nothing to show yet, when they have. */
  #retire(tile: TileView, alive: boolean, fresh: readonly TileView[]): void {
    if (!alive || fresh.length === 0) {
      tile.remove();
      return;
    }
    tile.element.classList.add("leaving");
    const end = () => {
      clearTimeout(timer);
      tile.remove();
    };
    const timer = setTimeout(end, COVER);
    Promise.all(fresh.map((successor) => successor.pictured)).then(end, end);
  }

  /** Puts a layout's style sheet and ornaments in force. */
  #dress({ layout, theme }: Choice, options: Options, { name, css, layout: { ornaments } }: Template): void {
    const shown = JSON.stringify([layout, theme, ...options]);
    if (this.#shown === shown) {
      return;
    }
    this.#shown = shown;
    document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.layout = name;
    this.#sheet.replaceSync(css);
    for (const old of this.#root.querySelectorAll(":scope > .ornament")) {
      old.remove();
    }
    this.#root.prepend(...(ornaments?.(options) ?? []).map(ornament));
  }
}

function ornament({ className, text, image, color }: Ornament): HTMLElement {
  const element = document.createElement(image === undefined ? "div" : "img");
  element.className = `ornament ${className}`;
  if (element instanceof HTMLImageElement && image !== undefined) {
    element.src = image;
    element.alt = "";
  }
  element.textContent = text ?? "";
  element.style.backgroundColor = color ?? "";
  return element;
}
