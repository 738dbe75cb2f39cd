import { asSentence, type Home, type Server } from "../server";
import { h, icon } from "../ui/elements";
import { pictureOf } from "./picture_file";
import { clipOfVideo, LONGEST } from "./video_file";

// Where pictures and videos are dropped or chosen, which become jobs.
export class MakePart {
  readonly element: HTMLElement;
  private readonly preset = h("select", { "aria-label": "Preset" });
  private readonly about = h("p.note");
  private readonly progress = h("progress", { max: 1, hidden: true, "aria-label": "Sending" });
  private sending = Promise.resolve();

  // `onJob` is called for each new job, `tell` with sentences.
  constructor(private readonly server: Server, private readonly home: Home, private readonly onJob: (id: string) => void, private readonly tell: (sentence: string) => void) {
    this.element = h("section.make", { "aria-label": "Make an object" });
    const { make } = home;
    const lack = !make ? (home.no_make ?? "") : !server.token ? "To make objects here, open the link that eg4d printed." : "";
    if (!make || lack) {
      this.element.append(h("p.note", {}, lack));
      this.element.hidden = lack === "";
      return;
    }
    for (const preset of make.presets)
      this.preset.append(h("option", { value: preset.name, disabled: preset.missing !== "" }, preset.missing ? `${preset.name} (not here)` : preset.name));
    this.preset.addEventListener("change", () => this.showAbout());
    this.showAbout();
    this.element.append(
      h("div.invitation", {}, icon("photo"), h("div", {}, h("h2", {}, "Make one"), h("p", {}, "Drop a picture of an object, or a short video of one, on this page. It becomes an animated 3D object."))),
      h("div.row", {}, ...this.chooser("photo", "Choose a file", "image/*,video/*"), ...this.chooser("camera", "Take a photo", "image/*", "environment"), ...this.chooser("camera", "Take a video", "video/*", "environment"), h("label.preset", {}, h("span", {}, "Preset"), this.preset)),
      this.about, ...[this.others()].filter((part) => part !== null), this.progress);
  }

  // Files that are dropped anywhere on the page. Returns what ends it.
  listenForDrops(target: HTMLElement): void {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const over = (event: DragEvent, inside: boolean) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.element.classList.toggle("over", inside);
    };
    target.addEventListener("dragover", (event) => over(event, true));
    target.addEventListener("dragleave", (event) => over(event, false));
    target.addEventListener("drop", (event) => {
      over(event, false);
      if (event.dataTransfer) void this.send([...event.dataTransfer.files]);
    });
    window.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length > 0) void this.send(files);
    });
  }

  private chooser(name: "photo" | "camera", text: string, accept: string, capture?: string): HTMLElement[] {
    const input = h("input", { type: "file", accept, multiple: !capture, capture, hidden: true, "aria-label": text });
    input.addEventListener("change", () => {
      void this.send([...(input.files ?? [])]);
      input.value = "";
    });
    const button = h(`button.action.${name}` as "button", { type: "button", onclick: () => input.click() }, icon(name), h("span", {}, text));
    return [button, input];
  }

  private showAbout(): void {
    const chosen = this.home.make!.presets.find((preset) => preset.name === this.preset.value);
    this.about.textContent = chosen ? asSentence(chosen.missing || chosen.about) : "";
  }
  // What presets lack that cannot run.
  private others(): HTMLElement | null {
    const others = this.home.make!.presets.filter((preset) => preset.missing !== "");
    if (others.length === 0) return null;
    return h("details.note", {}, h("summary", {}, "Presets that are not here"), ...others.map((preset) => h("p", {}, `${preset.name}: ${preset.missing}.`)));
  }

  // One after the other; those that come meanwhile, behind.
  private send(files: File[]): Promise<void> {
    for (const file of files) this.sending = this.sending.then(() => this.sendOne(file));
    return this.sending;
  }
  private async clipOf(file: File): Promise<Blob> {
    const { most_bytes, most_frames } = this.home.make!;
    const { blob, cut } = await clipOfVideo(file, { bytes: most_bytes, frames: most_frames }, (share) => (this.progress.value = share));
    if (cut) this.tell(`The first ${LONGEST} seconds of “${file.name}” are taken.`);
    return blob;
  }
  private async sendOne(file: File): Promise<void> {
    const { make } = this.home;
    if (!make || !this.server.token) return;
    try {
      this.progress.value = 0;
      this.progress.hidden = false;
      const sent = file.type.startsWith("video/") ? await this.clipOf(file) : await pictureOf(file, { bytes: make.most_bytes, pixels: make.most_pixels });
      // The name is one part of an address.
      const name = file.name.replace(/[/\\\u0000-\u001f\u007f]/g, "-");
      this.onJob(await this.server.upload(this.preset.value, /^\.{0,2}$/.test(name) ? "object" : name, sent, (share) => (this.progress.value = share)));
    } catch (error) {
      this.tell((error as Error).message);
    }
    this.progress.hidden = true;
  }
}
