import type { CameraState, View } from "./camera";
import { flown, looked, orbited, panned, zoomed } from "./camera";

const DEGREES_PER_PIXEL = 0.4;
const INERTIA = 0.13; // seconds in which what is left of a turn falls to a third

export interface Controlled {
  camera: CameraState;
  readonly flying: boolean;
  view(): View; // in CSS pixels
  changed(byHand: boolean): void;
  focus(x: number, y: number): void; // CSS pixels in the canvas
}

interface Point {
  x: number;
  y: number;
}

// Mouse, touch and the keys that are held move the camera.
export class Controls {
  private readonly pointers = new Map<number, Point>();
  private readonly keys = new Set<string>();
  private turning: Point = { x: 0, y: 0 }; // pixels per second
  private lastMove = 0;
  private lastTap: (Point & { time: number }) | null = null;
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(private readonly canvas: HTMLElement, private readonly to: Controlled) {
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"] as const) canvas.addEventListener(end, (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    window.addEventListener("keyup", (event) => this.keys.delete(event.code));
    window.addEventListener("blur", () => this.keys.clear());
  }

  // A key that may be held; true when it moves the camera.
  key(code: string): boolean {
    const flies = this.to.flying && /^Key[WASDQE]$/.test(code);
    if (flies || code.startsWith("Shift")) this.keys.add(code);
    return flies;
  }

  // Seconds pass; true while something moves by itself.
  advance(seconds: number): boolean {
    return [this.fly(seconds), this.coast(seconds)].includes(true);
  }

  private fly(seconds: number): boolean {
    const held = (code: string) => (this.keys.has("Key" + code) ? 1 : 0);
    const [forward, right, up] = [held("W") - held("S"), held("D") - held("A"), held("E") - held("Q")];
    if (!this.to.flying || (forward === 0 && right === 0 && up === 0)) return false;
    const fast = this.keys.has("ShiftLeft") || this.keys.has("ShiftRight") ? 3 : 1;
    const far = 0.6 * fast * seconds * Math.max(this.to.camera.distance, 0.5);
    this.to.camera = flown(this.to.camera, forward * far, right * far, up * far);
    this.to.changed(true);
    return true;
  }

  private coast(seconds: number): boolean {
    if (this.pointers.size > 0 || Math.hypot(this.turning.x, this.turning.y) < 5 || this.calm.matches) return false;
    this.turn(this.turning.x * seconds, this.turning.y * seconds);
    const rest = Math.exp(-seconds / INERTIA);
    this.turning = { x: this.turning.x * rest, y: this.turning.y * rest };
    return true;
  }

  private turn(x: number, y: number): void {
    const { camera, flying } = this.to;
    const [azimuth, elevation] = [-x * DEGREES_PER_PIXEL, y * DEGREES_PER_PIXEL];
    this.to.camera = flying ? looked(camera, -0.5 * azimuth, -0.5 * elevation) : orbited(camera, azimuth, elevation);
    this.to.changed(true);
  }

  private down(event: PointerEvent): void {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.turning = { x: 0, y: 0 };
    this.lastMove = event.timeStamp;
    if (event.button !== 0 || this.pointers.size > 1) return;
    const tap = { x: event.offsetX, y: event.offsetY, time: event.timeStamp };
    const last = this.lastTap;
    this.lastTap = tap;
    if (!last || tap.time - last.time > 350 || Math.hypot(tap.x - last.x, tap.y - last.y) > 12) return;
    this.lastTap = null;
    this.to.focus(tap.x, tap.y);
  }

  private up(event: PointerEvent): void {
    this.pointers.delete(event.pointerId);
    if (event.timeStamp - this.lastMove > 60) this.turning = { x: 0, y: 0 };
  }

  private move(event: PointerEvent): void {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const moved = { x: now.x - before.x, y: now.y - before.y };
    if (this.pointers.size === 2) this.pinch(event.pointerId, now);
    this.pointers.set(event.pointerId, now);
    if (this.pointers.size > 1) return;
    const sideways = (event.buttons & 6) !== 0 || event.shiftKey || event.ctrlKey;
    if (sideways) {
      this.to.camera = panned(this.to.camera, this.to.view(), moved.x, moved.y);
      this.to.changed(true);
    } else {
      const passed = Math.max(event.timeStamp - this.lastMove, 8) / 1000;
      this.turning = { x: 0.5 * this.turning.x + (0.5 * moved.x) / passed, y: 0.5 * this.turning.y + (0.5 * moved.y) / passed };
      this.turn(moved.x, moved.y);
    }
    this.lastMove = event.timeStamp;
  }

  private pinch(id: number, now: Point): void {
    const before = [...this.pointers.values()] as [Point, Point];
    const after = [...this.pointers].map(([one, point]) => (one === id ? now : point)) as [Point, Point];
    const apart = ([a, b]: [Point, Point]) => Math.max(Math.hypot(a.x - b.x, a.y - b.y), 10);
    const middle = ([a, b]: [Point, Point]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    const [from, to] = [middle(before), middle(after)];
    const camera = zoomed(this.to.camera, apart(before) / apart(after));
    this.to.camera = panned(camera, this.to.view(), to.x - from.x, to.y - from.y);
    this.to.changed(true);
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
    const strength = event.ctrlKey ? 0.01 : 0.0012; // a pinch on a touch pad comes with Ctrl
    const amount = Math.max(-300, Math.min(300, event.deltaY * lines)) * strength;
    this.to.camera = this.to.flying ? flown(this.to.camera, -amount * this.to.camera.distance, 0, 0) : zoomed(this.to.camera, Math.exp(amount));
    this.to.changed(true);
  }
}
