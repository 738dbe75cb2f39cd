import { describe, expect, it } from "vitest";
import { clipOf, frameTimes, LONGEST } from "../src/home/video_file";

describe("a video that becomes an object", () => {
  it("is looked at evenly, not at its very ends", () => {
    expect(frameTimes(2, 4)).toEqual([0.25, 0.75, 1.25, 1.75]);
  });
  it("is cut where it is long", () => {
    const times = frameTimes(3600, 25);
    expect(times).toHaveLength(25);
    expect(times.at(-1)!).toBeLessThan(LONGEST);
  });
  it("is sent as its frames' files, each with its length", async () => {
    const clip = clipOf([new Blob([Uint8Array.of(1, 2, 3)]), new Blob([new Uint8Array(258)])]);
    const bytes = new Uint8Array(await clip.arrayBuffer());
    expect(new TextDecoder().decode(bytes.subarray(0, 8))).toBe("EG4DCLIP");
    expect([...bytes.subarray(8, 19)]).toEqual([2, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3]);
    expect([...bytes.subarray(19, 23)]).toEqual([2, 1, 0, 0]);
    expect(bytes).toHaveLength(23 + 258);
  });
});
