import { describe, expect, it } from "vitest";
import { readLink, writeLink } from "../src/state/link";
import { DEFAULTS } from "../src/state/settings";

const camera = { target: [0.1, -0.2, 0] as [number, number, number], azimuth: 12.5, elevation: -3, roll: 2, distance: 3.25 };

describe("a link", () => {
  it("keeps camera, time and view", () => {
    const settings = { ...DEFAULTS, shown: "depth" as const, canonical: true, ownColors: true, background: "custom" as const, customBackground: "#12ab9f" };
    const state = readLink(writeLink(camera, 0.375, settings, null, "0123456789abcdef"));
    expect(state.camera).toEqual(camera);
    expect(state.time).toBe(0.375);
    expect(state.settings).toEqual({ shown: "depth", canonical: true, ownColors: true, background: "custom", customBackground: "#12ab9f" });
    expect(state.token).toBeNull();
    expect(state.run).toBe("0123456789abcdef");
  });
  it("says only what is not as usual", () => {
    expect(writeLink({ ...camera, target: [0, 0, 0], roll: 0 }, 0, DEFAULTS, null, null)).toBe("#t=0&camera=12.5,-3,3.25");
    expect(writeLink({ ...camera, target: [0, 0, 0], roll: 0 }, 0, DEFAULTS, "secret", null)).toBe("#t=0&camera=12.5,-3,3.25&token=secret");
  });
  it("takes what it understands of any text", () => {
    for (const text of ["", "#", "#t=x&camera=1,2", "#camera=a,b,c", "#camera=1,2,-3", "#camera=1,99,3", "#view=nothing&background=zz", "#run=../../etc", "#run=0123", "#%E0%A4%A"]) {
      const state = readLink(text);
      expect(state.camera).toBeNull();
      expect(state.settings).toEqual({});
      expect(state.run).toBeNull();
    }
    expect(readLink("#t=7").time).toBe(1);
    expect(readLink("#token=abc").token).toBe("abc");
  });
});
