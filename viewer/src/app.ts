import { lensOf, positionOf, viewOf, zoomed, type CameraState, type Lens, type Vector, add, axesOf, orbited } from "./camera/camera";
import { Controls, type Controlled } from "./camera/controls";
import { Files, turnIn } from "./capture/files";
import { cameraOfFrame, DatasetViews, lensOfFrame, psnr, sizeAround, type Preset, type Truth } from "./compare";
import { SplatRenderer, type Color, type DrawFigures, type Picture } from "./render/splat_renderer";
import { KeyCameras } from "./camera/path";
import { readScene, type Scene } from "./scene/scene";
import { Live, type Status } from "./live";
import { shortcut } from "./shortcuts";
import type { Info, Source } from "./source";
import { writeLink, type LinkState } from "./state/link";
import { colorOf, DEFAULTS, SettingStore, type BackgroundName, type Comparing } from "./state/settings";
import { Clock } from "./time/clock";
import { figuresOf } from "./ui/figures";
import { Page } from "./ui/page";

const SETTLE_TIME = 300; // milliseconds without change until what is slow is done
const BACKGROUND_NAMES: BackgroundName[] = ["object", "white", "grey", "black", "checker"];
const FIXED_COLORS: Record<string, Color> = { white: [1, 1, 1], grey: [0.5, 0.5, 0.5], black: [0, 0, 0], checker: [0.93, 0.93, 0.93] };

// Everything together: what is shown, and what the user does with it.
export class App implements Controlled {
  readonly store: SettingStore;
  readonly clock = new Clock(1);
  readonly keyCameras = new KeyCameras();
  readonly views: DatasetViews;
  readonly page: Page;
  readonly renderer: SplatRenderer;
  readonly files = new Files(this);
  camera: CameraState = { target: [0, 0, 0], azimuth: 0, elevation: 0, roll: 0, distance: 4 };
  scene: Scene | null = null;
  info: Info | null = null;
  version = 0; // of the object
  bytes = 0; // of the object that have arrived
  firstPicture = 0; // milliseconds from the start
  firstBytes = 0;
  private lens: Lens = lensOf(0.69, 1, 1);
  private readonly controls: Controls;
  private truth: { key: string; truth: Truth } | null = null;
  private dirty = true;
  private changedAt = 0;
  private settled = false;
  private lastFrame = 0;
  private drewLast = false;
  frameTime = 16; // milliseconds, averaged
  private scale = 1; // of the resolution while it moves, where the device is slow
  figures: DrawFigures = { drawn: 0, sortTime: 0 };
  private drawnPictures = 0;

  // `back`: the address of the list that this object is from.
  constructor(private readonly source: Source, private readonly link: LinkState, root: HTMLElement, back: string | null = null) {
    this.store = new SettingStore({ ...DEFAULTS, ...link.settings, panel: innerWidth > 1000 });
    this.views = new DatasetViews(source);
    this.page = new Page(root, this.store, this.clock, {
      changed: () => this.changed(false),
      resetCamera: () => this.resetCamera(),
      addKeyCamera: () => this.addKeyCamera(),
      saveKeyCameras: () => this.saveKeyCameras(),
      choosePreset: (split, index) => this.choosePreset(split, index),
      stepPreset: (direction) => this.stepPreset(direction),
      compare: (how) => this.compare(how),
      screenshot: (size) => void this.guard(() => this.files.screenshot(size)),
      record: () => void this.guard(() => this.files.record()),
      turntable: () => void this.guard(() => this.files.turntable()),
      copyLink: () => void this.guard(() => this.copyLink()),
      train: (word) => void this.guard(() => this.source.command(word)),
    }, back);
    this.renderer = new SplatRenderer(this.page.canvas);
    this.controls = new Controls(this.page.canvas, this);
    this.page.canvas.addEventListener("webglcontextlost", () => this.page.fail("The graphics device was lost. Reload the page."));
    this.store.listen((_settings, changed) => {
      if (changed.includes("preset") || changed.includes("comparing")) void this.guard(() => this.bringTruth());
      this.changed(false);
    });
    window.addEventListener("keydown", (event) => shortcut(event, this, this.controls));
    new ResizeObserver(() => this.changed(false)).observe(this.page.canvas);
  }

  get flying(): boolean {
    return this.store.current.flying;
  }
  view() {
    const { clientWidth, clientHeight } = this.page.canvas;
    return viewOf(this.camera, this.lens, clientWidth, clientHeight);
  }

  async start(): Promise<void> {
    requestAnimationFrame((now) => this.frame(now));
    this.info = await this.source.info();
    this.page.setInfo(this.info);
    // Asked before, so that an object that is replaced meanwhile is noticed.
    if (this.info.live) this.version = (await this.source.status()).version;
    const stream = await this.source.scene();
    const views = this.views.load().then(() => this.page.panel.setViews(this.views));
    views.catch((error: Error) => this.page.tell(error.message));
    await readScene(stream, (scene, bytes) => this.arrived(scene, bytes));
    this.page.setLoading(null);
    this.changed(false);
    await views.catch(() => undefined);
    if (this.info.live)
      new Live(this.source, (status) => this.heard(status), () => this.page.tell("The viewer's server does not answer any more.")).start();
  }

  // Training goes on: its figures, and the newer object when there is one, in place of the old one.
  private async heard(status: Status): Promise<void> {
    this.page.panel.training.update(status.training, this.link.token !== null);
    if (status.version === this.version || status.version === 0) return;
    const newer = await readScene(await this.source.scene(), () => undefined);
    this.version = status.version;
    this.scene = newer;
    this.renderer.show(newer);
    this.page.setScene(newer);
    this.changed(false);
  }

  private arrived(scene: Scene, bytes: number): void {
    this.bytes = bytes;
    if (this.scene !== scene) this.begin(scene);
    if (scene.isVisible && this.firstPicture === 0) {
      this.firstPicture = performance.now();
      this.firstBytes = bytes;
    }
    this.page.setLoading(scene.isComplete ? null : scene.sections / scene.head.sections);
    this.page.timeline.setArrived(scene.head.times.filter((_, i) => scene.moments[i] !== null), scene.momentsHere === scene.moments.length);
    this.changed(false);
  }

  private begin(scene: Scene): void {
    this.scene = scene;
    this.renderer.show(scene);
    this.clock.steps = scene.head.times.length > 1 ? scene.head.frames : 1;
    this.clock.seek(this.link.time ?? 0);
    this.resetCamera();
    if (this.link.camera) this.camera = this.link.camera;
    if (scene.head.color_time === "own") this.store.set({ ownColors: true });
    if (this.link.time === null && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.clock.toggle();
    this.page.setScene(scene);
  }

  // ---------------------------------------------------------------- drawing

  // Something is to be drawn anew.
  changed(byHand: boolean): void {
    this.dirty = true;
    this.settled = false;
    this.changedAt = performance.now();
    if (byHand && this.store.current.preset) this.leavePreset();
  }

  picture(): Picture {
    const settings = this.store.current;
    const theirs: Color = this.scene?.head.background === "black" ? [0, 0, 0] : [1, 1, 1];
    const chosen = settings.background === "custom" ? colorOf(settings.customBackground) : FIXED_COLORS[settings.background];
    return {
      camera: this.camera,
      lens: this.lens,
      time: this.clock.shown,
      canonical: settings.canonical,
      ownColors: settings.ownColors,
      shown: settings.shown,
      background: chosen ?? theirs,
      checker: settings.background === "checker" ? [0.8, 0.8, 0.8] : null,
      transparent: false,
      compared: settings.comparing === "beside" || !this.truth ? "off" : settings.comparing,
      amount: settings.amount,
    };
  }

  private frame(now: number): void {
    requestAnimationFrame((next) => this.frame(next));
    const passed = now - this.lastFrame;
    this.lastFrame = now;
    if (this.advance(Math.min(passed / 1000, 0.2))) this.changed(false);
    const drewBefore = this.drewLast;
    this.drewLast = this.dirty;
    if (this.dirty) {
      this.dirty = false;
      this.draw(drewBefore ? passed : 0);
    } else if (!this.settled && performance.now() - this.changedAt > SETTLE_TIME) {
      this.settled = true;
      this.settle();
    }
  }

  // Whether something moves by itself.
  private advance(seconds: number): boolean {
    let moves = this.controls.advance(seconds);
    if (this.clock.playing) {
      this.clock.advance(seconds);
      if (this.store.current.preset) void this.guard(() => this.bringTruth());
      moves = true;
    }
    if (this.files.turns) {
      this.camera = orbited(this.camera, this.files.turned(seconds), 0);
      if (!this.files.turns) void this.guard(() => this.files.record());
      moves = true;
    } else if (this.store.current.spinning) {
      this.camera = orbited(this.camera, turnIn(seconds), 0);
      if (this.store.current.preset) this.leavePreset();
      moves = true;
    }
    return moves;
  }

  private draw(passed: number): void {
    this.adapt(passed);
    this.fitCanvas(this.scale);
    this.figures = this.renderer.draw(this.picture());
    ++this.drawnPictures;
    this.page.timeline.update();
    this.page.update(this.files.isRecording, this.files.turns);
    if (this.store.current.figures) this.showFigures();
  }

  // Where the device is slow, pictures that move have fewer pixels.
  private adapt(passed: number): void {
    if (passed <= 0 || passed > 3000) return; // a first picture, or a page that was hidden
    this.frameTime = 0.9 * this.frameTime + 0.1 * Math.min(passed, 300);
    if (this.frameTime > 45 && this.scale > 0.4) {
      this.scale *= 0.8;
      this.frameTime = 30;
    } else if (this.frameTime < 20 && this.scale < 1 && !this.files.isRecording) {
      this.scale = Math.min(1, this.scale * 1.1);
      this.frameTime = 30;
    }
  }

  // The picture whose error is shown.
  get exactTruth(): ImageBitmap | null {
    return this.store.current.comparing === "error" ? (this.truth?.truth.bitmap ?? null) : null;
  }
  private fitCanvas(scale: number): void {
    const { canvas } = this.page;
    const { clientWidth, clientHeight } = canvas;
    const exact = this.exactTruth;
    canvas.classList.toggle("plain", !!exact);
    const [width, height] = exact
      ? sizeAround(exact.width, exact.height, clientWidth, clientHeight)
      : [clientWidth, clientHeight].map((side) => Math.max(1, Math.round(side * Math.min(devicePixelRatio, 2) * scale))) as [number, number];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  // Nothing has changed for a moment: all pixels, the address, the agreement with the training picture.
  private settle(): void {
    if (this.scale < 1) {
      this.fitCanvas(1);
      this.figures = this.renderer.draw(this.picture());
    }
    this.tellAgreement();
    if (this.scene) history.replaceState(null, "", this.linkHash());
    if (this.store.current.figures) this.showFigures();
  }

  private showFigures(): void {
    if (this.scene) this.page.panel.setFigures(figuresOf(this, this.scene));
  }

  // ---------------------------------------------------------------- camera

  resetCamera(): void {
    const camera = this.scene?.head.camera;
    this.lens = lensOf(camera?.fov_x || 0.69, camera?.width ?? 1, camera?.height ?? 1);
    this.camera = { target: [0, 0, 0], azimuth: 0, elevation: 0, roll: 0, distance: camera?.radius || 4 };
    this.store.set({ preset: null, comparing: "off", spinning: false });
    this.changed(false);
  }
  addKeyCamera(): void {
    this.keyCameras.add(this.camera, this.clock.moves ? this.clock.shown : null);
    this.page.tell(`Key camera ${this.keyCameras.count}; "Save path" writes them for eg4d render --path`);
  }
  private saveKeyCameras(): void {
    if (this.keyCameras.count === 0) return this.page.tell("There is no key camera yet: add some from where you want to look");
    this.keyCameras.save(this.info?.title ?? "");
    this.page.tell(`${this.keyCameras.count} key cameras saved; the next one starts another path`);
    this.keyCameras.clear();
  }
  zoom(factor: number): void {
    this.camera = zoomed(this.camera, factor);
    this.changed(true);
  }

  // The point of the object that is seen at a place of the canvas becomes what the camera circles.
  focus(x: number, y: number): void {
    const view = this.view();
    const depth = this.renderer.depthAt(this.picture(), x / view.width, y / view.height);
    if (depth === null) return;
    const right = ((x - view.centerX) / view.focalX) * depth;
    const down = ((y - view.centerY) / view.focalY) * depth;
    const axes = axesOf(this.camera);
    let target: Vector = add(positionOf(this.camera), axes.back, -depth);
    target = add(add(target, axes.right, right), axes.up, -down);
    this.camera = { ...this.camera, target, distance: depth };
    this.changed(true);
  }

  // ---------------------------------------------------------------- the dataset

  choosePreset(split: string, index: number): void {
    const chosen = this.views.preset(split, index);
    if (!chosen) return;
    const preset = this.views.placeOf(chosen);
    this.camera = cameraOfFrame(preset.frame);
    this.lens = lensOfFrame(preset.frame);
    this.store.set({ preset: { split, index: preset.index }, spinning: false, flying: false });
    this.clock.playing = false;
    const near = this.views.atTime(preset, this.clock.shown);
    this.clock.seek(near.frame.time);
    void this.guard(() => this.bringTruth());
    this.changed(false);
  }
  stepPreset(direction: 1 | -1): void {
    const values = this.page.panel.presetValues;
    if (values.length === 0) return;
    const { preset } = this.store.current;
    const at = preset ? values.indexOf(`${preset.split}/${preset.index}`) : direction > 0 ? -1 : 0;
    const [split, index] = values[(at + direction + values.length) % values.length]!.split("/");
    this.choosePreset(split!, Number(index));
  }
  compare(how: Comparing): void {
    if (how !== "off" && !this.store.current.preset) {
      const nearest = this.views.nearest(this.camera);
      if (!nearest) return;
      this.choosePreset(nearest.split, nearest.index);
    }
    this.store.set({ comparing: how });
  }
  leavePreset(): void {
    this.store.set({ preset: null, comparing: "off" });
  }

  private get currentPreset(): Preset | null {
    const { preset } = this.store.current;
    const place = preset && this.views.preset(preset.split, preset.index);
    return place ? this.views.atTime(place, this.clock.shown) : null;
  }

  // The training picture of this camera and time, when it is compared with.
  async bringTruth(): Promise<void> {
    const preset = this.store.current.comparing === "off" ? null : this.currentPreset;
    const key = preset ? `${preset.split}/${preset.index}` : "";
    if (key === (this.truth?.key ?? "")) return this.showTruthBeside();
    const truth = preset && (await this.views.picture(preset));
    const now = this.store.current.comparing === "off" ? null : this.currentPreset;
    if (key !== (now ? `${now.split}/${now.index}` : "")) return; // something else is wanted by now
    this.truth = truth ? { key, truth } : null;
    this.renderer.setTruth(truth?.bitmap ?? null);
    this.showTruthBeside();
    this.changed(false);
  }
  private showTruthBeside(): void {
    this.page.setTruth(this.store.current.comparing === "beside" ? (this.truth?.truth.address ?? null) : null);
  }

  private tellAgreement(): void {
    const preset = this.currentPreset;
    if (!preset || !this.truth || !this.scene?.isComplete || Math.abs(preset.frame.time - this.clock.shown) > 1e-3) {
      this.page.panel.setAgreement(preset && this.truth ? "The picture that is nearest in time." : "");
      return;
    }
    const { width, height } = preset.frame;
    if (Math.max(width, height) > 2048) return;
    const theirs: Color = this.scene.head.background === "black" ? [0, 0, 0] : [1, 1, 1];
    const plain: Picture = { ...this.picture(), shown: "color", background: theirs, checker: null, compared: "off" };
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true })!;
    context.drawImage(this.truth.truth.bitmap, 0, 0);
    const agreement = psnr(this.renderer.pixels(plain, width, height), context.getImageData(0, 0, width, height).data);
    this.page.panel.setAgreement(`PSNR ${agreement.toFixed(2)} dB against the picture`);
  }

  // ---------------------------------------------------------------- links

  private linkHash(): string {
    const token = this.info?.token_reads ? this.link.token : null;
    return writeLink(this.camera, this.clock.shown, this.store.current, token, this.link.run);
  }
  private async copyLink(): Promise<void> {
    const address = location.href.split("#")[0]! + this.linkHash();
    history.replaceState(null, "", this.linkHash());
    try {
      await navigator.clipboard.writeText(address);
      this.page.tell("Link to this view copied");
    } catch {
      this.page.tell("The link is in the address bar");
    }
  }

  cycleBackground(): void {
    const at = BACKGROUND_NAMES.indexOf(this.store.current.background);
    this.store.set({ background: BACKGROUND_NAMES[(at + 1) % BACKGROUND_NAMES.length]! });
  }
  cycleComparing(): void {
    const order: Comparing[] = ["off", "wipe", "blend", "beside", "error"];
    if (!this.views.isEmpty) this.compare(order[(order.indexOf(this.store.current.comparing) + 1) % order.length]!);
  }

  // Runs what may fail, and tells why.
  async guard(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.page.tell(error instanceof Error ? error.message : String(error));
    }
  }

  // ---------------------------------------------------------------- for tests

  get pictures(): number {
    return this.drawnPictures;
  }
}
