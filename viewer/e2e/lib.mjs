// What the tests in the browser share: checks, the program, pages.
import { spawn } from "node:child_process";
import { chromium } from "playwright-core";
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const program = resolve(process.argv[2]);
export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const scratch = mkdtempSync(join(tmpdir(), "eg4d-viewer-"));
export const dataset = join(root, "examples/robot-192");
export const screens = process.env.EG4D_SCREENSHOTS;
export const PATIENCE = 120000; // milliseconds

export const failures = [];
export function check(holds, what) {
  console.log(`${holds ? "ok  " : "FAIL"} ${what}`);
  if (!holds) failures.push(what);
}

export function call(...words) {
  return new Promise((done, fail) => {
    let said = "";
    const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += text));
    child.on("close", (code) => (code === 0 ? done(said) : fail(new Error(`eg4d ${words.join(" ")}: ${code}\n${said}`))));
  });
}

// `eg4d view`, its link, and how it ends after Ctrl-C.
export function startServer(folder, ...options) {
  return startWithLink("view", folder, "--no-open", "--port", "0", ...options);
}
// Any command that prints a link.
export async function startWithLink(...words) {
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const ended = new Promise((done) => child.on("close", done));
  const link = await new Promise((done, fail) => {
    child.stderr.on("data", (text) => {
      said += text;
      const found = /http:\/\/127\.0\.0\.1:(\d+)\/#token=[0-9a-f]{32}/.exec(said);
      if (found) done(found[0]);
    });
    void ended.then(() => fail(new Error(said)));
  });
  return { link, port: Number(new URL(link).port), ended, kill: () => child.kill("SIGKILL"), stop: () => (child.kill("SIGINT"), ended) };
}

// Software graphics.
export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.EG4D_CHROMIUM ?? "chromium",
    args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
  });
}

// Where the page is compared with `eg4d render`.
export const VIEWS = [
  { azimuth: 0, elevation: 0, time: 0 },
  { azimuth: 130, elevation: 25, time: 0.5 },
  { azimuth: -75, elevation: -10, time: 0.8125 },
];
// The program's own pictures of a run there: PNG in base64.
export async function rendered(run) {
  const pictures = [];
  for (const [i, view] of VIEWS.entries()) {
    const folder = join(scratch, `render-${i}`);
    await call("render", run, "-o", folder, "--frames", "1", "--azimuth", `${view.azimuth}`, "--elevation", `${view.elevation}`, "--time", `${view.time}`);
    pictures.push(readFileSync(join(folder, "frame_0000.png")).toString("base64"));
  }
  return pictures;
}
// PSNR of the page's own pixels against a PNG, at a camera and time.
export async function agreement(page, view, png) {
  return page.evaluate(async ({ view, png }) => {
    const { app } = window.eg4d;
    const blob = new Blob([Uint8Array.from(atob(png), (c) => c.charCodeAt(0))], { type: "image/png" });
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const truth = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    const camera = { target: [0, 0, 0], azimuth: view.azimuth, elevation: view.elevation, roll: 0, distance: app.scene.head.camera.radius };
    const picture = { ...app.picture(), camera, time: view.time };
    const pixels = app.renderer.pixels(picture, bitmap.width, bitmap.height);
    let sum = 0;
    for (let i = 0; i < pixels.length; ++i) if (i % 4 !== 3) sum += (pixels[i] - truth[i]) ** 2;
    return -10 * Math.log10(Math.max(sum / (0.75 * pixels.length) / 65025, 1e-10));
  }, { view, png });
}

// The status of a request that a browser would not send.
export function rawStatus(port, text) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    let answer = "";
    socket.on("data", (bytes) => (answer += bytes.toString("latin1")));
    socket.on("close", () => done({ status: Number(answer.slice(9, 12)), answer }));
    socket.on("error", () => done({ status: 0, answer }));
  });
}

export async function open(context, address, complaints) {
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && !/GPU stall|GL Driver|ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE/.test(message.text()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  const own = new URL(address).origin;
  page.on("request", (request) => {
    const url = request.url();
    if (!/^(blob|data):/.test(url) && url.split("#")[0] !== address.split("#")[0] && !url.startsWith(own + "/")) complaints.push(`${url} is asked for`);
  });
  await page.goto(address);
  await whenReady(page);
  return page;
}
// The object, the list, or a sentence on what is wrong.
export async function whenReady(page) {
  await page.waitForFunction(() => window.eg4d || document.querySelector("[role=alert]"));
  await page.evaluate(() => window.eg4d?.ready);
}

// What can be used and has no name for a screen reader.
export const nameless = (page) => page.evaluate(() => [...document.querySelectorAll("button, select, input, canvas, img, progress, a")]
  .filter((one) => one.checkVisibility() && !one.closest("[aria-hidden=true]") && !(one.getAttribute("aria-label") || one.getAttribute("alt") !== null || one.textContent.trim() || one.title || one.labels?.length))
  .map((one) => one.outerHTML.slice(0, 80)));

// A view in light, dark and on a phone: NAME-light.png, … `panel`: on a phone with the settings, which cover half of it.
export async function shoot(page, name, { panel = false } = {}) {
  if (!screens) return;
  mkdirSync(screens, { recursive: true });
  const before = page.viewportSize();
  const setPanel = (shown) => page.evaluate((shown) => {
    const store = window.eg4d?.app?.store;
    const was = store?.current.panel;
    store?.set({ panel: shown });
    return was;
  }, shown);
  for (const mode of ["light", "dark", "phone"]) {
    await page.emulateMedia({ colorScheme: mode === "dark" ? "dark" : "light" });
    const was = mode === "phone" ? await setPanel(panel) : null;
    if (mode === "phone") await page.setViewportSize({ width: 390, height: 780 });
    await page.waitForTimeout(700);
    await page.waitForFunction(() => window.eg4d?.app?.settled ?? true); // all pixels are drawn
    await page.screenshot({ path: join(screens, `${name}-${mode}.png`) });
    if (mode === "phone") {
      await page.setViewportSize(before);
      await setPanel(was);
    }
  }
}
