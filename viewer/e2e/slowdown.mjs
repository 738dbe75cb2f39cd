// What a client that looks on costs training: `node e2e/slowdown.mjs PROGRAM DATASET [PAIRS] [ITERATIONS] [SECONDS]`. Pairs (those that begin within SECONDS) of the same short training,
// alone and with --view and a client that asks as the page does, one after the other in turn. Tells the medians of the ratios of the
// training's wall time and processor time, and the processor time that the viewer took besides, which training would lack
// where both share all cores.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [program, dataset, pairs = "5", iterations = "400", seconds = "Infinity"] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), "eg4d-slowdown-"));
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Seconds of processor time, user and system; null when the process has gone.
function processorTime(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) /, "").split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return null;
  }
}
function childrenOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "latin1").split(" ").filter(Boolean).map(Number));
  } catch {
    return [];
  }
}

// Asks once a second, and for each newer object.
async function lookOn(link, ended) {
  const base = new URL("/api/runs/object/", link);
  let version = 0;
  let objects = 0;
  while (!ended()) {
    try {
      const status = await (await fetch(new URL("status", base))).json();
      if (status.version !== version) {
        await (await fetch(new URL("scene", base))).arrayBuffer();
        version = status.version;
        ++objects;
      }
    } catch {
      // not there yet, or gone with the training
    }
    await sleep(1000);
  }
  return objects;
}

async function train(name, watched) {
  const folder = join(scratch, name);
  const child = spawn(program, ["reconstruct", dataset, "-o", folder, "--preset", "fast", "--set", "schedule.coarse_iterations=100", "--set", `schedule.fine_iterations=${iterations}`,
    "--set", "schedule.evaluate_interval=50", ...(watched ? ["--view", "--no-open"] : [])], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  let over = false;
  let looking = null;
  child.stderr.on("data", (text) => {
    said += text;
    const link = /http:\/\/127\.0\.0\.1:\d+\//.exec(said);
    if (link && !looking) looking = lookOn(link[0], () => over);
  });
  let own = 0;
  const others = new Map();
  const timer = setInterval(() => {
    own = processorTime(child.pid) ?? own;
    for (const other of childrenOf(child.pid)) others.set(other, processorTime(other) ?? others.get(other) ?? 0);
  }, 20);
  const code = await new Promise((done) => child.on("close", done));
  over = true;
  clearInterval(timer);
  if (code !== 0) throw new Error(said);
  const objects = (await looking) ?? 0;
  const { seconds } = JSON.parse(readFileSync(join(folder, "coarse/metrics.json"), "utf8")).run;
  rmSync(folder, { recursive: true });
  return { wall: seconds, own, viewer: [...others.values()].reduce((sum, value) => sum + value, 0), objects };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const ratios = { wall: [], own: [], viewer: [] };
try {
  for (let i = 0; i < Number(pairs) && performance.now() < 1000 * Number(seconds); ++i) {
    const alone = i % 2 ? null : await train(`alone-${i}`, false);
    const watched = await train(`watched-${i}`, true);
    const without = alone ?? (await train(`alone-${i}`, false));
    ratios.wall.push(watched.wall / without.wall);
    ratios.own.push(watched.own / without.own);
    ratios.viewer.push(watched.viewer / without.own);
    console.log(`pair ${i + 1}: wall ${without.wall.toFixed(1)} and ${watched.wall.toFixed(1)} s, processor ${without.own.toFixed(1)} and ${watched.own.toFixed(1)} s, viewer ${watched.viewer.toFixed(2)} s, ${watched.objects} objects received`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`medians: wall ${median(ratios.wall).toFixed(3)}, the training's own processor time ${median(ratios.own).toFixed(3)}, the viewer's ${(100 * median(ratios.viewer)).toFixed(2)} % of it`);
