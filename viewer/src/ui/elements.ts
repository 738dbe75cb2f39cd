// Elements without a framework.

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | null | undefined | ((event: Event) => void)>;

// "button.icon": tag and classes; attributes beginning with "on" are listeners.
export function h<Tag extends keyof HTMLElementTagNameMap>(
  name: Tag | `${Tag}.${string}`,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const [tag, ...classes] = name.split(".") as [Tag, ...string[]];
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return element;
}

// Drawn with strokes in a field of 24 × 24.
const ICONS = {
  play: "M7 4.5v15l12.5-7.5z",
  pause: "M8 5v14M16 5v14",
  previous: "M18 5.5v13L9 12zM6 5v14",
  next: "M6 5.5v13l9-6.5zM18 5v14",
  loop: "M4 11a7 7 0 0 1 7-6h6M14 2l3 3-3 3M20 13a7 7 0 0 1-7 6H7M10 22l-3-3 3-3",
  back: "M3 9h15M15 5.5 18.5 9 15 12.5M21 16H6M9 12.5 5.5 16 9 19.5",
  once: "M4 12h13M13 7.5l4.5 4.5-4.5 4.5M21 5v14",
  sliders: "M4 7h8M18 7h2M4 17h2M12 17h8M15 4.5v5M9 14.5v5",
  reset: "M4 11.5 12 5l8 6.5M6.5 10v9h11v-9",
  link: "M10 13.5a4 4 0 0 0 5.7.3l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10.5a4 4 0 0 0-5.7-.3l-3 3A4 4 0 0 0 11 18.9l1-1",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.01",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M4.9 4.9l1.8 1.8M17.3 17.3l1.8 1.8M4.9 19.1l1.8-1.8M17.3 6.7l1.8-1.8",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  photo: "M4 8h3.5l1.5-2.5h6L16.5 8H20v11H4zM12 10.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  record: "M12 6a6 6 0 1 0 0 12 6 6 0 0 0 0-12z",
  stop: "M7 7h10v10H7z",
  spin: "M3.5 12c0-2 3.8-3.5 8.5-3.5s8.5 1.5 8.5 3.5-3.8 3.5-8.5 3.5M9.5 12.5l2.5 3-2.5 3",
  fly: "M3 11.5 21 4l-7 17-3-7z",
  left: "M14.5 5.5 8 12l6.5 6.5",
  camera: "M8 3.5h8a1.5 1.5 0 0 1 1.5 1.5v14a1.5 1.5 0 0 1-1.5 1.5H8A1.5 1.5 0 0 1 6.5 19V5A1.5 1.5 0 0 1 8 3.5zM12 8.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM11 17.5h2",
  done: "M5 12.5 10 17.5 19 7",
  close: "M6 6l12 12M18 6 6 18",
} as const;
export type IconName = keyof typeof ICONS;

export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// A button that shows an icon; its label is for screen readers and, with the key, the tip.
export function iconButton(name: IconName, label: string, onclick: () => void, key = ""): HTMLButtonElement {
  const button = h("button.icon", { type: "button", "aria-label": label, title: key ? `${label} (${key})` : label, onclick }, icon(name));
  button.dataset["icon"] = name;
  return button;
}
export function setIcon(button: HTMLButtonElement, name: IconName, label: string, key = ""): void {
  if (button.dataset["icon"] !== name) {
    button.dataset["icon"] = name;
    button.replaceChildren(icon(name));
  }
  button.setAttribute("aria-label", label);
  button.title = key ? `${label} (${key})` : label;
}

// A row of choices of which one holds.
export function choices<Value extends string>(
  label: string,
  options: readonly (readonly [Value, string])[],
  onchange: (value: Value) => void,
): { element: HTMLElement; set(value: Value): void; enable(value: Value, enabled: boolean): void } {
  const buttons = new Map<Value, HTMLButtonElement>();
  const element = h("div.choices", { role: "radiogroup", "aria-label": label });
  const list = options.map(([value]) => value);
  for (const [value, text] of options) {
    const button = h("button", { type: "button", role: "radio", "aria-checked": "false", onclick: () => onchange(value) }, text);
    button.addEventListener("keydown", (event) => {
      const turn = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!turn) return;
      event.preventDefault();
      event.stopPropagation();
      const next = list[(list.indexOf(value) + turn + list.length) % list.length]!;
      onchange(next);
      buttons.get(next)!.focus();
    });
    buttons.set(value, button);
    element.append(button);
  }
  return {
    element,
    set(value) {
      for (const [one, button] of buttons) {
        button.setAttribute("aria-checked", String(one === value));
        button.tabIndex = one === value ? 0 : -1;
      }
    },
    enable(value, enabled) {
      buttons.get(value)!.disabled = !enabled;
    },
  };
}
