import type { Scene } from "../scene/scene";
import type { Info } from "../source";
import type { SettingStore } from "../state/settings";
import type { Clock } from "../time/clock";
import { h, icon, iconButton } from "./elements";
import { Help } from "./help";
import { Panel, type PanelActions } from "./panel";
import { themeButton } from "./theme";
import { Timeline } from "./timeline";
import { Toast } from "./toast";

export interface PageActions extends PanelActions {
  changed(): void;
  copyLink(): void;
}

// What stands around the picture.
export class Page {
  readonly canvas: HTMLCanvasElement;
  readonly timeline: Timeline;
  readonly panel: Panel;
  readonly help = new Help();
  private readonly title = h("h1", {}, "eg4d");
  private readonly subtitle = h("p");
  private readonly loading = h("progress", { max: 1, "aria-label": "Loading the object" });
  private readonly said = new Toast();
  private readonly truth = h("img.truth", { alt: "The training picture of this camera and time" });
  private readonly stage: HTMLElement;
  private readonly panelButton: HTMLButtonElement;
  private readonly root: HTMLElement;
  private hasOwnColors = false;

  constructor(root: HTMLElement, private readonly store: SettingStore, private readonly clock: Clock, readonly actions: PageActions, back: string | null) {
    this.root = root;
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "The object. Drag to turn it; H tells the keys." });
    this.timeline = new Timeline(clock, actions.changed);
    this.panel = new Panel(store, actions);
    this.stage = h("div.stage", {}, this.canvas, this.truth);
    this.panelButton = iconButton("sliders", "Settings", () => store.set({ panel: !store.current.panel }), "S");
    this.panelButton.setAttribute("aria-controls", "panel");
    const tools = h("nav.tools", { "aria-label": "Tools" },
      iconButton("reset", "Reset the camera", actions.resetCamera, "R"),
      iconButton("photo", "Screenshot", () => actions.screenshot("1"), "P"),
      iconButton("link", "Copy a link to this view", actions.copyLink, "K"),
      themeButton(),
      iconButton("help", "Keyboard and mouse", () => this.help.toggle(), "H"),
      this.panelButton);
    root.replaceChildren(
      this.stage,
      h("header.top", {}, h("div.name", {}, back === null ? null : backLink(back), h("div.names", {}, this.title, this.subtitle), this.loading), tools),
      this.panel.element,
      this.timeline.element,
      this.said.element,
      this.help.element);
    // A button that was clicked does not keep the focus: Space goes on to play. With keys it does.
    root.addEventListener("click", (event) => {
      const { activeElement } = document;
      if (event.detail > 0 && activeElement instanceof HTMLButtonElement) activeElement.blur();
    });
    this.truth.hidden = true;
  }

  setInfo(info: Info): void {
    this.title.textContent = info.title;
    document.title = `${info.title} · eg4d`;
  }
  setScene(scene: Scene): void {
    this.hasOwnColors = scene.head.own_colors;
    this.stage.style.backgroundColor = scene.head.background;
    const moments = scene.head.frames;
    // Broken between the two where it is narrow.
    const parts = [`${scene.count.toLocaleString("en")} Gaussians${moments > 1 ? "," : ""}`, moments > 1 ? `${moments} moments` : ""];
    this.subtitle.replaceChildren(...parts.flatMap((part) => [h("span", {}, part), " "]));
  }
  // The share that has arrived; null: all of it.
  setLoading(share: number | null): void {
    this.loading.hidden = share === null;
    if (share === null) return;
    this.loading.value = share;
  }
  // What a training picture beside the canvas shows; null: none.
  setTruth(address: string | null): void {
    this.truth.hidden = address === null;
    this.stage.classList.toggle("beside", address !== null);
    if (address) this.truth.src = address;
  }

  update(recording: boolean, turntable: boolean): void {
    const { current } = this.store;
    this.panel.update(current, { hasOwnColors: this.hasOwnColors, moves: this.clock.moves, recording, turntable });
    this.panelButton.setAttribute("aria-expanded", String(current.panel));
    this.root.classList.toggle("with-panel", current.panel);
    this.canvas.classList.toggle("flying", current.flying);
  }

  tell(sentence: string): void {
    this.said.tell(sentence);
  }
  fail(sentence: string): void {
    showFailure(this.root, sentence);
  }
}

// To the list of runs.
export function backLink(address: string): HTMLAnchorElement {
  return h("a.icon", { href: address, "aria-label": "All runs", title: "All runs" }, icon("left"));
}

// Instead of everything. `back`: the address of the list of runs, if there is one.
export function showFailure(root: HTMLElement, sentence: string, back: string | null = null): void {
  root.replaceChildren(h("div.failure", { role: "alert" }, icon("close"), h("p", {}, sentence), back === null ? null : h("a", { href: back }, "All runs")));
}
