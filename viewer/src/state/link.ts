import type { CameraState, Vector } from "../camera/camera";
import type { Settings, Shown } from "./settings";

// What stands behind # in the address: camera, time and view, so that a link shows what its sender saw.

export interface LinkState {
  camera: CameraState | null;
  time: number | null;
  settings: Partial<Settings>;
  token: string | null; // of a server on the network
  run: string | null; // of several that a server shows
}

const short = (value: number): string => String(Number(value.toFixed(4)));
const SHOWN: Shown[] = ["color", "points", "depth", "alpha"];

export function writeLink(camera: CameraState, time: number, settings: Settings, token: string | null, run: string | null): string {
  const words = new URLSearchParams();
  if (run) words.set("run", run);
  words.set("t", short(time));
  words.set("camera", [camera.azimuth, camera.elevation, camera.distance].map(short).join(","));
  if (camera.target.some((value) => Math.abs(value) > 5e-5)) words.set("target", camera.target.map(short).join(","));
  if (camera.roll !== 0) words.set("roll", short(camera.roll));
  if (settings.shown !== "color") words.set("view", settings.shown);
  if (settings.canonical) words.set("pose", "canonical");
  if (settings.ownColors) words.set("colors", "own");
  if (settings.background !== "object") words.set("background", settings.background === "custom" ? settings.customBackground.slice(1) : settings.background);
  if (token) words.set("token", token);
  return "#" + words.toString().replaceAll("%2C", ",");
}

function numbers(text: string | null, count: number): number[] | null {
  const values = text?.split(",").map(Number);
  return values?.length === count && values.every(Number.isFinite) ? values : null;
}

// What the server calls a run.
function runIn(text: string | null): string | null {
  return text && /^[0-9a-f]{16}$/.test(text) ? text : null;
}

// Takes what it understands of any text.
export function readLink(hash: string): LinkState {
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  const state: LinkState = { camera: null, time: null, settings: {}, token: words.get("token"), run: runIn(words.get("run")) };
  const [time] = numbers(words.get("t"), 1) ?? [];
  if (time !== undefined) state.time = Math.max(0, Math.min(1, time));
  const camera = numbers(words.get("camera"), 3);
  if (camera && camera[2]! > 0 && Math.abs(camera[1]!) <= 90) {
    const target = (numbers(words.get("target"), 3) ?? [0, 0, 0]) as Vector;
    const [roll] = numbers(words.get("roll"), 1) ?? [0];
    state.camera = { azimuth: camera[0]!, elevation: camera[1]!, distance: camera[2]!, target, roll: roll! };
  }
  const shown = words.get("view") as Shown;
  if (SHOWN.includes(shown)) state.settings.shown = shown;
  if (words.get("pose") === "canonical") state.settings.canonical = true;
  if (words.get("colors") === "own") state.settings.ownColors = true;
  const background = words.get("background");
  if (background === "white" || background === "grey" || background === "black" || background === "checker") state.settings.background = background;
  else if (/^[0-9a-f]{6}$/i.test(background ?? "")) {
    state.settings.background = "custom";
    state.settings.customBackground = "#" + background;
  }
  return state;
}
