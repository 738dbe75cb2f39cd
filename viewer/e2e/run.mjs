// The viewer as a user has it: a model that was just trained, the program's server, the page in a headless Chromium
// (software graphics). `node e2e/run.mjs PROGRAM`; $EG4D_CHROMIUM is the browser. With $EG4D_SCREENSHOTS a folder, pictures
// of every view are left there. Exits with 0 when all is as it should be.
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { makesObjects } from "./jobs.mjs";
import { agreement, call, check, dataset, failures, nameless, open, PATIENCE, rawStatus, rendered, scratch, shoot, startBrowser, startServer, startWithLink, VIEWS } from "./lib.mjs";

const run = process.env.EG4D_VIEWER_RUN ?? join(scratch, "run-robot"); // a run that is there already
const LEAST_PSNR = 32;

// ---------------------------------------------------------------- in the page

// How much two pictures of the page differ: the mean of absolute differences, 0 to 255.
const pixelsNow = (page) => page.evaluate(() => Array.from(window.eg4d.app.renderer.pixels(window.eg4d.app.picture(), 96, 96)));
const difference = (a, b) => a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;

// ---------------------------------------------------------------- what must hold

async function looksLikeRender(page, renders, what) {
  for (const [i, view] of VIEWS.entries()) {
    const psnr = await agreement(page, view, renders[i]);
    check(psnr >= LEAST_PSNR, `${what} at azimuth ${view.azimuth}, elevation ${view.elevation}, time ${view.time}: ${psnr.toFixed(1)} dB against eg4d render`);
  }
}

async function controlsWork(page) {
  const start = await pixelsNow(page);
  await page.keyboard.press("End");
  const end = await pixelsNow(page);
  check(difference(start, end) > 0.05, "another time is another picture");
  await page.keyboard.press("Home");
  check(difference(start, await pixelsNow(page)) === 0, "the first time again is the first picture again");

  const { width, height } = page.viewportSize();
  await page.mouse.move(width / 3, height / 2);
  await page.mouse.down();
  await page.mouse.move(width / 3 + 120, height / 2 + 20, { steps: 3 });
  await page.mouse.up();
  const turned = await page.evaluate(() => window.eg4d.app.camera);
  check(Math.abs(turned.azimuth) > 20 && Math.abs(turned.elevation) > 2, "dragging turns the camera");
  await page.mouse.wheel(0, 200);
  check((await page.evaluate(() => window.eg4d.app.camera.distance)) > turned.distance, "the wheel moves away");
  await page.keyboard.press("r");
  check((await page.evaluate(() => window.eg4d.app.camera.azimuth)) === 0, "R resets the camera");

  await page.keyboard.press("End");
  await page.getByRole("radio", { name: "Reference time" }).click();
  const reference = await pixelsNow(page);
  await page.getByRole("radio", { name: "Own time" }).click();
  check(difference(reference, await pixelsNow(page)) > 0, "colours of the own time are others");
  await page.getByRole("radio", { name: "Reference time" }).click();
  for (const name of ["Points", "Depth", "Alpha", "Canonical"]) {
    await page.getByRole("radio", { name }).click();
    check(difference(reference, await pixelsNow(page)) > 0.05, `${name} is another picture`);
    if (name !== "Canonical") await shoot(page, name.toLowerCase());
  }
  await page.getByRole("radio", { name: "Moving" }).click();
  await page.getByRole("radio", { name: "Colour", exact: true }).click();

  await timeLineWorks(page);
  await page.getByRole("switch", { name: "Statistics" }).check();
  await page.getByRole("switch", { name: "Statistics" }).scrollIntoViewIfNeeded();
  check((await page.locator(".figures", { hasText: "Moments" }).textContent()).includes("49 of 49"), "statistics tell what is drawn");
  await page.locator(".figures", { hasText: "Moments" }).evaluate((figures) => figures.scrollIntoView({ block: "end" }));
  await shoot(page, "statistics", { panel: true });
  await page.keyboard.press("i");
  await page.keyboard.press("h");
  check(await page.getByRole("dialog").isVisible(), "H opens the help");
  await shoot(page, "help");
  await page.keyboard.press("Escape");
  const unnamed = await nameless(page);
  check(unnamed.length === 0, `everything has a name for screen readers ${unnamed.join(" ")}`);
}

async function timeLineWorks(page) {
  const clock = () => page.evaluate(() => ({ ...window.eg4d.app.clock }));
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  check(Math.abs((await clock()).time - 1 / 24) < 1e-6, "an arrow goes on by one moment");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => window.eg4d.app.clock.playing && window.eg4d.app.clock.time > 0.2);
  await page.keyboard.press("Space");
  check(!(await clock()).playing, "Space plays and pauses");
  await page.keyboard.press("]");
  await page.getByRole("button", { name: "Speed: 2 times" }).waitFor();
  check((await clock()).speed === 2, "it goes faster");
  await page.evaluate(() => window.eg4d.app.clock.seek(0.9));
  await page.keyboard.press("Space");
  await page.waitForFunction(() => window.eg4d.app.clock.direction < 0);
  check(true, "at its end it goes back");
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Forward and back" }).click();
  await page.getByRole("button", { name: "Again from the start" }).click();
  await page.evaluate(() => window.eg4d.app.clock.seek(0.9));
  await page.keyboard.press("Space");
  await page.waitForFunction(() => !window.eg4d.app.clock.playing);
  check((await clock()).time === 1, "or stops there");
  await page.getByRole("button", { name: "Stop at the end" }).click();
  await page.keyboard.press("[");
  await page.getByRole("slider", { name: "Moment" }).fill("0.5");
  check((await clock()).time === 0.5, "the time line is drawn along");
}

async function cameraMoves(page, context) {
  const camera = () => page.evaluate(() => ({ ...window.eg4d.app.camera }));
  const { width, height } = page.viewportSize();
  const [x, y] = [width / 2, height / 2];
  await page.keyboard.press("r");
  await page.mouse.move(x, y);
  await page.mouse.down({ button: "right" });
  await page.mouse.move(x + 60, y, { steps: 2 });
  await page.mouse.up({ button: "right" });
  const moved = await camera();
  check(Math.hypot(...moved.target) > 0.05 && moved.azimuth === 0, "the right button moves sideways");
  await page.keyboard.press("r");
  await page.mouse.dblclick(x, y);
  const focused = await camera();
  check(Math.hypot(...focused.target) > 0.01 && focused.distance < moved.distance, "a double click chooses the point that is turned about");
  await page.keyboard.press("r");
  await page.keyboard.press("f");
  await page.keyboard.down("w");
  await page.waitForFunction(() => Math.hypot(...window.eg4d.app.camera.target) > 0.1);
  await page.keyboard.up("w");
  await page.keyboard.press("f");
  check(true, "it flies");
  await page.keyboard.press("r");

  const fingers = await context.newCDPSession(page);
  const touch = (type, ...points) => fingers.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  await touch("touchStart", [x, y]);
  await touch("touchMove", [x + 80, y]);
  await touch("touchEnd");
  const turned = await camera();
  check(Math.abs(turned.azimuth) > 10, "a finger turns it");
  await touch("touchStart", [x - 40, y], [x + 40, y]);
  await touch("touchMove", [x - 80, y], [x + 80, y]);
  await touch("touchEnd");
  check((await camera()).distance < 0.8 * turned.distance, "two fingers zoom");
  await fingers.detach();
  await page.keyboard.press("r");
}

// Returns a video that the page recorded.
async function recordsVideos(page) {
  const downloaded = async (download) => readFileSync(await (await download).path());
  await page.keyboard.press("Home");
  await page.keyboard.press("v");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => window.eg4d.app.clock.time > 0.8);
  await page.keyboard.press("Space");
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("v")]);
  const video = await downloaded(download);
  check(download.suggestedFilename().endsWith(".webm") && video.readUInt32BE(0) === 0x1a45dfa3, `V records a WebM (${video.length} bytes)`);
  await page.getByRole("button", { name: "Turntable video" }).click();
  await page.waitForFunction(() => window.eg4d.app.camera.azimuth > 3);
  const [turn] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Stop" }).click()]);
  check((await downloaded(turn)).readUInt32BE(0) === 0x1a45dfa3, "a turntable becomes a video, too");
  await page.evaluate(() => (window.eg4d.app.clock.playing = false));
  await page.keyboard.press("r");
  return video;
}

async function comparesWithTraining(page) {
  await page.getByRole("combobox", { name: "Camera of the dataset" }).selectOption({ index: 1 });
  await page.getByRole("radio", { name: "Error" }).click();
  const said = page.getByText(/PSNR .* dB against the picture/);
  await said.waitFor();
  const psnr = Number(/PSNR ([\d.]+)/.exec(await said.textContent())[1]);
  const drawn = await page.evaluate(() => window.eg4d.app.page.canvas.height);
  check(drawn === 192, `the error is that of the picture's own pixels (${drawn})`);
  check(psnr > 12, `the training picture of a camera is compared with: ${psnr} dB`);
  await page.locator("#panel").evaluate((panel) => (panel.scrollTop = 0));
  for (const name of ["Error", "Wipe", "Blend", "Beside"]) {
    await page.getByRole("radio", { name }).click();
    await shoot(page, name.toLowerCase());
  }
  await page.keyboard.press("r");
}

async function linksAndFiles(page, context, link, complaints) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("p")]);
  check(download.suggestedFilename().endsWith(".png") && statSync(await download.path()).size > 1000, "P saves a screenshot");
  await page.evaluate(() => {
    const { app } = window.eg4d;
    app.camera = { ...app.camera, azimuth: 77, distance: 3.5 };
    app.clock.seek(0.25);
    app.changed(true);
  });
  await page.waitForFunction(() => location.hash.includes("camera=77"));
  const other = await open(context, await page.evaluate(() => location.href), complaints);
  const same = await other.evaluate(() => [window.eg4d.app.camera.azimuth, window.eg4d.app.camera.distance, window.eg4d.app.clock.time]);
  check(JSON.stringify(same) === "[77,3.5,0.25]", "a link keeps camera and time");
  await other.getByRole("button", { name: "Dark colours" }).click();
  check((await other.evaluate(() => document.documentElement.dataset.theme)) === "dark", "a button makes it dark");
  await other.evaluate(() => localStorage.clear());
  await other.close();
}

async function hostileRequests(port) {
  const get = (path, host = `127.0.0.1:${port}`) => rawStatus(port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  for (const path of ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/runs/object/picture/..%2f..%2fetc/0", "/api/runs/object/picture/train/%00", "//etc/passwd", "/api/runs/object/picture/train/99999", "/etc/passwd"]) {
    const { status, answer } = await get(path);
    check((status === 400 || status === 404) && !answer.includes("root:"), `${path} is refused (${status})`);
  }
  check((await get("/api/runs/object/info", "evil.example:80")).status === 421, "another host's name is refused");
  check((await rawStatus(port, `POST /api/runs/object/info HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)).status === 405, "POST is refused");
  check((await rawStatus(port, `POST /api/jobs/mini/a.png HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: 9\r\nConnection: close\r\n\r\nsomething`)).status === 403, "an upload without the token is refused");
  check((await rawStatus(port, "A".repeat(100000))).status !== 200, "a request without end is refused");
}

async function withoutWebGl(browser, link) {
  const context = await browser.newContext();
  await context.addInitScript(() => {
    HTMLCanvasElement.prototype.getContext = () => null;
  });
  const page = await context.newPage();
  await page.goto(link);
  check((await page.getByRole("alert").textContent()).includes("WebGL 2"), "without WebGL 2 there is a sentence");
  await context.close();
}

// A run that is being trained with --view: the page waits for the first object, newer ones arrive, and it stops the run.
async function showsTraining(context, complaints) {
  const folder = join(scratch, "live");
  const training = await startWithLink("reconstruct", dataset, "-o", folder, "--view", "--no-open", "--preset", "fast", "--threads", "1", "--checkpoint.interval", "10",
    "--set", "start.count=300", "--set", "density.max_gaussians=300", "--set", "schedule.coarse_iterations=10", "--set", "schedule.fine_iterations=1000000", "--set", "schedule.evaluate_interval=10");
  try {
    const page = await open(context, training.link, complaints);
    check(await page.evaluate(() => window.eg4d.app.scene !== null), "a run that has no model yet is waited for");
    await page.getByRole("heading", { name: "Training", exact: true }).waitFor();
    const first = await page.evaluate(() => window.eg4d.app.version);
    await page.waitForFunction((version) => window.eg4d.app.version > version, first);
    check(true, "a newer object arrives while the run is trained");
    check((await page.evaluate(() => window.eg4d.app.views.isEmpty)) === false, "an unfinished run knows its dataset");
    await shoot(page, "training", { panel: true });
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("heading", { name: "Training is paused" }).waitFor();
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("button", { name: "Stop" }).click();
    check((await training.ended) === 130 && existsSync(join(folder, "coarse/checkpoint.safetensors")), "the page pauses and stops it, with a checkpoint");
    check((await rawStatus(training.port, "GET / HTTP/1.1\r\n\r\n")).status === 0, "the viewer ends with the training");
    await page.close();
  } finally {
    training.kill();
  }
}

// ---------------------------------------------------------------- all of it

let browser;
let server;
try {
  if (!existsSync(run))
    await call("reconstruct", dataset, "-o", run, "--preset", "fast", "--quiet", "--set", "schedule.coarse_iterations=60", "--set", "schedule.fine_iterations=90");
  const renders = await rendered(run);
  server = await startServer(run, "--dataset", dataset);
  browser = await startBrowser();
  const complaints = [];
  // Software graphics on a busy machine.
  const context = await browser.newContext({ viewport: { width: 1200, height: 760 }, reducedMotion: "reduce", colorScheme: "light" });
  context.setDefaultTimeout(PATIENCE);
  const page = await open(context, server.link, complaints);
  await looksLikeRender(page, renders, "the page");
  await shoot(page, "object");
  await shoot(page, "settings", { panel: true });
  await controlsWork(page);
  await cameraMoves(page, context);
  const video = await recordsVideos(page);
  await comparesWithTraining(page);
  await linksAndFiles(page, context, server.link, complaints);
  await hostileRequests(server.port);

  const file = join(scratch, "viewer.html");
  await call("export", run, "-o", file);
  const fromDisk = await open(context, pathToFileURL(file).href, complaints);
  await looksLikeRender(fromDisk, renders, `${(statSync(file).size / 1e6).toFixed(1)} MB of viewer.html from disk`);
  await showsTraining(context, complaints);
  await makesObjects(browser, context, run, video, complaints);
  await withoutWebGl(browser, server.link);
  check(complaints.length === 0, `no complaints of the browser${complaints.map((text) => "\n       " + text).join("")}`);
  const code = await server.stop();
  server = null;
  check(code === 0, `Ctrl-C ends the server (exit code ${code})`);
} catch (error) {
  check(false, error.stack);
} finally {
  await browser?.close();
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
}
console.log(failures.length === 0 ? "the viewer is as it should be" : `${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
