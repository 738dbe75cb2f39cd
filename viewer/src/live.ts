import type { Source } from "./source";

// How far the training of a run is, asked once a second while the page is seen.

export interface Training {
  state: "running" | "paused" | "ended";
  stage: string;
  iteration: number;
  iterations: number; // 0: not known
  gaussians: number;
  l1: number | null;
  psnr: number | null;
  seconds_left: number; // below 0: not known
  curve: [number, number | null, number | null][]; // iteration, l1, psnr
  tests: [number, number | null][]; // iteration, psnr on the test split
}
export interface Status {
  version: number; // of the object; 0: there is none yet
  failure: string; // why the last one cannot be shown
  training: Training | null;
}

const PERIOD = 1000; // milliseconds
const PATIENCE = 5; // failures until it is told

export class Live {
  private failures = 0;

  constructor(
    private readonly source: Source,
    private readonly onStatus: (status: Status) => Promise<void> | void,
    private readonly onLoss: () => void,
  ) {}

  start(): void {
    void this.ask();
  }

  private async ask(): Promise<void> {
    if (!document.hidden) {
      try {
        await this.onStatus(await this.source.status());
        this.failures = 0;
      } catch {
        if (++this.failures === PATIENCE) this.onLoss();
      }
    }
    setTimeout(() => void this.ask(), PERIOD * (this.failures < PATIENCE ? 1 : 5));
  }
}

// "1:05:00", "4:07", "12 s".
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
