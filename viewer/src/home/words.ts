import { duration } from "../live";
import { asSentence, type Run, type RunState } from "../server";

// What the page says of runs and jobs.

const STATES: Record<RunState, string> = {
  waiting: "Waiting",
  running: "Running",
  stopping: "Stopping",
  paused: "Paused",
  cancelled: "Cancelled",
  failed: "Failed",
  unfinished: "Unfinished",
  finished: "Finished",
};
export const stateWord = (state: RunState): string => STATES[state];

const STAGES: Record<string, string> = {
  animate: "Video",
  multiview: "Views",
  reconstruct: "Reconstruction",
  refine: "Refinement",
  present: "Presentation",
};
export const stageWord = (stage: string): string => STAGES[stage] ?? stage;

// "2/5 multiview: denoising" is step 2 of 5, Views: denoising.
export function progressWords(label: string): string {
  const found = /^(\d+)\/(\d+) (?:(\S+): )?(.*)$/.exec(label);
  if (!found) return label;
  const [, step, of, stage, what] = found;
  return `Step ${step} of ${of} · ${stage ? `${stageWord(stage)}: ` : ""}${what}`;
}

// One line on how it stands.
export function runWords(run: Run): string {
  const { job } = run;
  if (run.state === "failed") return asSentence(job?.message ?? "");
  if (run.state === "waiting") return job?.before ? `${job.before} before it` : "It is the next";
  if (run.state === "finished") return job ? `Preset ${job.preset}` : "";
  const progress = job?.progress;
  if (progress?.label) {
    const left = progress.seconds_left >= 0 ? `, ${duration(progress.seconds_left)} left` : "";
    return progressWords(progress.label) + left;
  }
  return run.stage ? stageWord(run.stage) : "";
}

// The share of the whole of a job's running piece; null while it is not known.
export function shareDone(run: Run): number | null {
  const progress = run.job?.progress;
  return progress && progress.total > 1 ? Math.min(1, progress.step / progress.total) : null;
}

// "3 minutes ago", "12 Mar 2026".
export function when(seconds: number, now: number): string {
  const passed = Math.max(0, now - seconds);
  const ago = (count: number, unit: string) => `${count} ${unit}${count === 1 ? "" : "s"} ago`;
  if (seconds <= 0) return "";
  if (passed < 60) return "just now";
  if (passed < 3600) return ago(Math.floor(passed / 60), "minute");
  if (passed < 86400) return ago(Math.floor(passed / 3600), "hour");
  if (passed < 7 * 86400) return ago(Math.floor(passed / 86400), "day");
  return new Date(1000 * seconds).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}
