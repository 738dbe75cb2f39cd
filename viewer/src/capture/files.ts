import type { App } from "../app";
import { download, fileName, pngOf, Recorder } from "./capture";

const TURN_TIME = 12; // seconds of one turn of the turntable

export const turnIn = (seconds: number): number => (360 * seconds) / TURN_TIME; // degrees

// What the user takes along: screenshots and videos.
export class Files {
  private readonly recorder = new Recorder();
  private left = 0; // degrees to turn until a turntable's video is whole

  constructor(private readonly app: App) {}

  get isRecording(): boolean {
    return this.recorder.isRunning;
  }
  get turns(): boolean {
    return this.left > 0;
  }
  // How far a turntable's video turns in some seconds.
  turned(seconds: number): number {
    const degrees = Math.min(turnIn(seconds), this.left);
    this.left -= degrees;
    return degrees;
  }

  // `size`: how many times what is shown ("1", "2"), or the pixels of a square.
  async screenshot(size: string): Promise<void> {
    const { app } = this;
    const { canvas } = app.page;
    const ratio = Math.min(devicePixelRatio, 2) * (size === "2" ? 2 : 1);
    const fixed = Number(size) > 2 ? Number(size) : 0;
    const side = (shown: number) => Math.min(fixed || Math.round(shown * ratio), app.renderer.mostPixels);
    const [width, height] = app.exactTruth ? [canvas.width, canvas.height] : [side(canvas.clientWidth), side(canvas.clientHeight)];
    const picture = { ...app.picture(), transparent: app.store.current.background === "checker", checker: null };
    const blob = await pngOf(app.renderer.pixels(picture, width, height), width, height);
    download(blob, fileName(app.info?.title ?? "", ` ${app.clock.shown.toFixed(2)}.png`));
    app.page.tell(`Screenshot of ${width} × ${height}`);
    app.changed(false);
  }

  // Starts, or ends and saves.
  async record(): Promise<void> {
    const { app } = this;
    if (!this.recorder.isRunning) {
      this.recorder.start(app.page.canvas);
      app.page.tell("Recording what is shown");
    } else {
      this.left = 0;
      const { blob, extension } = await this.recorder.stop();
      download(blob, fileName(app.info?.title ?? "", extension));
      app.page.tell(`Video of ${(blob.size / 1e6).toFixed(1)} MB`);
    }
    app.changed(false);
  }
  async turntable(): Promise<void> {
    const { app } = this;
    if (this.recorder.isRunning) return this.record();
    app.leavePreset();
    app.store.set({ spinning: false });
    if (app.clock.moves && !app.clock.playing) app.clock.toggle();
    await this.record();
    this.left = 360;
  }
}
