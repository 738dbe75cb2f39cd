import { describe, expect, it } from "vitest";
import { Clock } from "../src/time/clock";

const playing = (looping: Clock["looping"], steps = 11): Clock => {
  const clock = new Clock(steps);
  clock.looping = looping;
  clock.toggle();
  return clock;
};

describe("the clock", () => {
  it("takes a tenth of a second for each moment", () => {
    const clock = playing("once");
    clock.advance(0.35);
    expect(clock.time).toBeCloseTo(0.35);
    clock.speed = 2;
    clock.advance(0.1);
    expect(clock.time).toBeCloseTo(0.55);
  });
  it("stops at the end when it is told to, and begins anew", () => {
    const clock = playing("once");
    clock.advance(5);
    expect(clock.time).toBe(1);
    expect(clock.playing).toBe(false);
    clock.toggle();
    expect(clock.time).toBe(0);
  });
  it("goes forward and back", () => {
    const clock = playing("back");
    clock.advance(0.9);
    clock.advance(0.3);
    expect(clock.time).toBeCloseTo(0.8);
    clock.advance(0.3);
    expect(clock.time).toBeCloseTo(0.5);
    clock.advance(0.7);
    expect(clock.time).toBeCloseTo(0.2);
    clock.advance(0.1);
    expect(clock.time).toBeCloseTo(0.3);
  });
  it("reflects however long the step", () => {
    for (const seconds of [0.5, 1.5, 2.5, 3.5, 7.25]) {
      const whole = playing("back");
      whole.advance(seconds);
      const parts = playing("back");
      for (let i = 0; i < 100; ++i) parts.advance(seconds / 100);
      expect(whole.time).toBeCloseTo(parts.time);
      whole.advance(0.01);
      parts.advance(0.01);
      expect(whole.time).toBeCloseTo(parts.time);
    }
  });
  it("shows the last moment as long as any other before it starts again", () => {
    const clock = playing("loop");
    clock.advance(1.05);
    expect(clock.shown).toBe(1);
    clock.advance(0.06);
    expect(clock.shown).toBeCloseTo(0.01);
  });
  it("steps to whole moments and stops", () => {
    const clock = playing("back");
    clock.advance(0.37);
    clock.step(1);
    expect(clock.playing).toBe(false);
    expect(clock.moment).toBe(4);
    clock.step(-1);
    expect(clock.moment).toBe(3);
    clock.seek(0);
    clock.step(-1);
    expect(clock.moment).toBe(10);
    clock.looping = "once";
    clock.step(1);
    expect(clock.moment).toBe(10);
  });
  it("stands still for an object that does", () => {
    const clock = new Clock(1);
    clock.toggle();
    clock.advance(1);
    expect(clock.playing).toBe(false);
    expect(clock.shown).toBe(0);
    clock.step(1);
    expect(clock.shown).toBe(0);
  });
});
