import { CANONICAL, type Scene } from "../scene/scene";
import { GlError, plainTexture, type GL } from "./gl";
import { POSE_BLOCKS, TEXTURE_WIDTH } from "./shaders";

const MOST_BYTES = 384 << 20;

// Moments in graphics memory, a layer of a texture for each. All of them where there is room, so that playing copies
// nothing; otherwise those that were used last.
export class PoseCache {
  readonly texture: WebGLTexture;
  private readonly rows: number;
  private readonly layers: { moment: number; hasColors: boolean; used: number }[] = [];
  private readonly packed: Int16Array;
  private uses = 0;

  constructor(private readonly gl: GL, private readonly scene: Scene) {
    this.rows = Math.ceil(scene.count / TEXTURE_WIDTH);
    const values = TEXTURE_WIDTH * this.rows * POSE_BLOCKS * 4;
    this.packed = new Int16Array(values);
    const wanted = scene.head.times.length + 1;
    const room = Math.max(2, Math.floor(MOST_BYTES / (2 * values)));
    const layers = Math.min(wanted, room, gl.getParameter(gl.MAX_ARRAY_TEXTURE_LAYERS) as number);
    for (let i = 0; i < layers; ++i) this.layers.push({ moment: NaN, hasColors: false, used: 0 });
    this.texture = plainTexture(gl, gl.TEXTURE_2D_ARRAY);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA16I, TEXTURE_WIDTH, this.rows * POSE_BLOCKS, layers);
    if (gl.getError() === gl.OUT_OF_MEMORY) throw new GlError("There is not enough graphics memory for this object.");
  }

  // The layers of two moments (CANONICAL: the canonical pose) that are here.
  layersOf(a: number, b: number): [number, number] {
    ++this.uses;
    return [this.layerOf(a), this.layerOf(b)];
  }

  private layerOf(moment: number): number {
    const hasColors = moment === CANONICAL || this.scene.ownColors[moment] !== null;
    let place = this.layers.findIndex((layer) => layer.moment === moment && layer.hasColors === hasColors);
    if (place < 0) {
      const old = this.layers.findIndex((layer) => layer.moment === moment);
      place = old >= 0 ? old : this.leastUsed();
      this.upload(place, moment);
      this.layers[place] = { moment, hasColors, used: 0 };
    }
    this.layers[place]!.used = this.uses;
    return place;
  }

  private leastUsed(): number {
    let least = 0;
    this.layers.forEach((layer, i) => {
      if (layer.used < this.layers[least]!.used) least = i;
    });
    return least;
  }

  private upload(place: number, moment: number): void {
    const { gl, scene, packed, rows } = this;
    const pose = scene.pose(moment)!;
    const colors = moment === CANONICAL ? scene.reference : scene.ownColors[moment];
    const opacities = colors?.opacities.length ? colors.opacities : scene.reference!.opacities;
    const n = scene.count;
    const block = TEXTURE_WIDTH * rows * 4;
    const put = (values: Int16Array | undefined, component: number, at: number) => {
      if (!values) return;
      const begin = component * n;
      for (let i = 0, to = at; i < n; ++i, to += 4) packed[to] = values[begin + i]!;
    };
    for (let k = 0; k < 3; ++k) {
      put(pose.positions, k, k);
      put(pose.logScales, k, block + k);
      put(colors?.gainBias, k + 1, 3 * block + k);
    }
    for (let k = 0; k < 4; ++k) put(pose.quaternions, k, 2 * block + k);
    put(colors?.gainBias, 0, 3);
    put(opacities, 0, block + 3);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.texture);
    gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, place, TEXTURE_WIDTH, rows * POSE_BLOCKS, 1, gl.RGBA_INTEGER, gl.SHORT, packed);
  }

  free(): void {
    this.gl.deleteTexture(this.texture);
  }
}
