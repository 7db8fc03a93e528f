// Elements in a few words.

type Child = Node | string | undefined | false;

interface Attributes {
  [name: string]: string | number | boolean | undefined | ((event: Event) => void);
}

/** Creates an element. `onclick` and the like are listeners, `true` sets an attribute without a value, `undefined` and `false` omit it. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== undefined && child !== false));
  return element;
}

/** Sets a text only if it differs, so that a screen reader stays quiet and a selection stays. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

let made = 0;

/** An id that nothing else on the page has. */
export function fresh(name: string): string {
  made += 1;
  return `${name}-${made}`;
}

/** Asks whether to go on; what is asked has the focus on going back. */
export function confirmed(question: string, detail: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => {
    const title = fresh("question");
    const no = h(
      "button",
      { type: "button", class: "quiet", autofocus: true, onclick: () => dialog.close() },
      "Cancel",
    );
    const go = h("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, yes);
    const dialog = h(
      "dialog",
      { class: "confirm", "aria-labelledby": title },
      h("h2", { id: title }, question),
      h("p", {}, detail),
      h("div", { class: "row end" }, no, go),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Runs what a button stands for, once at a time. */
export async function busy(button: HTMLButtonElement, work: () => Promise<void>): Promise<void> {
  if (button.disabled) return;
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}
