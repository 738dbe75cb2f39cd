// Where the object comes from: the server of `eg4d view`, or the page itself (`eg4d export -o viewer.html`).

import type { Status } from "./live";

export interface Info {
  title: string;
  model: string;
  stage: string;
  program: string;
  iterations: number;
  frames: number;
  preset?: string;
  served: boolean;
  token_reads: boolean;
  live: boolean; // a run, which may go on being trained
}

export interface DatasetFrame {
  name: string;
  time: number;
  width: number;
  height: number;
  fov_x: number;
  fov_y: number;
  center_x?: number;
  center_y?: number;
  view?: number;
  pose: number[];
}
export interface Cameras {
  splits: { name: string; frames: DatasetFrame[] }[];
  note?: string;
}

export interface Source {
  info(): Promise<Info>;
  scene(): Promise<ReadableStream<Uint8Array>>;
  cameras(): Promise<Cameras>;
  picture(split: string, index: number): Promise<Blob>;
  status(): Promise<Status>;
  command(word: "pause" | "continue" | "stop"): Promise<void>;
}

class ServerSource implements Source {
  constructor(private readonly token: string | null) {}

  private async get(path: string, method = "GET"): Promise<Response> {
    let response: Response;
    try {
      response = await fetch("/api/" + path, { method, headers: this.token ? { "X-Eg4d-Token": this.token } : {} });
    } catch {
      throw new Error("The viewer's server does not answer. Is eg4d view still running?");
    }
    if (!response.ok) throw new Error((await response.text()).trim() || `The server answers ${response.status}.`);
    return response;
  }
  async info(): Promise<Info> {
    return (await this.get("info")).json() as Promise<Info>;
  }
  async scene(): Promise<ReadableStream<Uint8Array>> {
    return (await this.get("scene")).body!;
  }
  async cameras(): Promise<Cameras> {
    return (await this.get("cameras")).json() as Promise<Cameras>;
  }
  async picture(split: string, index: number): Promise<Blob> {
    return (await this.get(`picture/${encodeURIComponent(split)}/${index}`)).blob();
  }
  async status(): Promise<Status> {
    return (await this.get("status")).json() as Promise<Status>;
  }
  async command(word: "pause" | "continue" | "stop"): Promise<void> {
    await this.get(`training/${word}`, "POST");
  }
}

function fromBase64(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; ++i) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

class PageSource implements Source {
  constructor(private readonly infoText: string, private readonly sceneText: string) {}

  info(): Promise<Info> {
    return Promise.resolve(JSON.parse(this.infoText) as Info);
  }
  scene(): Promise<ReadableStream<Uint8Array>> {
    const bytes = fromBase64(this.sceneText);
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    });
    return Promise.resolve(stream);
  }
  cameras(): Promise<Cameras> {
    return Promise.resolve({ splits: [], note: "A page without its server has no dataset." });
  }
  picture(): Promise<Blob> {
    return Promise.reject(new Error("A page without its server has no pictures."));
  }
  status(): Promise<Status> {
    return Promise.resolve({ version: 1, training: null });
  }
  command(): Promise<void> {
    return Promise.reject(new Error("A page without its server trains nothing."));
  }
}

export function openSource(token: string | null): Source {
  const info = document.getElementById("eg4d-info")?.textContent;
  const scene = document.getElementById("eg4d-scene")?.textContent;
  return info && scene ? new PageSource(info, scene) : new ServerSource(token);
}
