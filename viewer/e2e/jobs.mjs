// The list of runs, and pictures that become objects: uploads, jobs, restarts, what is refused.
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, nameless, open, rawStatus, root, scratch, screens, shoot, startServer, startWithLink, whenReady } from "./lib.mjs";

// As small as it may be: what is made of the picture does not matter here.
const SETTINGS = `
refinement = true
[animate]
side = 64
frames = 3
[animate.sampler]
steps = 2
[multiview]
side = 64
views = 5
[multiview.sampler]
steps = 2
[reconstruct.start]
points = "random"
count = 300
[reconstruct.schedule]
coarse_iterations = 20
fine_iterations = 60
evaluate_interval = 20
[refine]
iterations = 4
[orbit]
frames = 4
size = 64
`;
const creature = join(root, "examples/creature.png");

const card = (page, name) => page.getByRole("article").filter({ has: page.getByRole("heading", { name, exact: true }) });
const waitForState = (page, name, state) => card(page, name).locator(".state", { hasText: state }).waitFor();

async function choose(page, name, bytes, type = "image/png") {
  await page.locator("input[type=file]").first().setInputFiles({ name, mimeType: type, buffer: bytes });
}
async function drop(page, name, bytes) {
  const transfer = await page.evaluateHandle(({ name, bytes }) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type: "image/png" }));
    return data;
  }, { name, bytes: bytes.toString("base64") });
  await page.dispatchEvent("main", "drop", { dataTransfer: transfer });
}
async function listOfRuns(page) {
  await waitForState(page, "robot", "Finished");
  check((await card(page, "robot").textContent()).includes("dB"), "the list tells a run's state and PSNR");
  await card(page, "robot").locator("img").waitFor();
  await card(page, "robot").getByRole("link").click();
  await page.waitForFunction(() => window.eg4d?.app);
  await whenReady(page);
  check(await page.evaluate(() => window.eg4d.app.scene.isComplete), "a run of the list opens in the viewer");
  await shoot(page, "from-list");
  await page.getByRole("link", { name: "All runs" }).click();
  await waitForState(page, "robot", "Finished");
  check(true, "and there is a way back");
}

// Holds a run's job as soon as it has written a file, so that it does not depend on the machine how far the job is
// when the page looks.
async function hold(run, file) {
  while (!existsSync(join(run, file))) await new Promise((done) => setTimeout(done, 2));
  const job = Number(readFileSync(join(run, ".lock"), "utf8"));
  process.kill(job, "SIGSTOP");
  return job;
}

// How a run looks while it is made: one that is held, of which the page does not hear.
async function shootMaking(page, run, job) {
  if (!screens) return;
  process.kill(job, "SIGCONT");
  await hold(run, "multiviews/000000/00000002.png");
  await page.route(/\/api\/runs\/[0-9a-f]+$/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), state: "running" } });
  });
  await page.waitForFunction(() => document.querySelector("img[alt='Moment 1, view 2']")?.naturalWidth > 0);
  await shoot(page, "making");
}

// A picture becomes an object, although the server is ended and started again meanwhile.
async function pictureBecomesObject(context, shelf, server, page, options, complaints) {
  const run = join(shelf, "creature");
  await choose(page, "creature.png", readFileSync(creature));
  const job = await hold(run, "video/frame_002.png");
  await waitForState(page, "creature", "Paused");
  await card(page, "creature").getByRole("link").click();
  await page.waitForFunction(() => document.querySelector("img[alt='Frame 1']")?.naturalWidth > 0);
  check(true, "frames are shown as they are painted");
  await shootMaking(page, run, job);
  await page.close();
  const ended = await server.stop();
  check(ended === 0 && readFileSync(join(run, "job/job.json"), "utf8").includes('"running"'), "a server that ends leaves its job to the next");
  const next = await startServer(shelf, ...options);
  const again = await open(context, next.link, complaints);
  await card(again, "creature").getByRole("link").click();
  await again.waitForFunction(() => window.eg4d?.app?.scene?.isComplete);
  check(true, "a picture becomes an object, which opens in the viewer");
  await again.getByRole("link", { name: "All runs" }).click();
  await waitForState(again, "creature", "Finished");
  check(existsSync(join(run, "object.ply")), "the job goes on to its end after a restart");
  return { server: next, page: again };
}

// What is there of a run without a model is seen, whether it goes on or not.
async function unfinishedRun(page, shelf) {
  for (const folder of ["video", "multiviews"]) cpSync(join(shelf, "creature", folder), join(shelf, "half", folder), { recursive: true });
  await card(page, "half").getByRole("link").click();
  await page.getByRole("heading", { name: "half" }).waitFor();
  await page.waitForFunction(() => document.querySelector("img[alt='Moment 3, view 5']")?.naturalWidth > 0);
  check((await page.getByText("Unfinished").isVisible()) && !(await page.getByRole("button", { name: "Cancel" }).isVisible()), "an unfinished run shows what was painted");
  await shoot(page, "unfinished");
  await page.getByRole("link", { name: "All runs" }).click();
  await waitForState(page, "creature", "Finished");
}

async function jobsThatEndOtherwise(page, shelf) {
  await drop(page, "doomed.png", readFileSync(creature));
  await waitForState(page, "doomed", "Running");
  const lock = join(shelf, "doomed/.lock"); // of the process that makes it
  for (let i = 0; i < 600 && !(existsSync(lock) && readFileSync(lock, "utf8")); ++i) await page.waitForTimeout(100);
  process.kill(Number(readFileSync(lock, "utf8")), "SIGKILL");
  await waitForState(page, "doomed", "Failed");
  check((await card(page, "doomed").textContent()).includes("It was killed"), "a job that fails says why");
  for (const name of ["first.png", "second.png"]) await choose(page, name, readFileSync(creature));
  await waitForState(page, "second", "Waiting");
  await shoot(page, "list");
  await page.getByRole("button", { name: "Cancel second" }).click();
  await waitForState(page, "second", "Cancelled");
  await page.getByRole("button", { name: "Cancel first" }).click();
  await waitForState(page, "first", "Cancelled");
  check(await page.getByRole("button", { name: "Resume first" }).isVisible(), "waiting and running jobs are cancelled, and may go on");
  await choose(page, "film.mp4", Buffer.from("\0\0\0\x20ftypisom"), "video/mp4");
  await page.getByText("“film.mp4” is no video that this browser can read.").waitFor();
  check(true, "what is no video is refused with a sentence");
}

async function videoBecomesObject(page, shelf, video) {
  await choose(page, "walk.webm", video, "video/webm");
  await waitForState(page, "walk", "Finished");
  check(existsSync(join(shelf, "walk/job/walk/frame_024.jpg")), "a video is sent as 25 of its frames");
  check(existsSync(join(shelf, "walk/video/frame_002.png")) && existsSync(join(shelf, "walk/object.ply")), "and becomes an object");
}

// Its refinement, once more and for ever, until the page stops it.
async function showsRefinement(context, shelf, complaints) {
  const run = join(shelf, "creature");
  const refining = await startWithLink("refine", run, "--overwrite", "--preset", "mini", "--view", "--no-open", "--set", "iterations=1000000");
  try {
    const page = await open(context, refining.link, complaints);
    await page.getByRole("heading", { name: "Training", exact: true }).waitFor();
    await page.locator(".training .figures", { hasText: "of 1000000" }).waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    check((await refining.ended) === 130, "a refinement is seen and stopped");
    await page.close();
  } finally {
    refining.kill();
  }
}

// What a phone has besides.
async function onAPhone(browser, link, complaints) {
  const context = await browser.newContext({ viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true });
  const page = await open(context, link, complaints);
  const cameras = page.locator("input[type=file][capture]");
  check((await cameras.count()) === 2 && (await page.getByRole("button", { name: "Take a photo" }).isVisible()), "a phone's camera takes pictures and videos");
  const unnamed = await nameless(page);
  check(unnamed.length === 0, `everything in the list has a name ${unnamed.join(" ")}`);
  const overflows = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  check(!overflows, "nothing is wider than the phone");
  if (screens) await page.screenshot({ path: join(screens, "list-mobile.png") });
  await context.close();
}

async function hostileUploads(server) {
  const { port, link } = server;
  const token = new URL(link).hash.slice("#token=".length);
  const post = (path, headers = "", body = "", length = body.length) =>
    rawStatus(port, `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\nContent-Length: ${length}\r\n${headers}\r\n${body}`);
  const own = `X-Eg4d-Token: ${token}\r\n`;
  for (const [what, status, answer] of [
    ["without the token", 403, post("/api/jobs/mini/a.png", "", "x")],
    ["from another site's page", 403, post("/api/jobs/mini/a.png", own + "Origin: http://evil.example\r\n", "x")],
    ["with a path in its name", 400, post("/api/jobs/mini/..%2f..%2fa.png", own, "x")],
    ["for another preset", 404, post("/api/jobs/--help/a.png", own, "x")],
    ["that is no picture", 415, post("/api/jobs/mini/a.png", own, "plain text")],
    ["of a video", 415, post("/api/jobs/mini/a.png", own, "\0\0\0\x20ftypisom")],
    ["of frames that are none", 415, post("/api/jobs/mini/a.png", own, "EG4DCLIP\x02\0\0\0\x01\0\0\0x\0\0\0\0")],
    ["that is too large", 413, post("/api/jobs/mini/a.png", own, "", 1 << 30)],
    ["that is large, without the token", 413, post("/api/jobs/mini/a.png", "", "", 1 << 20)],
  ]) check((await answer).status === status, `an upload ${what} is refused (${(await answer).status})`);
  check((await post("/api/runs/0123456789abcdef/job/cancel", own)).status === 404, "a job that is not there is not cancelled");
}

export async function makesObjects(browser, context, run, video, complaints) {
  const shelf = join(scratch, "shelf");
  mkdirSync(shelf);
  cpSync(run, join(shelf, "robot"), { recursive: true });
  writeFileSync(join(scratch, "small.toml"), SETTINGS);
  const options = ["--job-config", join(scratch, "small.toml"), "--frames", "5"];
  let server = await startServer(shelf, ...options);
  try {
    let page = await open(context, server.link, complaints);
    await listOfRuns(page);
    ({ server, page } = await pictureBecomesObject(context, shelf, server, page, options, complaints));
    await unfinishedRun(page, shelf);
    await jobsThatEndOtherwise(page, shelf);
    await onAPhone(browser, server.link, complaints);
    await hostileUploads(server);
    await videoBecomesObject(page, shelf, video);
    await showsRefinement(context, shelf, complaints);
    await page.close();
  } finally {
    await server.stop();
  }
}
