// The server of `eg4d view`: what it tells and takes (src/view/viewer_site.h of the program).

export interface Preset {
  name: string;
  about: string;
  missing: string; // why it cannot run; empty when it can
}
export interface Home {
  program: string;
  token_reads: boolean;
  title: string; // of the folder
  run: string | null; // the one object that is shown alone
  make: { most_bytes: number; most_pixels: number; most_frames: number; presets: Preset[] } | null;
  no_make?: string; // why nothing can be made
}

export type RunState = "waiting" | "running" | "stopping" | "paused" | "cancelled" | "failed" | "unfinished" | "finished";
export interface Run {
  id: string;
  name: string;
  state: RunState;
  stage: string;
  changed: number; // seconds since 1970
  psnr: number | null;
  model: boolean;
  job?: {
    preset: string;
    message: string;
    before?: number; // jobs that come before it
    progress?: { label: string; step: number; total: number; seconds_left: number; warning: string };
  };
}
export interface RunDetails extends Run {
  stages: { name: string; finished: boolean; seconds: number }[];
  frames: number;
  views: number[]; // that are painted, of each moment
}

export class Server {
  private readonly pictures = new Map<string, Promise<string | null>>();

  constructor(readonly token: string | null) {}

  private get headers(): Record<string, string> {
    return this.token ? { "X-Eg4d-Token": this.token } : {};
  }
  async ask(path: string, method = "GET"): Promise<Response> {
    let response: Response;
    try {
      response = await fetch("/api/" + path, { method, headers: this.headers });
    } catch {
      throw new Error("The viewer's server does not answer. Is eg4d view still running?");
    }
    if (!response.ok) throw new Error(sentence(await response.text(), response.status));
    return response;
  }
  async json<Value>(path: string): Promise<Value> {
    return (await this.ask(path)).json() as Promise<Value>;
  }
  async post(path: string): Promise<void> {
    await this.ask(path, "POST");
  }

  // The address of a run's picture; null where there is none. Asked once for each path.
  picture(path: string): Promise<string | null> {
    let address = this.pictures.get(path);
    if (!address) {
      address = this.ask(path).then(async (response) => URL.createObjectURL(await response.blob()), () => null);
      this.pictures.set(path, address);
      // What is not there yet may come.
      void address.then((found) => found ?? this.pictures.delete(path));
    }
    return address;
  }

  // Returns the new run's id.
  upload(preset: string, name: string, picture: Blob, onProgress: (share: number) => void): Promise<string> {
    return new Promise((done, fail) => {
      const request = new XMLHttpRequest();
      request.open("POST", `/api/jobs/${encodeURIComponent(preset)}/${encodeURIComponent(name)}`);
      for (const [key, value] of Object.entries(this.headers)) request.setRequestHeader(key, value);
      request.upload.onprogress = (event) => onProgress(event.loaded / Math.max(event.total, 1));
      request.onerror = () => fail(new Error("The picture did not arrive. Is eg4d view still running?"));
      request.onload = () => {
        if (request.status === 200) done((JSON.parse(request.responseText) as { id: string }).id);
        else fail(new Error(sentence(request.responseText, request.status)));
      };
      request.send(picture);
    });
  }
}

// "it was killed" as a sentence of its own.
export function asSentence(text: string): string {
  const plain = text.trim();
  return plain === "" ? "" : plain[0]!.toUpperCase() + plain.slice(1) + (/[.!?]$/.test(plain) ? "" : ".");
}
function sentence(text: string, status: number): string {
  return asSentence(text) || `The server answers ${status}.`;
}
