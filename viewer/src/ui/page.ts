import type { Scene } from "../scene/scene";
import type { Info } from "../source";
import type { SettingStore, Theme } from "../state/settings";
import type { Clock } from "../time/clock";
import { h, icon, iconButton, setIcon } from "./elements";
import { Help } from "./help";
import { Panel, type PanelActions } from "./panel";
import { Timeline } from "./timeline";

export interface PageActions extends PanelActions {
  changed(): void;
  copyLink(): void;
}

const THEME_KEY = "eg4d-theme";

function storedTheme(): Theme {
  try {
    const theme = localStorage.getItem(THEME_KEY);
    return theme === "light" || theme === "dark" ? theme : "system";
  } catch {
    return "system"; // a page from disk may have no storage
  }
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
  private readonly said = h("div.said", { role: "status", "aria-live": "polite" });
  private readonly truth = h("img.truth", { alt: "The training picture of this camera and time" });
  private readonly stage: HTMLElement;
  private readonly panelButton: HTMLButtonElement;
  private readonly themeButton: HTMLButtonElement;
  private readonly root: HTMLElement;
  private saidTimer = 0;
  private hasOwnColors = false;

  constructor(root: HTMLElement, private readonly store: SettingStore, private readonly clock: Clock, readonly actions: PageActions) {
    this.root = root;
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "The object. Drag to turn it; H tells the keys." });
    this.timeline = new Timeline(clock, actions.changed);
    this.panel = new Panel(store, actions);
    this.stage = h("div.stage", {}, this.canvas, this.truth);
    this.panelButton = iconButton("sliders", "Settings", () => store.set({ panel: !store.current.panel }), "S");
    this.panelButton.setAttribute("aria-controls", "panel");
    this.themeButton = iconButton("sun", "Light or dark", () => this.nextTheme());
    const tools = h("nav.tools", { "aria-label": "Tools" },
      iconButton("reset", "Reset the camera", actions.resetCamera, "R"),
      iconButton("photo", "Screenshot", () => actions.screenshot("1"), "P"),
      iconButton("link", "Copy a link to this view", actions.copyLink, "K"),
      this.themeButton,
      iconButton("help", "Keyboard and mouse", () => this.help.toggle(), "H"),
      this.panelButton);
    root.replaceChildren(
      this.stage,
      h("header.top", {}, h("div.name", {}, this.title, this.subtitle, this.loading), tools),
      this.panel.element,
      this.timeline.element,
      this.said,
      this.help.element);
    // A button that was clicked does not keep the focus: Space goes on to play. With keys it does.
    root.addEventListener("click", (event) => {
      const { activeElement } = document;
      if (event.detail > 0 && activeElement instanceof HTMLButtonElement) activeElement.blur();
    });
    this.setTheme(storedTheme());
    this.truth.hidden = true;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.showTheme());
  }

  setInfo(info: Info): void {
    this.title.textContent = info.title;
    document.title = `${info.title} · eg4d`;
  }
  setScene(scene: Scene): void {
    this.hasOwnColors = scene.head.own_colors;
    this.stage.style.backgroundColor = scene.head.background;
    const moments = scene.head.frames;
    const gaussians = `${scene.count.toLocaleString("en")} Gaussians`;
    this.subtitle.textContent = moments > 1 ? `${gaussians}, ${moments} moments` : gaussians;
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

  // A sentence that goes again.
  tell(sentence: string): void {
    this.said.textContent = sentence;
    this.said.classList.add("shown");
    clearTimeout(this.saidTimer);
    this.saidTimer = window.setTimeout(() => this.said.classList.remove("shown"), Math.max(2500, 70 * sentence.length));
  }
  fail(sentence: string): void {
    showFailure(this.root, sentence);
  }

  private nextTheme(): void {
    this.setTheme(this.isDark ? "light" : "dark");
  }
  private get isDark(): boolean {
    const { theme } = this.store.current;
    return theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  }
  private setTheme(theme: Theme): void {
    this.store.set({ theme });
    try {
      localStorage.setItem(THEME_KEY, theme);
    } catch {
      // then it holds for this visit
    }
    this.showTheme();
  }
  private showTheme(): void {
    document.documentElement.dataset["theme"] = this.isDark ? "dark" : "light";
    setIcon(this.themeButton, this.isDark ? "sun" : "moon", this.isDark ? "Light colours" : "Dark colours");
  }
}

// Instead of everything.
export function showFailure(root: HTMLElement, sentence: string): void {
  root.replaceChildren(h("div.failure", { role: "alert" }, icon("close"), h("p", {}, sentence)));
}
