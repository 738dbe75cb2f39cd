// Files of what is shown.

export function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function pngOf(pixels: Uint8ClampedArray<ArrayBuffer>, width: number, height: number): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")!.putImageData(new ImageData(pixels, width, height), 0, 0);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("The browser cannot make a PNG of this size.");
  return blob;
}

// "robot 0.50.png": letters that any file system takes.
export function fileName(title: string, rest: string): string {
  return `${title.replace(/[^\p{L}\p{N} ._-]+/gu, "_").trim() || "object"}${rest}`;
}

const TYPES = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm", "video/mp4"];

// Records what the canvas shows, in real time.
export class Recorder {
  private recorder: MediaRecorder | null = null;
  private parts: Blob[] = [];

  static get isPossible(): boolean {
    return typeof MediaRecorder !== "undefined" && TYPES.some((type) => MediaRecorder.isTypeSupported(type));
  }
  get isRunning(): boolean {
    return this.recorder !== null;
  }

  start(canvas: HTMLCanvasElement): void {
    const type = TYPES.find((one) => MediaRecorder.isTypeSupported(one));
    if (!type) throw new Error("This browser cannot record videos.");
    const recorder = new MediaRecorder(canvas.captureStream(60), { mimeType: type, videoBitsPerSecond: 16e6 });
    this.parts = [];
    recorder.addEventListener("dataavailable", (event) => this.parts.push(event.data));
    recorder.start(1000);
    this.recorder = recorder;
  }

  // The video, and how its name ends.
  async stop(): Promise<{ blob: Blob; extension: string }> {
    const { recorder } = this;
    if (!recorder) throw new Error("Nothing is recorded.");
    this.recorder = null;
    const ended = new Promise((resolve) => recorder.addEventListener("stop", resolve));
    recorder.stop();
    await ended;
    for (const track of recorder.stream.getTracks()) track.stop();
    const blob = new Blob(this.parts, { type: recorder.mimeType });
    return { blob, extension: recorder.mimeType.startsWith("video/mp4") ? ".mp4" : ".webm" };
  }
}
