import type { App } from "../app";
import { positionOf } from "../camera/camera";
import type { Scene } from "../scene/scene";

// The statistics, as rows of a name and a value.
export function figuresOf(app: App, scene: Scene): [string, string][] {
  const { figures, page } = app;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  return [
    ["Gaussians", `${figures.drawn.toLocaleString("en")} of ${scene.count.toLocaleString("en")}`],
    ["Moments", `${scene.momentsHere} of ${scene.moments.length}`],
    ["Pictures per second", app.clock.playing || app.store.current.spinning ? (1000 / app.frameTime).toFixed(0) : "at rest"],
    ["Sorting", `${figures.sortTime.toFixed(1)} ms`],
    ["Pixels", `${page.canvas.width} × ${page.canvas.height}`],
    ["Received", megabytes(app.bytes)],
    ["First picture", `${(app.firstPicture / 1000).toFixed(2)} s, ${megabytes(app.firstBytes)}`],
    ["Azimuth, elevation", `${app.camera.azimuth.toFixed(1)}°, ${app.camera.elevation.toFixed(1)}°`],
    ["Position", positionOf(app.camera).map((x) => x.toFixed(2)).join(" ")],
    ["Time", app.clock.shown.toFixed(3)],
    ["Graphics", app.renderer.device],
  ];
}
