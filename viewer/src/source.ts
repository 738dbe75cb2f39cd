// Where the object comes from: the server of `eg4d view`, or the page itself (`eg4d export -o viewer.html`).

import type { Status } from "./live";
import type { Server } from "./server";

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
  constructor(private readonly server: Server, private readonly run: string) {}

  private ask(path: string): Promise<Response> {
    return this.server.ask(`runs/${this.run}/${path}`);
  }
  async info(): Promise<Info> {
    return (await this.ask("info")).json() as Promise<Info>;
  }
  async scene(): Promise<ReadableStream<Uint8Array>> {
    return (await this.ask("scene")).body!;
  }
  async cameras(): Promise<Cameras> {
    return (await this.ask("cameras")).json() as Promise<Cameras>;
  }
  async picture(split: string, index: number): Promise<Blob> {
    return (await this.ask(`picture/${encodeURIComponent(split)}/${index}`)).blob();
  }
  async status(): Promise<Status> {
    return (await this.ask("status")).json() as Promise<Status>;
  }
  command(word: "pause" | "continue" | "stop"): Promise<void> {
    return this.server.post(`runs/${this.run}/training/${word}`);
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
    return Promise.resolve({ splits: [] }); // and no word on it
  }
  picture(): Promise<Blob> {
    return Promise.reject(new Error("A page without its server has no pictures."));
  }
  status(): Promise<Status> {
    return Promise.resolve({ version: 1, failure: "", training: null });
  }
  command(): Promise<void> {
    return Promise.reject(new Error("A page without its server trains nothing."));
  }
}

export function sourceOf(server: Server, run: string): Source {
  return new ServerSource(server, run);
}
// The object that stands in the page itself; null where there is none.
export function sourceInPage(): Source | null {
  const info = document.getElementById("eg4d-info")?.textContent;
  const scene = document.getElementById("eg4d-scene")?.textContent;
  return info && scene ? new PageSource(info, scene) : null;
}
