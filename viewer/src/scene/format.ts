// The scene file (docs/viewer.md): a head, then sections, in the order in which the program sends them.

export const enum SectionKind {
  shape = 1,
  color = 2,
  moment = 3,
  harmonics = 4,
  ownColor = 5,
}

export interface Section {
  kind: SectionKind;
  index: number;
  packed: Uint8Array; // zlib
  end: number; // bytes of the file until its end
}

export interface MomentStep {
  moment: number;
  from: number[]; // none: the canonical pose; one or two that came before
}

export interface Head {
  gaussians: number;
  sh_degree: number;
  origin: [number, number, number];
  times: number[];
  order: MomentStep[];
  own_colors: boolean;
  own_opacities: boolean;
  color_time: "reference" | "own";
  reference_time: number;
  background: "white" | "black";
  frames: number; // time steps of the training video
  sections: number;
  camera: { fov_x: number; radius: number; width: number; height: number };
  steps: {
    position: number;
    log_scale: number;
    quaternion: number;
    opacity: number;
    sh_dc: number;
    color: number;
    harmonics: number[];
  };
}

const MAGIC = "EG4DVIEW";
const VERSION = 1;
const HEAD_BYTES = 16; // before the JSON
const SECTION_BYTES = 12; // before what is packed
const MOST_GAUSSIANS = 1 << 24;
const MOST_HEAD_BYTES = 1 << 26;

export class FormatError extends Error {}

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new FormatError(`This is no object that the page can show: ${what}.`);
}

const isIndex = (value: unknown, end: number): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < end;
const isPositive = (value: unknown): value is number => Number.isFinite(value) && (value as number) > 0;

export function checkHead(json: unknown): Head {
  const head = json as Head;
  check(typeof head === "object" && head !== null, "it has no description");
  check(isIndex(head.gaussians, MOST_GAUSSIANS) && head.gaussians > 0, "its number of Gaussians");
  check(isIndex(head.sh_degree, 4), "its degree");
  check(isIndex(head.frames, 1 << 20) && head.frames > 0, "its number of frames");
  check(Array.isArray(head.origin) && head.origin.length === 3 && head.origin.every(Number.isFinite), "its origin");
  check(Array.isArray(head.times) && head.times.length > 0, "it has no moments");
  check(head.times.every((time, i) => Number.isFinite(time) && (i === 0 || time > head.times[i - 1]!)), "its times");
  const seen = new Set<number>();
  check(Array.isArray(head.order) && head.order.length === head.times.length, "the order of its moments");
  for (const step of head.order) {
    check(isIndex(step.moment, head.times.length) && !seen.has(step.moment), "the order of its moments");
    check(Array.isArray(step.from) && step.from.length <= 2 && step.from.every((i) => seen.has(i)), "where a moment follows from");
    seen.add(step.moment);
  }
  const { steps } = head;
  check(typeof steps === "object" && steps !== null, "its steps");
  for (const step of [steps.position, steps.log_scale, steps.quaternion, steps.opacity, steps.sh_dc, steps.color])
    check(isPositive(step), "its steps");
  check(Array.isArray(steps.harmonics) && steps.harmonics.length === head.sh_degree && steps.harmonics.every(isPositive), "its steps");
  check(typeof head.camera === "object" && head.camera !== null, "its camera");
  return head;
}

// Takes the file in pieces of any size and gives what is whole.
export class SceneReader {
  head: Head | null = null;
  private pending = new Uint8Array(0);
  private before = 0; // bytes in front of what is pending

  // Sections that have become whole. Throws FormatError.
  add(piece: Uint8Array): Section[] {
    const joined = new Uint8Array(this.pending.length + piece.length);
    joined.set(this.pending);
    joined.set(piece, this.pending.length);
    this.pending = joined;
    let at = this.head ? 0 : this.readHead();
    const sections: Section[] = [];
    for (;;) {
      const section = this.head && this.sectionAt(at);
      if (!section) break;
      at += SECTION_BYTES + section.packed.length;
      sections.push(section);
    }
    this.pending = this.pending.slice(at);
    this.before += at;
    return sections;
  }

  // Whether the file may end here.
  get isAtEnd(): boolean {
    return this.head !== null && this.pending.length === 0;
  }

  private numberAt(at: number): number {
    return new DataView(this.pending.buffer, this.pending.byteOffset).getUint32(at, true);
  }

  // The bytes that it took; 0 while it is not whole.
  private readHead(): number {
    if (this.pending.length < HEAD_BYTES) return 0;
    const text = new TextDecoder();
    check(text.decode(this.pending.subarray(0, 8)) === MAGIC, "it does not begin like one");
    check(this.numberAt(8) === VERSION, "it is of another version");
    const length = this.numberAt(12);
    check(length <= MOST_HEAD_BYTES, "its description is too long");
    if (this.pending.length < HEAD_BYTES + length) return 0;
    const json = text.decode(this.pending.subarray(HEAD_BYTES, HEAD_BYTES + length));
    try {
      this.head = checkHead(JSON.parse(json));
    } catch (error) {
      throw error instanceof FormatError ? error : new FormatError("This is no object that the page can show: its description is damaged.");
    }
    return HEAD_BYTES + length;
  }

  private sectionAt(at: number): Section | null {
    if (this.pending.length < at + SECTION_BYTES) return null;
    const kind = this.numberAt(at);
    const index = this.numberAt(at + 4);
    const length = this.numberAt(at + 8);
    if (this.pending.length < at + SECTION_BYTES + length) return null;
    const end = at + SECTION_BYTES + length;
    return { kind, index, packed: this.pending.slice(at + SECTION_BYTES, end), end: this.before + end };
  }
}

// Unpacks zlib with what the browser has.
export async function inflate(packed: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([packed as BlobPart]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Values whose differences from `expected` (nothing: zero) are what `bytes` holds: low bytes, then high ones.
export function takeDifferences(bytes: Uint8Array, begin: number, count: number, expected: Int16Array | null): Int16Array<ArrayBuffer> {
  check(begin + 2 * count <= bytes.length, "a part of it is too short");
  const values = new Int16Array(count);
  for (let i = 0; i < count; ++i) {
    const folded = bytes[begin + i]! | (bytes[begin + count + i]! << 8);
    values[i] = (expected ? expected[i]! : 0) + ((folded >>> 1) ^ -(folded & 1));
  }
  return values;
}

// Each value was told apart from the one before it in its component.
export function addNeighbors(values: Int16Array, components: number): void {
  const count = values.length / components;
  for (let k = 0; k < components; ++k)
    for (let i = k * count + 1; i < (k + 1) * count; ++i) values[i]! += values[i - 1]!;
}

// Between two moments, in whole numbers, as the program computes it.
export function between(a: Int16Array, b: Int16Array, passed: number, whole: number): Int16Array {
  const values = new Int16Array(a.length);
  for (let i = 0; i < a.length; ++i)
    values[i] = Math.floor((2 * (a[i]! * (whole - passed) + b[i]! * passed) + whole) / (2 * whole));
  return values;
}
