import { describe, expect, it } from "vitest";
import { axesOf, cameraOfPose, dot, flown, frameIn, lensOf, looked, orbited, panned, positionOf, viewOf, wrapped } from "../src/camera/camera";
import type { CameraState, Vector } from "../src/camera/camera";

const camera = (change: Partial<CameraState> = {}): CameraState => ({ target: [0, 0, 0], azimuth: 30, elevation: 20, roll: 0, distance: 4, ...change });
const close = (a: readonly number[], b: readonly number[]) => a.forEach((value, i) => expect(value).toBeCloseTo(b[i]!, 6));
const poseOf = (state: CameraState): number[] => {
  const { right, up, back } = axesOf(state);
  const position = positionOf(state);
  return [0, 1, 2].flatMap((i) => [right[i]!, up[i]!, back[i]!, position[i]!]);
};

describe("the camera", () => {
  it("stands where `eg4d render` puts it", () => {
    close(positionOf(camera({ azimuth: 0, elevation: 0 })), [4, 0, 0]);
    close(positionOf(camera({ azimuth: 90, elevation: 0 })), [0, 4, 0]);
    close(positionOf(camera({ elevation: 90 })), [0, 0, 4]);
    close(axesOf(camera({ azimuth: 0, elevation: 0 })).right, [0, 1, 0]);
  });
  it("comes back from its pose", () => {
    for (const state of [camera(), camera({ roll: 35 }), camera({ elevation: -70, azimuth: -170 }), camera({ elevation: 90, azimuth: 40 })]) {
      const again = cameraOfPose(poseOf(state), [0, 0, 0]);
      close(poseOf(again), poseOf(state));
      expect(again.distance).toBeCloseTo(4);
    }
  });
  it("circles what is nearest to the middle when its pose looks past it", () => {
    const state = camera({ target: [0, 0, 0.5], azimuth: 0, elevation: 0 });
    const again = cameraOfPose(poseOf(state), [0, 0, 0]);
    close(again.target, [0, 0, 0.5]);
  });
  it("fits the lens' picture into any window", () => {
    const lens = lensOf(0.7, 100, 100);
    expect(frameIn(lens, 300, 200)).toEqual({ x: 50, y: 0, width: 200, height: 200 });
    const wide = viewOf(camera(), lens, 300, 200);
    const tall = viewOf(camera(), lens, 200, 300);
    expect(wide.focalX).toBeCloseTo(tall.focalX);
    expect([wide.centerX, wide.centerY]).toEqual([150, 100]);
    const shifted = viewOf(camera(), { ...lens, centerX: 0.25 }, 300, 200);
    expect(shifted.centerX).toBe(100);
  });
  it("keeps its distance while it turns, and its place while it looks around", () => {
    close([Math.hypot(...positionOf(orbited(camera(), 50, 10)))], [4]);
    close(positionOf(looked(camera(), 50, 10)), positionOf(camera()));
    expect(orbited(camera(), 0, 500).elevation).toBeLessThan(90);
  });
  it("moves what is under the pointer along with it", () => {
    const lens = lensOf(0.7, 100, 100);
    const view = viewOf(camera(), lens, 100, 100);
    const moved = panned(camera(), view, 10, 0);
    const after = viewOf(moved, lens, 100, 100);
    const offset = [0, 1, 2].map((i) => 0 - after.position[i]!) as Vector;
    expect((after.focalX * dot(after.right, offset)) / dot(after.forward, offset)).toBeCloseTo(10);
  });
  it("flies along its own axes", () => {
    close(positionOf(flown(camera({ azimuth: 0, elevation: 0 }), 1, 2, 3)), [3, 2, 3]);
  });
  it("wraps degrees", () => expect([wrapped(190), wrapped(-190), wrapped(0)]).toEqual([-170, 170, 0]));
});
