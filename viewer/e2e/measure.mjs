// The figures of docs/viewer.md: `node e2e/measure.mjs PROGRAM RUN [SECONDS]`. For 49 and 25 moments of a run of 25 frames: bytes that
// the page had received when it showed its first picture, and in all; PSNR of its own pixels against `eg4d render`; pictures
// per second while it plays at 1200 × 760 with software graphics, at all pixels, and the order's share. Then sizes of exported pages.
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { agreement, call, open, PATIENCE, rendered, scratch, startBrowser, startServer, VIEWS } from "./lib.mjs";

const [run, seconds = "10"] = process.argv.slice(3);
const megabytes = (bytes) => (bytes / 1e6).toFixed(2);
const browser = await startBrowser();
try {
  const renders = await rendered(run);
  const context = await browser.newContext({ viewport: { width: 1200, height: 760 }, reducedMotion: "reduce" });
  context.setDefaultTimeout(PATIENCE);
  for (const moments of ["0", "25"]) {
    const server = await startServer(run, "--frames", moments);
    const page = await open(context, server.link, []);
    const size = await page.evaluate(() => {
      const { app } = window.eg4d;
      return { first: app.firstBytes, all: app.bytes, moments: app.scene.moments.length, gaussians: app.scene.count };
    });
    const decibels = [];
    for (const [i, view] of VIEWS.entries()) decibels.push((await agreement(page, view, renders[i])).toFixed(1));
    const played = await page.evaluate(async (seconds) => {
      const { app } = window.eg4d;
      const adapt = app.adapt;
      app.adapt = () => undefined; // all pixels
      app.clock.toggle();
      const first = app.pictures;
      const begin = performance.now();
      let sorting = 0;
      await new Promise((done) => {
        const look = () => {
          sorting = Math.max(sorting, app.figures.sortTime);
          if (performance.now() - begin > 1000 * seconds) done();
          else requestAnimationFrame(look);
        };
        look();
      });
      const rate = (1000 * (app.pictures - first)) / (performance.now() - begin);
      app.clock.toggle();
      app.adapt = adapt;
      return { rate, sorting, device: app.renderer.device };
    }, Number(seconds));
    console.log(`${size.gaussians} Gaussians, ${size.moments} moments: ${megabytes(size.first)} MB to the first picture, ${megabytes(size.all)} MB in all, ${decibels.join(", ")} dB; ` +
      `${played.rate.toFixed(1)} pictures a second (${played.device}), sorting at most ${played.sorting.toFixed(1)} ms of each`);
    await page.close();
    await server.stop();
  }
  for (const time of ["own", "reference"])
    for (const frames of ["0", "25"]) {
      const file = join(scratch, `${time}-${frames}.html`);
      await call("export", run, "-o", file, "--color-time", time, "--frames", frames);
      console.log(`exported with colours at ${time} time, ${frames === "0" ? "twice as many moments as frames" : frames + " moments"}: ${megabytes(statSync(file).size)} MB`);
    }
} finally {
  await browser.close();
  rmSync(scratch, { recursive: true, force: true });
}
