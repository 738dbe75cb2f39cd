// Where one looks from. The world has z up; azimuth and elevation are those of `eg4d render`: azimuth 0 looks along -x.

export type Vector = [number, number, number];

export interface CameraState {
  target: Vector; // what the camera circles
  azimuth: number; // degrees
  elevation: number;
  roll: number; // about the line of sight
  distance: number; // from the target
}

// What a picture of width × height sees; a window of another shape shows as much around it as fits.
export interface Lens {
  width: number;
  height: number;
  fovX: number; // radians, whole angle
  fovY: number;
  centerX: number; // principal point, as a share of the picture
  centerY: number;
}

export interface Axes {
  right: Vector;
  up: Vector;
  back: Vector; // from the target to the camera
}

// What the renderer takes: p_view = rotation · (p - position), x right, y down, z forward; pixel = focal · xy/z + center.
export interface View {
  position: Vector;
  right: Vector;
  down: Vector;
  forward: Vector;
  width: number; // pixels
  height: number;
  focalX: number;
  focalY: number;
  centerX: number; // pixels, from the left and from the top
  centerY: number;
}

// Where the lens' picture lies in a window, in pixels.
export interface Rectangle {
  x: number;
  y: number;
  width: number;
  height: number;
}

const DEGREE = Math.PI / 180;
export const MOST_ELEVATION = 89.9;

export const add = (a: Vector, b: Vector, factor = 1): Vector => [a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]];
export const dot = (a: Vector, b: Vector): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

export function axesOf({ azimuth, elevation, roll }: CameraState): Axes {
  const a = azimuth * DEGREE;
  const e = elevation * DEGREE;
  const r = roll * DEGREE;
  const back: Vector = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)];
  const right: Vector = [-Math.sin(a), Math.cos(a), 0];
  const up: Vector = [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)];
  if (roll === 0) return { right, up, back };
  const turned = (one: Vector, other: Vector, sign: number): Vector => {
    const scaled: Vector = [one[0] * Math.cos(r), one[1] * Math.cos(r), one[2] * Math.cos(r)];
    return add(scaled, other, sign * Math.sin(r));
  };
  return { right: turned(right, up, 1), up: turned(up, right, -1), back };
}

export function positionOf(camera: CameraState): Vector {
  return add(camera.target, axesOf(camera).back, camera.distance);
}

export function lensOf(fovX: number, width: number, height: number): Lens {
  const w = width > 0 ? width : 1;
  const h = height > 0 ? height : 1;
  return { width: w, height: h, fovX, fovY: 2 * Math.atan((Math.tan(fovX / 2) * h) / w), centerX: 0.5, centerY: 0.5 };
}

// The largest rectangle of the lens' shape in the middle of a window.
export function frameIn(lens: Lens, width: number, height: number): Rectangle {
  const scale = Math.min(width / lens.width, height / lens.height);
  const frame = { width: lens.width * scale, height: lens.height * scale };
  return { ...frame, x: (width - frame.width) / 2, y: (height - frame.height) / 2 };
}

export function viewOf(camera: CameraState, lens: Lens, width: number, height: number): View {
  const { right, up, back } = axesOf(camera);
  const frame = frameIn(lens, width, height);
  return {
    position: positionOf(camera),
    right,
    down: [-up[0], -up[1], -up[2]],
    forward: [-back[0], -back[1], -back[2]],
    width,
    height,
    focalX: frame.width / (2 * Math.tan(lens.fovX / 2)),
    focalY: frame.height / (2 * Math.tan(lens.fovY / 2)),
    centerX: frame.x + frame.width * lens.centerX,
    centerY: frame.y + frame.height * lens.centerY,
  };
}

// The camera of a pose (three rows of camera to world, OpenGL axes). Its target is the point on its line of sight that
// is nearest to `center`, so that turning it turns the object.
export function cameraOfPose(pose: readonly number[], center: Vector): CameraState {
  const column = (k: number): Vector => [pose[k]!, pose[4 + k]!, pose[8 + k]!];
  const [right, back, position] = [column(0), column(2), column(3)];
  const distance = Math.max(-dot(add(center, position, -1), back), 0.1);
  const elevation = Math.asin(Math.max(-1, Math.min(1, back[2]))) / DEGREE;
  const isSteep = Math.hypot(back[0], back[1]) < 1e-6;
  const azimuth = (isSteep ? Math.atan2(-right[0], right[1]) : Math.atan2(back[1], back[0])) / DEGREE;
  const level = axesOf({ target: center, azimuth, elevation, roll: 0, distance });
  const roll = Math.atan2(dot(right, level.up), dot(right, level.right)) / DEGREE;
  return { target: add(position, back, -distance), azimuth, elevation, roll: Math.abs(roll) < 1e-4 ? 0 : roll, distance };
}

// ---------------------------------------------------------------- moving; all give a new state

export function orbited(camera: CameraState, azimuth: number, elevation: number): CameraState {
  const raised = Math.max(-MOST_ELEVATION, Math.min(MOST_ELEVATION, camera.elevation + elevation));
  return { ...camera, azimuth: wrapped(camera.azimuth + azimuth), elevation: raised };
}

// By shares of the window's smaller side at the target's distance.
export function panned(camera: CameraState, view: View, x: number, y: number): CameraState {
  const { right, up } = axesOf(camera);
  const moved = add(camera.target, right, (-x * camera.distance) / view.focalX);
  return { ...camera, target: add(moved, up, (y * camera.distance) / view.focalY) };
}

export function zoomed(camera: CameraState, factor: number): CameraState {
  return { ...camera, distance: Math.max(0.05, Math.min(1000, camera.distance * factor)) };
}

// Turns where it stands.
export function looked(camera: CameraState, azimuth: number, elevation: number): CameraState {
  const position = positionOf(camera);
  const turned = orbited(camera, azimuth, elevation);
  return { ...turned, target: add(position, axesOf(turned).back, -camera.distance) };
}

// Forward, to the right and up, in scene units.
export function flown(camera: CameraState, forward: number, right: number, up: number): CameraState {
  const axes = axesOf(camera);
  let target = add(camera.target, axes.back, -forward);
  target = add(target, axes.right, right);
  return { ...camera, target: add(target, axes.up, up) };
}

export function wrapped(degrees: number): number {
  return degrees - 360 * Math.floor((degrees + 180) / 360);
}
