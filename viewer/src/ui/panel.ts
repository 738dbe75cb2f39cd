import type { DatasetViews } from "../compare";
import { Recorder } from "../capture/capture";
import type { BackgroundName, Comparing, Settings, SettingStore, Shown } from "../state/settings";
import { TrainingPart } from "./training";
import { choices, h, icon, iconButton, type IconName } from "./elements";

export interface PanelActions {
  resetCamera(): void;
  addKeyCamera(): void;
  saveKeyCameras(): void;
  choosePreset(split: string, index: number): void;
  stepPreset(direction: 1 | -1): void;
  compare(how: Comparing): void;
  screenshot(size: string): void;
  record(): void;
  turntable(): void;
  train(word: "pause" | "continue" | "stop"): void;
}

const BACKGROUNDS: [BackgroundName, string][] = [
  ["object", "As in training"],
  ["white", "White"],
  ["grey", "Grey"],
  ["black", "Black"],
  ["checker", "Chequered; transparent in a screenshot"],
  ["custom", "A colour of your choice"],
];

const part = (title: string, ...children: (Node | string | null)[]) => h("section.part", {}, h("h2", {}, title), ...children);

function action(name: IconName, text: string, onclick: () => void): HTMLButtonElement {
  return h("button.action", { type: "button", onclick }, icon(name), h("span", {}, text));
}
function setText(button: HTMLButtonElement, text: string): void {
  button.lastElementChild!.textContent = text;
}

// The settings beside (on a phone: below) the picture.
export class Panel {
  readonly element: HTMLElement;
  readonly figures = h("dl.figures");
  readonly training: TrainingPart;
  private readonly shown;
  private readonly pose;
  private readonly colors;
  private readonly comparing;
  private readonly colorPart: HTMLElement;
  private readonly swatches = new Map<BackgroundName, HTMLButtonElement>();
  private readonly customColor: HTMLInputElement;
  private readonly spin: HTMLButtonElement;
  private readonly fly: HTMLButtonElement;
  private readonly recordButton: HTMLButtonElement;
  private readonly turntableButton: HTMLButtonElement;
  private readonly presets: HTMLSelectElement;
  private readonly presetPart: HTMLElement;
  private readonly presetNote = h("p.note");
  private readonly amount: HTMLInputElement;
  private readonly amountRow: HTMLElement;
  private readonly agreement = h("p.note", { role: "status" });
  private readonly figureSwitch: HTMLInputElement;

  constructor(store: SettingStore, actions: PanelActions) {
    this.shown = choices<Shown>("What is shown", [["color", "Colour"], ["points", "Points"], ["depth", "Depth"], ["alpha", "Alpha"]], (shown) => store.set({ shown }));
    this.pose = choices("Pose", [["moving", "Moving"], ["canonical", "Canonical"]] as const, (pose) => store.set({ canonical: pose === "canonical" }));
    this.colors = choices("Colours are read at", [["reference", "Reference time"], ["own", "Own time"]] as const, (colors) => store.set({ ownColors: colors === "own" }));
    this.colorPart = h("div", {}, h("h3", {}, "Colours read at"), this.colors.element);
    const swatchRow = h("div.swatches", { role: "group", "aria-label": "Background" });
    for (const [name, label] of BACKGROUNDS) {
      const swatch = h(`button.swatch.${name}` as "button", { type: "button", "aria-label": label, title: label, onclick: () => {
        store.set({ background: name });
        if (name === "custom") this.customColor.click();
      } });
      this.swatches.set(name, swatch);
      swatchRow.append(swatch);
    }
    this.customColor = h("input.hidden-color", { type: "color", tabindex: -1, "aria-hidden": "true" });
    this.customColor.addEventListener("input", () => store.set({ customBackground: this.customColor.value, background: "custom" }));
    swatchRow.append(this.customColor);

    this.spin = action("spin", "Turntable", () => store.set({ spinning: !store.current.spinning }));
    this.fly = action("fly", "Fly", () => store.set({ flying: !store.current.flying }));
    this.presets = h("select", { "aria-label": "Camera of the dataset" });
    this.presets.addEventListener("change", () => {
      const [split, index] = this.presets.value.split("/");
      if (index !== undefined) actions.choosePreset(split!, Number(index));
    });
    this.comparing = choices<Comparing>("Training picture", [["off", "Off"], ["wipe", "Wipe"], ["blend", "Blend"], ["beside", "Beside"], ["error", "Error"]], (how) => actions.compare(how));
    this.amount = h("input", { type: "range", min: 0, max: 1, step: 0.01, "aria-label": "How much of the training picture" });
    this.amount.addEventListener("input", () => store.set({ amount: Number(this.amount.value) }));
    this.amountRow = h("div.amount", {}, h("span", {}, "Render"), this.amount, h("span", {}, "Picture"));
    this.presetPart = part("Training views",
      h("div.row", {}, iconButton("previous", "Previous camera", () => actions.stepPreset(-1), "M"), this.presets, iconButton("next", "Next camera", () => actions.stepPreset(1), "N")),
      this.comparing.element, this.amountRow, this.agreement, this.presetNote);

    const size = h("select", { "aria-label": "Size of the screenshot" },
      ...["1 ×", "2 ×", "1024²", "2048²"].map((text, i) => h("option", { value: ["1", "2", "1024", "2048"][i]! }, text)));
    this.recordButton = action("record", "Record", actions.record);
    this.turntableButton = action("spin", "Turntable video", actions.turntable);
    if (!Recorder.isPossible) this.recordButton.disabled = this.turntableButton.disabled = true;
    this.figureSwitch = h("input", { type: "checkbox", role: "switch" });
    this.figureSwitch.addEventListener("change", () => store.set({ figures: this.figureSwitch.checked }));

    this.training = new TrainingPart((word) => actions.train(word));
    this.element = h("aside.panel", { id: "panel", "aria-label": "Settings" },
      h("header", {}, h("strong", {}, "Settings"), iconButton("close", "Close", () => store.set({ panel: false }), "S")),
      this.training.element,
      part("Show", this.shown.element, this.pose.element, this.colorPart),
      part("Background", swatchRow),
      part("Camera", h("div.row", {}, action("reset", "Reset", actions.resetCamera), this.spin, this.fly),
        h("div.row", {}, action("camera", "Add key camera", actions.addKeyCamera), action("done", "Save path", actions.saveKeyCameras))),
      this.presetPart,
      part("Capture",
        h("div.row", {}, action("photo", "Screenshot", () => actions.screenshot(size.value)), size),
        h("div.row", {}, this.recordButton, this.turntableButton)),
      h("section.part", {}, h("label.switch", {}, h("h2", {}, "Statistics"), this.figureSwitch), this.figures));
  }

  update(settings: Settings, state: { hasOwnColors: boolean; moves: boolean; recording: boolean; turntable: boolean }): void {
    this.element.hidden = !settings.panel;
    this.shown.set(settings.shown);
    this.pose.set(settings.canonical ? "canonical" : "moving");
    this.pose.element.hidden = !state.moves;
    this.colors.set(settings.ownColors ? "own" : "reference");
    this.colorPart.hidden = !state.hasOwnColors;
    for (const [name, swatch] of this.swatches) swatch.setAttribute("aria-pressed", String(settings.background === name));
    this.swatches.get("custom")!.style.backgroundColor = settings.customBackground;
    this.customColor.value = settings.customBackground;
    this.spin.setAttribute("aria-pressed", String(settings.spinning));
    this.fly.setAttribute("aria-pressed", String(settings.flying));
    this.comparing.set(settings.comparing);
    this.amountRow.hidden = settings.comparing !== "wipe" && settings.comparing !== "blend";
    this.amount.value = String(settings.amount);
    this.recordButton.classList.toggle("running", state.recording && !state.turntable);
    setText(this.recordButton, state.recording && !state.turntable ? "Stop" : "Record");
    this.turntableButton.classList.toggle("running", state.turntable);
    setText(this.turntableButton, state.turntable ? "Stop" : "Turntable video");
    this.figureSwitch.checked = settings.figures;
    this.figures.hidden = !settings.figures;
    this.setPreset(settings);
  }

  setViews(views: DatasetViews): void {
    this.presetNote.textContent = views.cameras.note ?? "";
    this.presetPart.hidden = views.isEmpty && !views.cameras.note;
    for (const child of this.presetPart.children) if (child.tagName !== "H2" && child !== this.presetNote) (child as HTMLElement).hidden = views.isEmpty;
    if (views.isEmpty) return;
    this.presets.replaceChildren(h("option", { value: "" }, "Choose a camera"));
    for (const { name } of views.cameras.splits) {
      const group = h("optgroup", { label: name });
      for (const place of views.places(name)) {
        const label = place.frame.view === undefined ? place.frame.name : `${name} view ${place.frame.view}`;
        group.append(h("option", { value: `${name}/${place.index}` }, label));
      }
      this.presets.append(group);
    }
  }
  setAgreement(text: string): void {
    if (this.agreement.textContent !== text) this.agreement.textContent = text;
  }
  // Values in the order of `places`, to go through with keys.
  get presetValues(): string[] {
    return [...this.presets.options].map((option) => option.value).filter((value) => value !== "");
  }

  private setPreset(settings: Settings): void {
    const { preset } = settings;
    this.presets.value = preset ? `${preset.split}/${preset.index}` : "";
  }
  setFigures(rows: [string, string][]): void {
    this.figures.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }
}
