import { addNeighbors, between, inflate, takeDifferences, FormatError, SectionKind, SceneReader } from "./format";
import type { Head, MomentStep, Section } from "./format";

// Whole multiples of the head's steps, one component after the other: [components][N].
export interface Pose {
  positions: Int16Array<ArrayBuffer>; // 3, from the origin
  logScales: Int16Array<ArrayBuffer>; // 3
  quaternions: Int16Array<ArrayBuffer>; // 4: w, x, y, z
}
export interface Appearance {
  gainBias: Int16Array<ArrayBuffer>; // 4
  opacities: Int16Array<ArrayBuffer>; // 1; empty where they do not change
}

// Which moments a time lies between, of those that have come: a + share·(b - a).
export interface Bracket {
  a: number;
  b: number;
  share: number;
}

export const CANONICAL = -1; // stands for the canonical pose where a moment is asked for

// A 4D object, as far as it has arrived.
export class Scene {
  canonical: Pose | null = null;
  dc: Int16Array | null = null;
  reference: Appearance | null = null;
  readonly moments: (Pose | null)[];
  readonly ownColors: (Appearance | null)[];
  readonly harmonics: (Int16Array | null)[]; // by degree - 1: [(2·degree+1)·3][N]
  sections = 0; // that have arrived

  constructor(readonly head: Head) {
    this.moments = head.times.map(() => null);
    this.ownColors = head.times.map(() => null);
    this.harmonics = head.steps.harmonics.map(() => null);
  }

  get count(): number {
    return this.head.gaussians;
  }
  // Whether a first picture can be drawn.
  get isVisible(): boolean {
    return this.reference !== null && this.moments.some((moment) => moment !== null);
  }
  get isComplete(): boolean {
    return this.sections === this.head.sections;
  }
  get momentsHere(): number {
    return this.moments.filter((moment) => moment !== null).length;
  }
  get hasOwnColors(): boolean {
    return this.head.own_colors && this.ownColors.every((colors) => colors !== null);
  }

  pose(moment: number): Pose | null {
    return moment === CANONICAL ? this.canonical : (this.moments[moment] ?? null);
  }

  bracket(time: number): Bracket {
    const { times } = this.head;
    let a = -1;
    let b = -1;
    for (let i = 0; i < times.length; ++i) {
      if (!this.moments[i]) continue;
      if (times[i]! <= time) a = i;
      if (times[i]! >= time && b < 0) b = i;
    }
    if (a < 0) a = b;
    if (b < 0) b = a;
    const gap = a === b ? 0 : times[b]! - times[a]!;
    return { a, b, share: gap > 0 ? (time - times[a]!) / gap : 0 };
  }

  async add(section: Section): Promise<void> {
    const bytes = await inflate(section.packed);
    this.take(section.kind, section.index, bytes);
    ++this.sections;
  }

  private take(kind: SectionKind, index: number, bytes: Uint8Array): void {
    const n = this.count;
    let at = 0;
    const next = (components: number, expected: Int16Array | null = null) => {
      const values = takeDifferences(bytes, at, components * n, expected);
      at += 2 * values.length;
      return values;
    };
    switch (kind) {
      case SectionKind.shape: {
        const positions = next(3);
        addNeighbors(positions, 3);
        this.canonical = { positions, logScales: next(3), quaternions: next(4) };
        break;
      }
      case SectionKind.color:
        this.dc = next(3);
        this.reference = { gainBias: next(4), opacities: next(1) };
        break;
      case SectionKind.harmonics:
        if (index < 1 || index > this.head.sh_degree) throw new FormatError("The object has harmonics that it does not tell of.");
        this.harmonics[index - 1] = next(3 * (2 * index + 1));
        break;
      case SectionKind.moment: {
        const expected = this.expected(index, this.moments, this.canonical, (pose) => [pose.positions, pose.logScales, pose.quaternions]);
        this.moments[index] = { positions: next(3, expected[0]), logScales: next(3, expected[1]), quaternions: next(4, expected[2]) };
        break;
      }
      case SectionKind.ownColor: {
        const expected = this.expected(index, this.ownColors, this.reference, (colors) => [colors.gainBias, colors.opacities]);
        const gainBias = next(4, expected[0]);
        this.ownColors[index] = { gainBias, opacities: this.head.own_opacities ? next(1, expected[1]) : new Int16Array(0) };
        break;
      }
      default:
        return; // of a later version
    }
    if (at !== bytes.length) throw new FormatError("A part of the object is too long.");
  }

  // What a moment's parts are told apart from.
  private expected<Part>(moment: number, all: (Part | null)[], before: Part | null, parts: (part: Part) => Int16Array[]): Int16Array[] {
    const step: MomentStep | undefined = this.head.order.find((one) => one.moment === moment);
    if (!step) throw new FormatError("The object has a moment that it does not tell of.");
    const [first, last] = step.from.map((from) => all[from]);
    const start = step.from.length === 0 ? before : first;
    if (!start || (step.from.length === 2 && !last)) throw new FormatError("The object's parts came in a wrong order.");
    if (!last) return parts(start);
    const [low, high] = step.from as [number, number];
    const other = parts(last);
    return parts(start).map((values, i) => between(values, other[i]!, moment - low, high - low));
  }
}

// Reads a scene file while it arrives. `onProgress` is told after each section, when the scene holds it, with the bytes so
// far.
export async function readScene(
  stream: ReadableStream<Uint8Array>,
  onProgress: (scene: Scene, bytes: number) => void,
): Promise<Scene> {
  const reader = new SceneReader();
  const source = stream.getReader();
  let scene: Scene | null = null;
  for (;;) {
    const { value, done } = await source.read();
    if (done) break;
    const sections = reader.add(value);
    if (!scene && reader.head) scene = new Scene(reader.head);
    for (const section of sections) {
      await scene!.add(section);
      onProgress(scene!, section.end);
    }
  }
  if (!scene || !reader.isAtEnd || !scene.isComplete) throw new FormatError("The object ended before it was whole.");
  return scene;
}
