import type { Looping } from "../time/clock";
import type { Clock } from "../time/clock";
import { h, iconButton, setIcon } from "./elements";

const LOOP_LABELS: Record<Looping, string> = { back: "Forward and back", loop: "Again from the start", once: "Stop at the end" };

// Play, pause, steps, and the moment on a line that also tells which moments have arrived.
export class Timeline {
  readonly element: HTMLElement;
  private readonly play: HTMLButtonElement;
  private readonly slider: HTMLInputElement;
  private readonly label: HTMLOutputElement;
  private readonly speed: HTMLButtonElement;
  private readonly looping: HTMLButtonElement;
  private readonly arrived: HTMLElement;
  private arrivedKey = "";

  constructor(private readonly clock: Clock, onchange: () => void) {
    const act = (action: () => void) => () => {
      action();
      onchange();
    };
    this.play = iconButton("play", "Play", act(() => clock.toggle()), "Space");
    this.play.classList.add("play");
    const previous = iconButton("previous", "One moment back", act(() => clock.step(-1)), "←");
    const next = iconButton("next", "One moment on", act(() => clock.step(1)), "→");
    this.arrived = h("div.arrived", { "aria-hidden": "true" });
    this.slider = h("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, "aria-label": "Moment" });
    this.slider.addEventListener("input", act(() => {
      clock.playing = false;
      clock.seek(Number(this.slider.value));
    }));
    // Arrows step by moments, as everywhere on the page.
    this.slider.addEventListener("keydown", (event) => {
      if (event.key.startsWith("Arrow") || event.key.startsWith("Page")) event.preventDefault();
    });
    this.label = h("output.moment");
    this.speed = h("button.text", { type: "button", onclick: act(() => clock.speed >= 4 ? (clock.speed = 0.1) : clock.faster(1)) });
    this.looping = iconButton("back", LOOP_LABELS.back, act(() => clock.nextLooping()), "L");
    this.element = h("section.timeline", { "aria-label": "Time line" },
      h("div.buttons", {}, previous, this.play, next),
      h("div.line", {}, this.arrived, this.slider),
      this.label,
      h("div.buttons", {}, this.speed, this.looping));
  }

  update(): void {
    const { clock } = this;
    this.element.hidden = !clock.moves;
    setIcon(this.play, clock.playing ? "pause" : "play", clock.playing ? "Pause" : "Play", "Space");
    if (document.activeElement !== this.slider || clock.playing || Number(this.slider.value) !== clock.shown)
      this.slider.value = String(clock.shown);
    this.slider.style.setProperty("--share", String(clock.shown));
    const moment = `${clock.moment + 1} / ${clock.steps}`;
    if (this.label.value !== moment) this.label.value = moment;
    this.slider.setAttribute("aria-valuetext", `moment ${clock.moment + 1} of ${clock.steps}`);
    this.speed.textContent = `${clock.speed}×`;
    this.speed.setAttribute("aria-label", `Speed: ${clock.speed} times`);
    this.speed.title = "Speed ([ and ])";
    setIcon(this.looping, clock.looping, LOOP_LABELS[clock.looping], "L");
  }

  // Which times can be shown exactly already.
  setArrived(times: number[], whole: boolean): void {
    const key = whole ? "whole" : times.join();
    if (key === this.arrivedKey) return;
    this.arrivedKey = key;
    this.arrived.replaceChildren(...(whole ? [] : times.map((time) => {
      const tick = h("i");
      tick.style.left = `${100 * time}%`;
      return tick;
    })));
  }
}
