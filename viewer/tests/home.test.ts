import { describe, expect, it } from "vitest";
import { smallerSize } from "../src/home/picture_file";
import { progressWords, runWords, shareDone, when } from "../src/home/words";
import { asSentence, type Run } from "../src/server";

const run: Run = { id: "0123456789abcdef", name: "cat", state: "running", stage: "multiview", changed: 0, psnr: null, model: false };

describe("what the list says", () => {
  it("tells a job's step, what it does and how long", () => {
    expect(progressWords("2/5 multiview: denoising")).toBe("Step 2 of 5 · Views: denoising");
    expect(progressWords("3/5 reconstructing")).toBe("Step 3 of 5 · reconstructing");
    expect(progressWords("reading")).toBe("reading");
    const progress = { label: "2/5 multiview: decoding", step: 3, total: 12, seconds_left: 65, warning: "" };
    expect(runWords({ ...run, job: { preset: "mini", message: "", progress } })).toBe("Step 2 of 5 · Views: decoding, 1:05 left");
    expect(shareDone({ ...run, job: { preset: "mini", message: "", progress } })).toBe(0.25);
    expect(shareDone(run)).toBeNull();
  });
  it("tells why it does not go on", () => {
    expect(runWords({ ...run, state: "failed", job: { preset: "mini", message: "it was killed" } })).toBe("It was killed.");
    expect(runWords({ ...run, state: "waiting", job: { preset: "mini", message: "", before: 2 } })).toBe("2 before it");
    expect(runWords(run)).toBe("Views");
    expect(runWords({ ...run, state: "finished", job: { preset: "mini", message: "" } })).toBe("Preset mini");
  });
  it("makes sentences", () => {
    expect(asSentence("videos are not taken yet\n")).toBe("Videos are not taken yet.");
    expect(asSentence("Is it running?")).toBe("Is it running?");
    expect(asSentence(" ")).toBe("");
  });
  it("says when", () => {
    const now = 1_800_000_000;
    expect(when(now - 5, now)).toBe("just now");
    expect(when(now - 60, now)).toBe("1 minute ago");
    expect(when(now - 7300, now)).toBe("2 hours ago");
    expect(when(now - 3 * 86400, now)).toBe("3 days ago");
    expect(when(now - 30 * 86400, now)).toMatch(/2026|2027/);
    expect(when(now + 100, now)).toBe("just now");
    expect(when(0, now)).toBe("");
  });
});

describe("a picture that is sent", () => {
  const limits = { bytes: 1000, pixels: 10000 };
  it("stays as it is where the server takes it", () => {
    expect(smallerSize(100, 100, limits, 1000, "image/png")).toBeNull();
  });
  it("is made smaller, or another kind, where not", () => {
    expect(smallerSize(101, 100, limits, 10, "image/jpeg")).toEqual([101, 100]);
    expect(smallerSize(8192, 4096, limits, 10, "image/jpeg")).toEqual([4096, 2048]);
    expect(smallerSize(50, 50, limits, 10, "image/heic")).toEqual([50, 50]);
    expect(smallerSize(50000, 1, limits, 2000, "image/png")).toEqual([4096, 1]);
  });
});
