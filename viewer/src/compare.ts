import { cameraOfPose, type CameraState, type Lens, type Vector } from "./camera/camera";
import type { Cameras, DatasetFrame, Source } from "./source";

// The dataset's cameras, and the pictures that training saw from there.

export interface Preset {
  split: string;
  index: number;
  frame: DatasetFrame;
}

export interface Truth {
  bitmap: ImageBitmap;
  address: string; // of the picture, for an element
}

const KEPT = 60; // pictures

export const lensOfFrame = (frame: DatasetFrame): Lens => ({
  width: frame.width,
  height: frame.height,
  fovX: frame.fov_x,
  fovY: frame.fov_y,
  centerX: (frame.center_x ?? frame.width / 2) / frame.width,
  centerY: (frame.center_y ?? frame.height / 2) / frame.height,
});

export const cameraOfFrame = (frame: DatasetFrame): CameraState => cameraOfPose(frame.pose, [0, 0, 0] as Vector);

const samePose = (a: DatasetFrame, b: DatasetFrame): boolean => a.pose.every((value, i) => Math.abs(value - b.pose[i]!) < 1e-4);

export class DatasetViews {
  cameras: Cameras = { splits: [] };
  private readonly pictures = new Map<string, Promise<Truth>>();

  constructor(private readonly source: Source) {}

  async load(): Promise<void> {
    this.cameras = await this.source.cameras();
  }
  get isEmpty(): boolean {
    return this.cameras.splits.every((split) => split.frames.length === 0);
  }

  preset(split: string, index: number): Preset | null {
    const frame = this.cameras.splits.find((one) => one.name === split)?.frames[index];
    return frame ? { split, index, frame } : null;
  }

  // The split's cameras, each once: the first frame of each place.
  places(split: string): Preset[] {
    const frames = this.cameras.splits.find((one) => one.name === split)?.frames ?? [];
    const places: Preset[] = [];
    frames.forEach((frame, index) => {
      if (!places.some((place) => samePose(place.frame, frame))) places.push({ split, index, frame });
    });
    return places;
  }

  placeOf(preset: Preset): Preset {
    return this.places(preset.split).find((place) => samePose(place.frame, preset.frame)) ?? preset;
  }

  // From the same place, the picture nearest in time.
  atTime(preset: Preset, time: number): Preset {
    const frames = this.cameras.splits.find((one) => one.name === preset.split)!.frames;
    let best = preset;
    frames.forEach((frame, index) => {
      if (Math.abs(frame.time - time) < Math.abs(best.frame.time - time) && samePose(frame, preset.frame)) best = { split: preset.split, index, frame };
    });
    return best;
  }

  // Whose line of sight is nearest to the camera's.
  nearest(camera: CameraState): Preset | null {
    let best: Preset | null = null;
    let least = Infinity;
    for (const split of this.cameras.splits)
      for (const place of this.places(split.name)) {
        const other = cameraOfFrame(place.frame);
        const turned = Math.abs(((other.azimuth - camera.azimuth + 540) % 360) - 180);
        const apart = Math.hypot(turned, other.elevation - camera.elevation);
        if (apart < least) [best, least] = [place, apart];
      }
    return best;
  }

  picture(preset: Preset): Promise<Truth> {
    const key = `${preset.split}/${preset.index}`;
    let truth = this.pictures.get(key);
    if (!truth) {
      truth = this.source.picture(preset.split, preset.index).then(async (blob) => ({
        bitmap: await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" }),
        address: URL.createObjectURL(blob),
      }));
      truth.catch(() => this.pictures.delete(key));
    } else {
      this.pictures.delete(key); // to the end: used last
    }
    this.pictures.set(key, truth);
    const [oldest] = this.pictures.keys();
    if (this.pictures.size > KEPT && oldest !== undefined) {
      void this.pictures.get(oldest)!.then((old) => {
        old.bitmap.close();
        URL.revokeObjectURL(old.address);
      }, () => undefined);
      this.pictures.delete(oldest);
    }
    return truth;
  }
}

// The size of a canvas of about some shape in whose middle a picture lies pixel on pixel: errors are those of its own
// pixels; with more of them every edge would be one.
export function sizeAround(width: number, height: number, shapeWidth: number, shapeHeight: number): [number, number] {
  const scale = Math.max(width / Math.max(shapeWidth, 1), height / Math.max(shapeHeight, 1));
  const around = (side: number, shape: number) => Math.max(side, side + 2 * Math.round((shape * scale - side) / 2));
  return [around(width, shapeWidth), around(height, shapeHeight)];
}

// In dB, of two RGBA pictures of one size; alpha does not count.
export function psnr(a: Uint8ClampedArray, b: Uint8ClampedArray): number {
  let sum = 0;
  for (let i = 0; i < a.length; ++i)
    if ((i & 3) !== 3) {
      const difference = a[i]! - b[i]!;
      sum += difference * difference;
    }
  const mean = sum / (0.75 * a.length) / 65025;
  return mean > 0 ? Math.min(-10 * Math.log10(mean), 100) : 100;
}
