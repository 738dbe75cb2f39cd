// The time line: which moment of the object is shown.

export type Looping = "loop" | "back" | "once";
export const LOOPINGS: Looping[] = ["back", "loop", "once"];
export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const STEPS_PER_SECOND = 10; // of the training video, at speed 1

export class Clock {
  time = 0; // in [0,1]
  playing = false;
  speed = 1;
  looping: Looping = "back";
  private direction = 1;

  constructor(public steps: number) {}

  // From first to last, in seconds.
  get duration(): number {
    return Math.max(this.steps - 1, 1) / STEPS_PER_SECOND;
  }
  get moves(): boolean {
    return this.steps > 1;
  }

  // Some seconds pass.
  advance(seconds: number): void {
    if (!this.playing || !this.moves) return;
    const moved = this.time + (this.direction * seconds * this.speed) / this.duration;
    if (this.looping === "loop") {
      // The last moment stays as long as any other before the first one comes again.
      const round = 1 + 1 / (this.steps - 1);
      this.time = moved < round ? Math.max(moved, 0) : moved % round;
    } else if (this.looping === "once") {
      this.time = Math.min(moved, 1);
      if (moved >= 1) this.playing = false;
    } else {
      // Reflected at both ends, however often.
      const folded = ((moved % 2) + 2) % 2;
      this.time = folded <= 1 ? folded : 2 - folded;
      if (Math.abs(Math.floor(moved)) % 2 === 1) this.direction = -this.direction;
    }
  }

  // What is shown: a loop's pause at its end is the last moment.
  get shown(): number {
    return Math.min(this.time, 1);
  }

  toggle(): void {
    if (!this.playing && this.looping === "once" && this.time >= 1) this.time = 0;
    this.direction = 1;
    this.playing = !this.playing && this.moves;
  }
  seek(time: number): void {
    this.time = Math.max(0, Math.min(1, time));
  }
  // To the next whole moment in a direction; stops there.
  step(direction: 1 | -1): void {
    this.playing = false;
    const last = Math.max(this.steps - 1, 1);
    const place = this.shown * last;
    const near = Math.round(place);
    const isWhole = Math.abs(place - near) < 1e-6;
    let next = isWhole ? near + direction : direction > 0 ? Math.ceil(place) : Math.floor(place);
    if (this.looping !== "once") next = ((next % this.steps) + this.steps) % this.steps;
    this.seek(next / last);
  }
  // The whole moment that is nearest, from 0.
  get moment(): number {
    return Math.round(this.shown * Math.max(this.steps - 1, 0));
  }
  faster(direction: 1 | -1): void {
    const at = SPEEDS.findIndex((speed) => speed >= this.speed);
    this.speed = SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, at + direction))]!;
  }
  nextLooping(): void {
    this.looping = LOOPINGS[(LOOPINGS.indexOf(this.looping) + 1) % LOOPINGS.length]!;
  }
}
