import { h, iconButton } from "./elements";

const SHORTCUTS: [string, [string, string][]][] = [
  ["Time", [
    ["Space", "play, pause"],
    ["← →", "one moment back, on"],
    ["Home End", "first, last moment"],
    ["[ ]", "slower, faster"],
    ["L", "at the end: back, again, stop"],
  ]],
  ["Camera", [
    ["drag", "turn"],
    ["right drag", "move sideways (or Shift)"],
    ["wheel, + −", "nearer, farther"],
    ["double click", "turn about this point"],
    ["R", "as at first"],
    ["T", "turntable"],
    ["F", "fly, or turn about a point"],
    ["W A S D Q E", "flying (Shift: faster)"],
    ["N M", "next, previous training view"],
    ["G", "add a key camera to a path"],
  ]],
  ["Picture", [
    ["1 2 3 4", "colour, points, depth, alpha"],
    ["C", "canonical pose"],
    ["O", "colours of their own time"],
    ["B", "background"],
    ["X", "compare with training"],
  ]],
  ["Page", [
    ["P", "screenshot"],
    ["V", "record a video"],
    ["K", "copy a link to this view"],
    ["I", "statistics"],
    ["S", "settings"],
    ["H ?", "this help"],
  ]],
];

export class Help {
  readonly element: HTMLDialogElement;

  constructor() {
    const close = iconButton("close", "Close", () => this.element.close(), "Esc");
    const groups = SHORTCUTS.map(([name, rows]) =>
      h("section", {}, h("h3", {}, name),
        h("dl", {}, ...rows.flatMap(([keys, does]) => [
          h("dt", {}, ...keys.split(" ").map((key) => (/^(drag|click|wheel,|right|double)$/.test(key) ? key + " " : h("kbd", {}, key)))),
          h("dd", {}, does)]))));
    this.element = h("dialog.help", { "aria-label": "Keyboard and mouse" },
      h("header", {}, h("h2", {}, "Keyboard and mouse"), close),
      h("div.groups", {}, ...groups),
      h("p", {}, "On a touch screen: one finger turns, two fingers move and zoom, a double tap turns about that point."));
    // A click beside it closes it.
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close();
    });
  }
  toggle(): void {
    if (this.element.open) this.element.close();
    else this.element.showModal();
  }
}
