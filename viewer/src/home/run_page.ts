import { duration } from "../live";
import { asSentence, type RunDetails, type Server } from "../server";
import type { Source } from "../source";
import { h, icon } from "../ui/elements";
import { backLink } from "../ui/page";
import { themeButton } from "../ui/theme";
import { Toast } from "../ui/toast";
import { TrainingPart } from "../ui/training";
import { progressWords, runWords, shareDone, stageWord, stateWord } from "./words";

const PERIOD = 1000; // milliseconds
const PATIENCE = 5; // failures until it is told
const STAGES = ["animate", "multiview", "reconstruct", "refine", "present"];
const MOMENTS_SHOWN = 4; // of the views

// Pictures that come one after the other, each loaded once.
class Strip {
  readonly element = h("div.strip");
  private readonly shown = new Map<string, HTMLImageElement>();

  constructor(private readonly server: Server, private readonly label: string) {}
  show(paths: string[]): void {
    for (const path of paths) {
      if (this.shown.has(path)) continue;
      const image = h("img", { alt: `${this.label} ${this.shown.size + 1}`, loading: "lazy" });
      this.shown.set(path, image);
      this.element.append(image);
      void this.server.picture(path).then((address) => {
        if (address) image.src = address;
        else this.shown.delete(path), image.remove();
      });
    }
  }
}

function wordsOf(run: RunDetails): string {
  const progress = run.job?.progress;
  if (progress?.label) return progressWords(progress.label) + (progress.seconds_left >= 0 ? ` · ${duration(progress.seconds_left)} left` : "");
  if (run.state === "unfinished" && run.stage !== "") return "Nothing works on it now; the command that began it continues it.";
  if (run.state === "waiting" || run.state === "failed") return asSentence(runWords(run));
  return run.state === "running" || run.state === "unfinished" ? "Waiting for the first model." : "";
}

// A run that has no model yet: its stages, what was painted, how long it will take.
export class RunPage {
  private readonly title = h("h1");
  private readonly state = h("span.state");
  private readonly stages = h("ol.stages");
  private readonly words = h("p.words", { role: "status" });
  private readonly warning = h("p.note");
  private readonly progress = h("progress", { max: 1, "aria-label": "Progress" });
  private readonly button = h("button.action", { type: "button" });
  private readonly frames: Strip;
  private readonly framePart: HTMLElement;
  private readonly viewPart: HTMLElement;
  private readonly views: Strip[] = [];
  private readonly training: TrainingPart;
  private readonly toast = new Toast();
  private command: "cancel" | "resume" = "cancel";
  private failures = 0;

  constructor(root: HTMLElement, private readonly server: Server, private readonly source: Source, private readonly id: string, back: string | null) {
    this.frames = new Strip(server, "Frame");
    this.framePart = h("section.painted", { hidden: true }, h("h2", {}, "Frames of the video"), this.frames.element);
    this.viewPart = h("section.painted.views", { hidden: true }, h("h2", {}, "Views"));
    this.training = new TrainingPart((word) => void this.guard(() => this.source.command(word)));
    this.button.addEventListener("click", () => void this.guard(() => this.server.post(`runs/${id}/job/${this.command}`)));
    root.replaceChildren(h("main.home.run-page", {},
      h("header.home-head", {}, back === null ? null : backLink(back), h("div", {}, this.title, this.state), this.button, themeButton()),
      this.stages,
      h("section.now", {}, this.words, this.progress, this.warning),
      this.training.element, this.framePart, this.viewPart, this.toast.element));
  }

  // Shows how it goes until there is something to open.
  async whenThereIsAModel(): Promise<void> {
    for (;;) {
      if (!document.hidden) {
        try {
          const status = await this.source.status();
          if (status.version > 0) return;
          this.show(await this.server.json<RunDetails>(`runs/${this.id}`), status.failure);
          this.training.update(status.training, this.server.token !== null);
          this.failures = 0;
        } catch (error) {
          if (++this.failures === PATIENCE) this.toast.tell((error as Error).message);
        }
      }
      await new Promise((done) => setTimeout(done, PERIOD));
    }
  }

  private show(run: RunDetails, failure: string): void {
    this.title.textContent = run.name;
    document.title = `${run.name} · eg4d`;
    this.state.textContent = stateWord(run.state);
    this.state.dataset["state"] = run.state;
    this.showStages(run);
    const progress = run.job?.progress;
    this.words.textContent = failure ? asSentence(failure) : wordsOf(run);
    const share = shareDone(run);
    this.progress.hidden = run.state !== "running" || share === null;
    if (share !== null) this.progress.value = share;
    this.warning.textContent = progress?.warning ? `Note: ${progress.warning}.` : "";
    const mayResume = run.job && (run.state === "cancelled" || run.state === "failed");
    const mayCancel = run.job && ["waiting", "running", "paused"].includes(run.state);
    this.command = mayResume ? "resume" : "cancel";
    this.button.textContent = mayResume ? "Resume" : "Cancel";
    this.button.hidden = !(mayResume || mayCancel) || !this.server.token;
    this.showPainted(run);
  }

  private showStages(run: RunDetails): void {
    const known = new Map(run.stages.map((stage) => [stage.name, stage]));
    // What only trains has no other stages.
    const names = run.job || known.has("animate") || known.has("multiview") ? STAGES : STAGES.filter((name) => known.has(name));
    const last = run.stages.at(-1)?.name;
    this.stages.replaceChildren(...names.map((name) => {
      const stage = known.get(name);
      const state = stage?.finished ? "finished" : name === last ? (run.state === "running" ? "running" : "begun") : "to come";
      const time = stage && stage.seconds > 0 ? duration(stage.seconds) : "";
      return h("li", { "data-state": state, ...(state === "running" ? { "aria-current": "step" } : {}) }, state === "finished" ? icon("done") : h("i"), h("span", {}, stageWord(name)), h("small", {}, time));
    }));
  }

  private showPainted(run: RunDetails): void {
    this.framePart.hidden = run.frames === 0;
    this.frames.show(Array.from({ length: run.frames }, (_, i) => `runs/${this.id}/frame/${i}`));
    this.viewPart.hidden = run.views.length === 0;
    run.views.slice(0, MOMENTS_SHOWN).forEach((count, moment) => {
      if (!this.views[moment]) {
        this.views[moment] = new Strip(this.server, `Moment ${moment + 1}, view`);
        this.viewPart.append(this.views[moment].element);
      }
      this.views[moment].show(Array.from({ length: count }, (_, view) => `runs/${this.id}/view/${moment}/${view}`));
    });
  }

  private async guard(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.toast.tell((error as Error).message);
    }
  }
}
