import { frameIn, viewOf, type CameraState, type Lens, type View } from "../camera/camera";
import { CANONICAL, type Scene } from "../scene/scene";
import { DepthSorter } from "./depth_sort";
import { GlError, plainTexture, Program, Target, type GL } from "./gl";
import { PoseCache } from "./pose_cache";
import {
  Compared,
  COMPOSE_FRAGMENT,
  COMPOSE_VERTEX,
  HARMONIC_BLOCKS,
  Shown,
  SPLAT_FRAGMENT,
  SPLAT_VERTEX,
  STILL_BLOCKS,
  TEXTURE_WIDTH,
} from "./shaders";

export type Color = [number, number, number]; // in [0,1]

export interface Picture {
  camera: CameraState;
  lens: Lens;
  time: number; // in [0,1]
  canonical: boolean;
  ownColors: boolean;
  shown: "color" | "points" | "depth" | "alpha";
  background: Color;
  checker: Color | null; // the other colour of a chequered background
  transparent: boolean; // for files: the background is left out
  compared: "off" | "wipe" | "blend" | "error";
  amount: number; // of the wipe or blend, in [0,1]
}

export interface DrawFigures {
  drawn: number; // Gaussians in front of the camera
  sortTime: number; // milliseconds
}

const SHOWN = { color: Shown.color, points: Shown.color, depth: Shown.depth, alpha: Shown.alpha };
const COMPARED = { off: Compared.nothing, wipe: Compared.wipe, blend: Compared.blend, error: Compared.error };
const MODE = { color: 0, points: 1, depth: 2, alpha: 0 };

// Draws a scene, as much of it as has arrived.
export class SplatRenderer {
  readonly gl: GL;
  readonly device: string;
  private readonly splats: Program;
  private readonly compose: Program;
  private readonly format: number;
  private readonly target: Target;
  private readonly file: Target;
  private readonly indices: WebGLBuffer;
  private readonly quads: WebGLVertexArrayObject;
  private readonly truth: WebGLTexture;
  private hasTruth = false;
  private readonly sorter = new DepthSorter();
  private still: WebGLTexture | null = null;
  private harmonics: WebGLTexture | null = null;
  private poses: PoseCache | null = null;
  private harmonicsHere = 0; // degrees in graphics memory
  private stillHere = false;

  constructor(readonly canvas: HTMLCanvasElement, private scene: Scene | null = null) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, powerPreference: "high-performance" });
    if (!gl) throw new GlError("WebGL 2 is not available.");
    this.gl = gl;
    const info = gl.getExtension("WEBGL_debug_renderer_info");
    this.device = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    // Half floats where they can be blended; eight bits show bands after many layers.
    const hasHalf = gl.getExtension("EXT_color_buffer_float") ?? gl.getExtension("EXT_color_buffer_half_float");
    this.format = hasHalf ? gl.RGBA16F : gl.RGBA8;
    this.target = new Target(gl, this.format);
    this.file = new Target(gl, gl.RGBA8);
    this.splats = new Program(gl, SPLAT_VERTEX, SPLAT_FRAGMENT);
    this.compose = new Program(gl, COMPOSE_VERTEX, COMPOSE_FRAGMENT);
    this.indices = gl.createBuffer();
    this.quads = gl.createVertexArray();
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.indices);
    const place = gl.getAttribLocation(this.splats.handle, "a_index");
    gl.enableVertexAttribArray(place);
    gl.vertexAttribIPointer(place, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(place, 1);
    this.truth = plainTexture(gl, gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
  }

  // Another object, or another state of it.
  show(scene: Scene): void {
    this.poses?.free();
    this.poses = null;
    for (const texture of [this.still, this.harmonics]) if (texture) this.gl.deleteTexture(texture);
    this.still = this.harmonics = null;
    this.stillHere = false;
    this.harmonicsHere = 0;
    this.scene = scene;
  }

  // What the picture is compared with; null: nothing.
  setTruth(picture: ImageBitmap | null): void {
    this.hasTruth = picture !== null;
    if (!picture) return;
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.truth);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  }

  // To the canvas, which has the size that is wanted.
  draw(picture: Picture): DrawFigures {
    const { width, height } = this.canvas;
    const figures = this.drawSplats(picture, width, height);
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    this.drawComposed(picture, width, height);
    return figures;
  }

  // The same as pixels, RGBA, rows from the top.
  pixels(picture: Picture, width: number, height: number): Uint8ClampedArray<ArrayBuffer> {
    this.drawSplats(picture, width, height);
    const { gl } = this;
    this.file.bind(width, height);
    this.drawComposed(picture, width, height);
    const upside = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, upside);
    const pixels = new Uint8ClampedArray(upside.length);
    for (let y = 0; y < height; ++y) {
      const row = upside.subarray(4 * width * (height - 1 - y), 4 * width * (height - y));
      pixels.set(row, 4 * width * y);
    }
    return pixels;
  }

  // The distance along the line of sight of what is seen at a place (shares of the picture's sides); null: nothing.
  depthAt(picture: Picture, x: number, y: number): number | null {
    const { gl } = this;
    const { width, height } = this.canvas;
    if (this.format !== gl.RGBA16F) return null;
    this.drawSplats({ ...picture, shown: "depth" }, width, height);
    const pixel = new Float32Array(4);
    const row = Math.min(height - 1, Math.floor((1 - y) * height));
    gl.readPixels(Math.min(width - 1, Math.floor(x * width)), row, 1, 1, gl.RGBA, gl.FLOAT, pixel);
    return pixel[3]! > 0.3 ? pixel[0]! / pixel[3]! : null;
  }

  // The largest side of a picture that can be made.
  get mostPixels(): number {
    const { gl } = this;
    const [width, height] = gl.getParameter(gl.MAX_VIEWPORT_DIMS) as Int32Array;
    return Math.min(gl.getParameter(gl.MAX_TEXTURE_SIZE) as number, width!, height!);
  }

  private drawSplats(picture: Picture, width: number, height: number): DrawFigures {
    const { gl, scene } = this;
    this.target.bind(width, height);
    gl.disable(gl.BLEND);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!scene?.isVisible) return { drawn: 0, sortTime: 0 };
    this.bringStill(scene);
    const poses = (this.poses ??= new PoseCache(gl, scene));
    const { a, b, share } = picture.canonical ? { a: CANONICAL, b: CANONICAL, share: 0 } : scene.bracket(picture.time);
    const view = viewOf(picture.camera, picture.lens, width, height);

    const begin = performance.now();
    const drawn = this.sorter.sort(scene.head, scene.pose(a)!, scene.pose(b)!, share, view);
    const sortTime = performance.now() - begin;

    const [first, second] = poses.layersOf(a, b);
    this.splats.use();
    this.setSplatUniforms(scene, view, picture, share);
    this.splats.int("u_layers", first, second);
    this.splats.texture("u_poses", 2, gl.TEXTURE_2D_ARRAY, poses.texture);
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.indices);
    gl.bufferData(gl.ARRAY_BUFFER, this.sorter.order.subarray(0, drawn), gl.STREAM_DRAW);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE_MINUS_DST_ALPHA, gl.ONE);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, drawn);
    gl.disable(gl.BLEND);
    return { drawn, sortTime };
  }

  private setSplatUniforms(scene: Scene, view: View, picture: Picture, share: number): void {
    const { splats, gl } = this;
    const { steps, origin } = scene.head;
    splats.int("u_rows", Math.ceil(scene.count / TEXTURE_WIDTH));
    splats.float("u_share", share);
    splats.int("u_own", picture.ownColors && scene.hasOwnColors && !picture.canonical ? 1 : 0);
    splats.int("u_degree", this.harmonicsHere);
    splats.int("u_mode", MODE[picture.shown]);
    splats.float("u_origin", ...origin);
    splats.float("u_position_step", steps.position);
    splats.float("u_scale_step", steps.log_scale);
    splats.float("u_quaternion_step", steps.quaternion);
    splats.float("u_opacity_step", steps.opacity);
    splats.float("u_dc_step", steps.sh_dc);
    splats.float("u_color_step", steps.color);
    splats.float("u_harmonic_steps", steps.harmonics[0] ?? 1, steps.harmonics[1] ?? 1, steps.harmonics[2] ?? 1);
    splats.float("u_camera", ...view.position);
    splats.float("u_right", ...view.right);
    splats.float("u_down", ...view.down);
    splats.float("u_forward", ...view.forward);
    splats.float("u_focal", view.focalX, view.focalY);
    splats.float("u_center", view.centerX, view.centerY);
    splats.float("u_size", view.width, view.height);
    splats.float("u_tangent_limit", (1.3 * view.width) / (2 * view.focalX), (1.3 * view.height) / (2 * view.focalY));
    splats.float("u_point_radius", Math.max(1, Math.min(view.width, view.height) / 400));
    splats.texture("u_still", 0, gl.TEXTURE_2D, this.still!);
    splats.texture("u_harmonics", 1, gl.TEXTURE_2D, this.harmonics!);
  }

  private drawComposed(picture: Picture, width: number, height: number): void {
    const { compose, gl } = this;
    const frame = frameIn(picture.lens, width, height);
    const isWhite = this.scene?.head.background !== "black";
    compose.use();
    compose.texture("u_splats", 0, gl.TEXTURE_2D, this.target.texture);
    compose.texture("u_truth", 1, gl.TEXTURE_2D, this.truth);
    compose.float("u_size", width, height);
    compose.int("u_shown", SHOWN[picture.shown]);
    compose.int("u_compared", this.hasTruth ? COMPARED[picture.compared] : Compared.nothing);
    compose.float("u_amount", picture.amount);
    compose.float("u_frame", frame.x, frame.y, frame.width, frame.height);
    compose.float("u_background", ...picture.background);
    compose.float("u_truth_background", ...((isWhite ? [1, 1, 1] : [0, 0, 0]) as Color));
    compose.float("u_checker", ...(picture.checker ?? picture.background));
    compose.float("u_checker_size", picture.checker ? Math.max(8, Math.min(width, height) / 60) : 0);
    compose.float("u_depths", this.sorter.near, this.sorter.far);
    compose.int("u_transparent", picture.transparent ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // What does not move goes to graphics memory when it arrives.
  private bringStill(scene: Scene): void {
    const { gl } = this;
    const rows = Math.ceil(scene.count / TEXTURE_WIDTH);
    if (rows * HARMONIC_BLOCKS > (gl.getParameter(gl.MAX_TEXTURE_SIZE) as number))
      throw new GlError(`This device's graphics cannot show ${scene.count} Gaussians.`);
    const upload = (blocks: number, fill: (put: (values: Int16Array, component: number, place: number) => void) => void) => {
      const packed = new Int16Array(TEXTURE_WIDTH * rows * blocks * 4);
      fill((values, component, place) => {
        const begin = component * scene.count;
        let to = (place >> 2) * TEXTURE_WIDTH * rows * 4 + (place & 3);
        for (let i = 0; i < scene.count; ++i, to += 4) packed[to] = values[begin + i]!;
      });
      const texture = plainTexture(gl, gl.TEXTURE_2D);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA16I, TEXTURE_WIDTH, rows * blocks, 0, gl.RGBA_INTEGER, gl.SHORT, packed);
      return texture;
    };
    if (!this.stillHere) {
      this.stillHere = true;
      this.still = upload(STILL_BLOCKS, (put) => {
        for (let k = 0; k < 3; ++k) {
          put(scene.canonical!.positions, k, k);
          put(scene.dc!, k, 4 + k);
          put(scene.reference!.gainBias, k + 1, 8 + k);
        }
        put(scene.reference!.opacities, 0, 3);
        put(scene.reference!.gainBias, 0, 7);
      });
      this.harmonics = upload(1, () => undefined);
    }
    const degrees = scene.harmonics.findIndex((degree) => degree === null);
    const here = degrees < 0 ? scene.harmonics.length : degrees;
    if (here === this.harmonicsHere) return;
    this.harmonicsHere = here;
    gl.deleteTexture(this.harmonics);
    this.harmonics = upload(HARMONIC_BLOCKS, (put) => {
      scene.harmonics.slice(0, here).forEach((values, k) => {
        const first = 3 * ((k + 1) * (k + 1) - 1); // the file has [2·degree+1, 3] components
        for (let c = 0; c < 3 * (2 * k + 3); ++c) put(values!, c, first + c);
      });
    });
  }
}
