import type { Home, Run, Server } from "../server";
import { h, icon } from "../ui/elements";
import { themeButton } from "../ui/theme";
import { Toast } from "../ui/toast";
import { MakePart } from "./make";
import { runWords, shareDone, stateWord, when } from "./words";

const PERIOD = 1500; // milliseconds
const PATIENCE = 4; // failures until it is told

// One run in the list.
class Card {
  readonly element: HTMLElement;
  private readonly picture = h("img", { alt: "" });
  private readonly state = h("span.state");
  private readonly name = h("h3");
  private readonly words = h("p.words");
  private readonly more = h("p.more");
  private readonly progress = h("progress", { max: 1 });
  private readonly button = h("button.action", { type: "button" });
  private picturedAt = -1;
  private command: "cancel" | "resume" = "cancel";

  constructor(private readonly server: Server, private run: Run, onCommand: (run: Run, word: "cancel" | "resume") => void) {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    this.button.addEventListener("click", () => onCommand(this.run, this.command));
    this.element = h("article.card", {},
      h("a", { href: `#run=${run.id}${token ? `&token=${token}` : ""}` },
        h("div.thumbnail", {}, icon("photo"), this.picture),
        h("div.about", {}, this.name, this.state, this.words, this.more, this.progress)),
      this.button);
    this.picture.hidden = true;
    this.update(run);
  }

  update(run: Run): void {
    this.run = run;
    this.name.textContent = run.name;
    this.state.textContent = stateWord(run.state);
    this.state.dataset["state"] = run.state;
    this.words.textContent = runWords(run);
    this.more.textContent = [run.psnr === null ? "" : `${run.psnr.toFixed(2)} dB`, when(run.changed, Date.now() / 1000)].filter((text) => text !== "").join(" · ");
    const share = shareDone(run);
    this.progress.hidden = run.state !== "running" || share === null;
    if (share !== null) this.progress.value = share;
    this.progress.setAttribute("aria-label", `Progress of ${run.name}`);
    const mayCancel = run.job && (run.state === "waiting" || run.state === "running" || run.state === "paused");
    const mayResume = run.job && (run.state === "cancelled" || run.state === "failed");
    this.command = mayResume ? "resume" : "cancel";
    this.button.hidden = !(mayCancel || mayResume) || !this.server.token;
    this.button.textContent = mayResume ? "Resume" : "Cancel";
    this.button.setAttribute("aria-label", `${this.button.textContent} ${run.name}`);
    if (this.picture.hidden && this.picturedAt !== run.changed) void this.bringPicture(run);
  }

  private async bringPicture(run: Run): Promise<void> {
    this.picturedAt = run.changed;
    const address = await this.server.picture(`runs/${run.id}/thumbnail`);
    if (!address) return;
    this.picture.src = address;
    this.picture.hidden = false;
  }
}

// The runs of a folder, and where new ones are made.
export class Gallery {
  private readonly list = h("div.cards");
  private readonly empty = h("p.empty", { hidden: true });
  private readonly toast = new Toast();
  private readonly cards = new Map<string, Card>();
  private failures = 0;
  private timer = 0;

  constructor(root: HTMLElement, private readonly server: Server, home: Home) {
    document.title = `${home.title} · eg4d`;
    const make = new MakePart(server, home, () => this.soon(), (sentence) => this.toast.tell(sentence));
    const element = h("main.home", {},
      h("header.home-head", {}, h("div", {}, h("h1", {}, home.title || "Runs"), h("p", {}, "eg4d")), themeButton()),
      make.element,
      h("section", { "aria-label": "Runs" }, this.empty, this.list),
      this.toast.element);
    root.replaceChildren(element);
    make.listenForDrops(element);
  }

  start(): void {
    void this.ask();
    document.addEventListener("visibilitychange", () => this.soon());
  }
  private soon(): void {
    clearTimeout(this.timer);
    void this.ask();
  }

  private async ask(): Promise<void> {
    if (!document.hidden) {
      try {
        const { runs, cut } = await this.server.json<{ runs: Run[]; cut: boolean }>("runs");
        this.show(runs, cut);
        this.failures = 0;
      } catch (error) {
        if (++this.failures === PATIENCE) this.toast.tell((error as Error).message);
      }
    }
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.ask(), PERIOD * (this.failures < PATIENCE ? 1 : 4));
  }

  // Those that are worked at first, then the newest.
  private show(runs: Run[], cut: boolean): void {
    const rank = (run: Run) => ({ running: 0, stopping: 0, paused: 0, waiting: 1 } as Record<string, number>)[run.state] ?? 2;
    const order = (a: Run, b: Run) => rank(a) - rank(b) || (rank(a) === 1 ? (a.job?.before ?? 0) - (b.job?.before ?? 0) : b.changed - a.changed) || a.name.localeCompare(b.name);
    runs.sort(order);
    this.empty.hidden = runs.length > 0 && !cut;
    this.empty.textContent = cut ? `The first ${runs.length} runs are shown.` : "There are no runs in this folder yet.";
    for (const run of runs) {
      const card = this.cards.get(run.id);
      if (card) card.update(run);
      else this.cards.set(run.id, new Card(this.server, run, (of, word) => void this.command(of, word)));
    }
    const shown = new Set(runs.map((run) => run.id));
    for (const id of [...this.cards.keys()]) if (!shown.has(id)) this.cards.delete(id);
    const elements = runs.map((run) => this.cards.get(run.id)!.element);
    // A card that has the focus keeps it unless the order changes.
    if (elements.length !== this.list.children.length || elements.some((element, i) => this.list.children[i] !== element)) this.list.replaceChildren(...elements);
  }

  private async command(run: Run, word: "cancel" | "resume"): Promise<void> {
    try {
      await this.server.post(`runs/${run.id}/job/${word}`);
    } catch (error) {
      this.toast.tell((error as Error).message);
    }
    this.soon();
  }
}
