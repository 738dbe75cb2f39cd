// What the user has chosen; everything that draws asks here.

export type Shown = "color" | "points" | "depth" | "alpha";
export type Comparing = "off" | "wipe" | "blend" | "beside" | "error";
export type BackgroundName = "object" | "white" | "grey" | "black" | "checker" | "custom";

export interface Settings {
  shown: Shown;
  canonical: boolean;
  ownColors: boolean;
  background: BackgroundName;
  customBackground: string; // "#rrggbb"
  flying: boolean;
  spinning: boolean;
  figures: boolean; // statistics
  panel: boolean;
  comparing: Comparing;
  amount: number; // of wipe or blend
  preset: { split: string; index: number } | null; // a camera of the dataset
}

export const DEFAULTS: Settings = {
  shown: "color",
  canonical: false,
  ownColors: false,
  background: "object",
  customBackground: "#7a8ba8",
  flying: false,
  spinning: false,
  figures: false,
  panel: false,
  comparing: "off",
  amount: 0.5,
  preset: null,
};

type Listener = (settings: Settings, changed: (keyof Settings)[]) => void;

export class SettingStore {
  private readonly listeners: Listener[] = [];
  constructor(private settings: Settings) {}

  get current(): Readonly<Settings> {
    return this.settings;
  }
  set(change: Partial<Settings>): void {
    const changed = (Object.keys(change) as (keyof Settings)[]).filter((key) => change[key] !== this.settings[key]);
    if (changed.length === 0) return;
    this.settings = { ...this.settings, ...change };
    for (const listener of this.listeners) listener(this.settings, changed);
  }
  listen(listener: Listener): void {
    this.listeners.push(listener);
  }
}

export function colorOf(hex: string): [number, number, number] {
  const value = parseInt(hex.slice(1), 16);
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}
