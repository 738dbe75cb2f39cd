import { describe, expect, it } from "vitest";
import { KeyCameras } from "../src/camera/path";

describe("key cameras", () => {
  it("are what `eg4d render --path` reads", () => {
    const keys = new KeyCameras();
    keys.add({ target: [0, 0, 0.1234567], azimuth: 170, elevation: 10, roll: 0, distance: 4 }, 0.25);
    keys.add({ target: [0, 0, 0], azimuth: -170, elevation: 20, roll: 5, distance: 3 }, 0.5);
    expect(JSON.parse(keys.toJson())).toEqual({
      keys: [
        { azimuth: 170, elevation: 10, distance: 4, target: [0, 0, 0.12346], time: 0.25 },
        { azimuth: 190, elevation: 20, roll: 5, distance: 3, target: [0, 0, 0], time: 0.5 },
      ],
    });
  });
  it("say no time of what does not move, and start afresh", () => {
    const keys = new KeyCameras();
    keys.add({ target: [0, 0, 0], azimuth: 0, elevation: 0, roll: 0, distance: 4 }, null);
    expect(keys.toJson()).not.toContain("time");
    keys.clear();
    expect(keys.count).toBe(0);
  });
});
