import { describe, expect, it } from "vitest";
import { DatasetViews, psnr, sizeAround } from "../src/compare";
import type { DatasetFrame, Source } from "../src/source";

const frame = (x: number, time: number): DatasetFrame =>
  ({ name: `${x}-${time}`, time, width: 4, height: 4, fov_x: 0.7, fov_y: 0.7, pose: [0, 0, x, 4 * x, 1, 0, 0, 0, 0, 1, 0, 0] });
const views = async () => {
  const all = new DatasetViews({ cameras: () => Promise.resolve({ splits: [{ name: "train", frames: [frame(1, 0), frame(-1, 0), frame(1, 0.5), frame(1, 1)] }] }) } as unknown as Source);
  await all.load();
  return all;
};

describe("the dataset's views", () => {
  it("stand once for each place", async () => expect((await views()).places("train").map((place) => place.index)).toEqual([0, 1]));
  it("follow the time", async () => {
    const all = await views();
    expect(all.atTime(all.preset("train", 0)!, 0.6).index).toBe(2);
    expect(all.atTime(all.preset("train", 1)!, 0.6).index).toBe(1);
  });
  it("are found by the line of sight", async () => {
    const all = await views();
    expect(all.nearest({ target: [0, 0, 0], azimuth: 170, elevation: 0, roll: 0, distance: 4 })?.index).toBe(1);
    expect(all.nearest({ target: [0, 0, 0], azimuth: -20, elevation: 0, roll: 0, distance: 4 })?.index).toBe(0);
  });
});

describe("the size of an error", () => {
  it("has the picture's pixels in its middle", () => {
    expect(sizeAround(192, 192, 1200, 760)).toEqual([304, 192]);
    expect(sizeAround(192, 192, 390, 780)).toEqual([192, 384]);
    expect(sizeAround(200, 101, 100, 100)).toEqual([200, 201]);
    expect(sizeAround(192, 192, 0, 0)).toEqual([192, 192]);
  });
});

describe("psnr", () => {
  it("is that of the colours", () => {
    const black = new Uint8ClampedArray(16);
    const grey = new Uint8ClampedArray(16).fill(51); // a fifth
    expect(psnr(black, grey)).toBeCloseTo(-20 * Math.log10(0.2));
    const other = black.slice();
    other[3] = 255;
    expect(psnr(black, other)).toBe(100);
  });
});
