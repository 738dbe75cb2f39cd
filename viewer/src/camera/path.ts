import { download, fileName } from "../capture/capture";
import type { CameraState } from "./camera";

// A few cameras, for `eg4d render --path FILE`, which goes smoothly through them (docs/rendering.md).

interface Key extends CameraState {
  time: number | null; // of the object; null where it does not move
}

export class KeyCameras {
  private keys: Key[] = [];

  get count(): number {
    return this.keys.length;
  }
  // Azimuth and roll go on from the key before by the nearer way, however often the page has turned meanwhile.
  add(camera: CameraState, time: number | null): void {
    const before = this.keys.at(-1);
    const near = (angle: number, from: number) => angle - 360 * Math.round((angle - from) / 360);
    this.keys.push({
      ...camera,
      azimuth: before ? near(camera.azimuth, before.azimuth) : camera.azimuth,
      roll: before ? near(camera.roll, before.roll) : camera.roll,
      time,
    });
  }
  clear(): void {
    this.keys = [];
  }
  save(title: string): void {
    download(new Blob([this.toJson()], { type: "application/json" }), fileName(title, " path.json"));
  }
  toJson(): string {
    const short = (value: number) => Number(value.toFixed(5));
    const keys = this.keys.map(({ azimuth, elevation, roll, distance, target, time }) => ({
      azimuth: short(azimuth),
      elevation: short(elevation),
      ...(roll === 0 ? {} : { roll: short(roll) }),
      distance: short(distance),
      target: target.map(short),
      ...(time === null ? {} : { time: short(time) }),
    }));
    return JSON.stringify({ keys }, null, 1) + "\n";
  }
}
