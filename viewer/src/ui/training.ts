import { duration, type Training } from "../live";
import { h } from "./elements";

const WIDTH = 256;
const HEIGHT = 84;
const MARGIN = 4;
const SVG = "http://www.w3.org/2000/svg";

function svg(name: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

// The PSNR of the training pictures as a line, that of the test split as dots.
function plot(training: Training): SVGElement {
  const points = training.curve.flatMap(([x, , y]) => (y === null ? [] : [[x, y] as const]));
  const tests = training.tests.flatMap(([x, y]) => (y === null ? [] : [[x, y] as const]));
  const all = [...points, ...tests];
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "curve" });
  if (all.length < 2) return element;
  const [left, right] = [Math.min(...all.map(([x]) => x)), Math.max(...all.map(([x]) => x))];
  const [low, high] = [Math.floor(Math.min(...all.map(([, y]) => y))), Math.ceil(Math.max(...all.map(([, y]) => y)))];
  const column = (x: number) => MARGIN + ((WIDTH - 2 * MARGIN) * (x - left)) / Math.max(right - left, 1);
  const row = (y: number) => HEIGHT - MARGIN - ((HEIGHT - 2 * MARGIN) * (y - low)) / Math.max(high - low, 1);
  element.setAttribute("aria-label", `PSNR over the iterations, from ${low} to ${high} dB`);
  const label = (y: number, at: number) => {
    const text = svg("text", { x: WIDTH - 2, y: at, "text-anchor": "end" });
    text.textContent = `${y} dB`;
    return text;
  };
  element.append(svg("polyline", { points: points.map(([x, y]) => `${column(x).toFixed(1)},${row(y).toFixed(1)}`).join(" ") }));
  for (const [x, y] of tests) element.append(svg("circle", { cx: column(x).toFixed(1), cy: row(y).toFixed(1), r: tests.length > 40 ? 1.2 : 2.5 }));
  element.append(label(high, 12), label(low, HEIGHT - 4));
  return element;
}

const STATES = { running: "Training", paused: "Training is paused", ended: "Training has ended" };

// How far training is, with its curve, and what can be done about it.
export class TrainingPart {
  readonly element: HTMLElement;
  private readonly title = h("h2", {}, "Training");
  private readonly bar = h("progress", { max: 1 });
  private readonly figures = h("dl.figures");
  private readonly curve = h("div");
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
    this.pause.textContent = training.state === "paused" ? "Continue" : "Pause";
    this.pause.hidden = this.stop.hidden = training.state === "ended" || !mayCommand;
  }
}
