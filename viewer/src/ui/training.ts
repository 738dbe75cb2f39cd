import { duration, type Training } from "../live";
import { h } from "./elements";

const WIDTH = 256;
const HEIGHT = 112;
const MARGIN = 4;
const LETTERS = 17; // above and below the lines
const SVG = "http://www.w3.org/2000/svg";

function svg(name: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

type Points = (readonly [number, number])[];

// The PSNR of the training pictures as a line, that of the test split as dots, and their L1 as a fainter line on a scale of its own.
function plot(training: Training): SVGElement {
  const psnr: Points = training.curve.flatMap(([x, , y]) => (y === null ? [] : [[x, y] as const]));
  const l1: Points = training.curve.flatMap(([x, y]) => (y === null ? [] : [[x, y] as const]));
  const tests: Points = training.tests.flatMap(([x, y]) => (y === null ? [] : [[x, y] as const]));
  const all = [...psnr, ...tests];
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "curve" });
  if (psnr.length < 2) return element;
  const [left, right] = [Math.min(...all.map(([x]) => x)), Math.max(...all.map(([x]) => x))];
  const [low, high] = [Math.floor(Math.min(...all.map(([, y]) => y))), Math.ceil(Math.max(...all.map(([, y]) => y)))];
  const column = (x: number) => MARGIN + ((WIDTH - 2 * MARGIN) * (x - left)) / Math.max(right - left, 1);
  const row = (y: number, lowest: number, highest: number) => HEIGHT - LETTERS - ((HEIGHT - 2 * LETTERS) * (y - lowest)) / Math.max(highest - lowest, 1e-9);
  const line = (points: Points, name: string, lowest: number, highest: number) =>
    svg("polyline", { class: name, points: points.map(([x, y]) => `${column(x).toFixed(1)},${row(y, lowest, highest).toFixed(1)}`).join(" ") });
  const most = Math.max(...l1.map(([, y]) => y), 1e-9);
  element.setAttribute("aria-label", `PSNR over the iterations, from ${low} to ${high} dB, and L1, from 0 to ${most.toPrecision(2)}`);
  const label = (text: string, x: number, y: number, anchor: string) => {
    const mark = svg("text", { x, y, "text-anchor": anchor });
    mark.textContent = text;
    return mark;
  };
  element.append(line(l1, "faint", 0, most), line(psnr, "", low, high));
  for (const [x, y] of tests) element.append(svg("circle", { cx: column(x).toFixed(1), cy: row(y, low, high).toFixed(1), r: tests.length > 40 ? 1.2 : 2.5 }));
  element.append(label(`L1 to ${most.toPrecision(2)}`, 6, 12, "start"), label(`PSNR to ${high} dB`, WIDTH - 6, 12, "end"),
    label("from 0", 6, HEIGHT - 5, "start"), label(`from ${low} dB`, WIDTH - 6, HEIGHT - 5, "end"));
  return element;
}

const STATES = { running: "Training", paused: "Training is paused", ended: "Training has ended" };

// How far training is, with its curve, and what can be done about it.
export class TrainingPart {
  readonly element: HTMLElement;
  private readonly title = h("h2", {}, "Training");
  private readonly bar = h("progress", { max: 1 });
  private readonly figures = h("dl.figures");
  private readonly curve = h("div.plot");
  private readonly pause: HTMLButtonElement;
  private readonly stop: HTMLButtonElement;
  private state: Training["state"] = "ended";

  constructor(command: (word: "pause" | "continue" | "stop") => void) {
    this.pause = h("button.action", { type: "button", onclick: () => command(this.state === "paused" ? "continue" : "pause") });
    this.stop = h("button.action", { type: "button", title: "With a checkpoint: the same command continues", onclick: () => command("stop") }, "Stop");
    this.element = h("section.part.training", { hidden: true }, this.title, this.bar, this.curve, this.figures, h("div.row", {}, this.pause, this.stop));
  }

  // `mayCommand`: the page has the link's token.
  update(training: Training | null, mayCommand: boolean): void {
    this.element.classList.toggle("ended", training?.state === "ended");
    this.element.hidden = training === null || (training.state === "ended" && training.iteration === 0);
    if (!training) return;
    this.state = training.state;
    this.title.textContent = STATES[training.state];
    this.bar.hidden = training.iterations === 0;
    this.bar.value = training.iterations > 0 ? training.iteration / training.iterations : 0;
    this.bar.setAttribute("aria-label", `Training: iteration ${training.iteration} of ${training.iterations}`);
    const rows: [string, string][] = [
      ["Iteration", training.iterations > 0 ? `${training.iteration} of ${training.iterations}` : String(training.iteration)],
      ["Gaussians", training.gaussians.toLocaleString("en")],
    ];
    if (training.psnr !== null && training.l1 !== null) rows.push(["PSNR, L1", `${training.psnr.toFixed(2)} dB, ${training.l1.toFixed(4)}`]);
    const last = training.tests.at(-1)?.[1];
    if (last !== undefined && last !== null) rows.push(["Test PSNR", `${last.toFixed(2)} dB`]);
    if (training.state === "running" && training.seconds_left >= 0) rows.push(["Time left", duration(training.seconds_left)]);
    this.figures.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    this.curve.replaceChildren(plot(training));
    this.curve.hidden = this.curve.firstElementChild!.childElementCount === 0;
    this.pause.textContent = training.state === "paused" ? "Continue" : "Pause";
    this.pause.hidden = this.stop.hidden = training.state === "ended" || !mayCommand;
  }
}
