// A video that the user chose becomes what the server takes: a few of its frames as pictures (src/io/clip.h of the program).
// The browser decodes it, so that the program reads nothing but pictures, and every kind that the browser plays will do.

export interface VideoLimits {
  bytes: number;
  frames: number;
}

export const LONGEST = 10; // seconds that are looked at
const LONGEST_SIDE = 1024; // of a frame; the networks see 576 pixels
const PATIENCE = 20000; // milliseconds for one step of the decoder

// At which seconds `count` frames are taken: evenly, in the middle of equal parts.
export function frameTimes(duration: number, count: number): number[] {
  const length = Math.min(duration, LONGEST);
  return Array.from({ length: count }, (_, i) => ((i + 0.5) * length) / count);
}

// The frames' files in one.
export function clipOf(frames: Blob[]): Blob {
  const number = (value: number) => {
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setUint32(0, value, true);
    return bytes.buffer;
  };
  return new Blob(["EG4DCLIP", number(frames.length), ...frames.flatMap((frame) => [number(frame.size), frame])]);
}

// What a media element tells, or that it cannot.
function event(video: HTMLVideoElement, name: string): Promise<void> {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error("it takes too long")), PATIENCE);
    video.addEventListener(name, () => (clearTimeout(timer), done()), { once: true });
    video.addEventListener("error", () => (clearTimeout(timer), fail(new Error(""))), { once: true });
  });
}

async function seek(video: HTMLVideoElement, seconds: number): Promise<void> {
  const there = event(video, "seeked");
  video.currentTime = seconds;
  await there;
}

async function frameOf(video: HTMLVideoElement, canvas: HTMLCanvasElement): Promise<Blob> {
  const context = canvas.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  context.drawImage(video, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  if (!blob) throw new Error("no frame can be made of it");
  return blob;
}

export interface Clip {
  blob: Blob;
  cut: boolean; // the video goes on behind what was taken
}

// Throws an Error, a sentence.
export async function clipOfVideo(file: File, limits: VideoLimits, onProgress: (share: number) => void): Promise<Clip> {
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.preload = "auto";
  const address = URL.createObjectURL(file);
  try {
    const known = event(video, "loadeddata");
    video.src = address;
    await known;
    // What was recorded in a browser does not tell how long it is until its end was looked for.
    if (!Number.isFinite(video.duration)) await seek(video, 1e9);
    const duration = Number.isFinite(video.duration) ? video.duration : video.currentTime;
    if (!(duration > 0) || video.videoWidth === 0) throw new Error("it has no moving picture");
    const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
    canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
    const frames: Blob[] = [];
    for (const time of frameTimes(duration, limits.frames)) {
      await seek(video, time);
      frames.push(await frameOf(video, canvas));
      onProgress(frames.length / limits.frames);
    }
    const blob = clipOf(frames);
    if (blob.size > limits.bytes) throw new Error("its frames are too large");
    return { blob, cut: duration > LONGEST };
  } catch (error) {
    const why = (error as Error).message;
    throw new Error(`“${file.name}” is no video that this browser can read${why ? `: ${why}` : ""}.`);
  } finally {
    video.removeAttribute("src");
    video.load();
    URL.revokeObjectURL(address);
  }
}
