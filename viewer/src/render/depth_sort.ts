import type { View } from "../camera/camera";
import type { Head } from "../scene/format";
import type { Pose } from "../scene/scene";

const NEAR = 0.2; // what is nearer is not drawn
const BINS = 1 << 16;

// Front to back, for one view and time: a counting sort of depths in 65536 bins. It takes about a millisecond for
// 50 000 Gaussians, so that it runs before every picture and the order is always that of the picture.
export class DepthSorter {
  private depths = new Float32Array(0);
  private readonly begins = new Uint32Array(BINS + 1);
  order = new Uint32Array(0);
  near = 0; // between these distances lie nearly all that were sorted last
  far = 1;

  // How many Gaussians are in front of the camera: the first ones of `order`.
  sort(head: Head, a: Pose, b: Pose, share: number, view: View): number {
    const n = head.gaussians;
    if (this.order.length !== n) {
      this.order = new Uint32Array(n);
      this.depths = new Float32Array(n);
    }
    const [low, high] = this.measure(head, a.positions, b.positions, share, view);
    if (!(high >= low)) return 0;
    const count = this.arrange(n, low, high);
    this.near = this.depths[this.order[Math.floor(0.01 * count)]!]!;
    this.far = this.depths[this.order[Math.floor(0.99 * count)]!]!;
    return count;
  }

  private measure(head: Head, a: Int16Array, b: Int16Array, share: number, view: View): [number, number] {
    const n = head.gaussians;
    const { forward, position } = view;
    const { origin } = head;
    const step = head.steps.position;
    let start = 0;
    for (let k = 0; k < 3; ++k) start += forward[k]! * (origin[k]! - position[k]!);
    const [x, y, z] = [step * forward[0], step * forward[1], step * forward[2]];
    const rest = 1 - share;
    const { depths } = this;
    let low = Infinity;
    let high = -Infinity;
    for (let i = 0; i < n; ++i) {
      const j = i + n;
      const k = j + n;
      const before = x * a[i]! + y * a[j]! + z * a[k]!;
      const depth = start + rest * before + share * (x * b[i]! + y * b[j]! + z * b[k]!);
      depths[i] = depth;
      if (depth <= NEAR) continue;
      if (depth < low) low = depth;
      if (depth > high) high = depth;
    }
    return [low, high];
  }

  private arrange(n: number, low: number, high: number): number {
    const { depths, begins, order } = this;
    const scale = high > low ? (BINS - 1) / (high - low) : 0;
    begins.fill(0);
    for (let i = 0; i < n; ++i) {
      const depth = depths[i]!;
      if (depth > NEAR) begins[Math.min(BINS, (((depth - low) * scale) | 0) + 1)]!++;
    }
    for (let bin = 1; bin <= BINS; ++bin) begins[bin]! += begins[bin - 1]!;
    const count = begins[BINS]!;
    for (let i = 0; i < n; ++i) {
      const depth = depths[i]!;
      if (depth > NEAR) order[begins[Math.min(BINS - 1, ((depth - low) * scale) | 0)]!++] = i;
    }
    return count;
  }
}
