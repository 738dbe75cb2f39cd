import type { App } from "./app";
import type { Controls } from "./camera/controls";

// What a key does; by the letter that is typed, so that it is the same on every keyboard.
export function shortcut(event: KeyboardEvent, app: App, controls: Controls): void {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || app.page.help.element.open) return;
  if (target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "range" && target.type !== "checkbox")) return;
  if (controls.key(event.code)) return event.preventDefault();
  // A button that has the focus is pressed by Space.
  if (event.key === " " && target instanceof HTMLButtonElement) return;
  const action = actions(app)[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
  app.changed(false);
}

function actions(app: App): Record<string, () => void> {
  const { clock, store, page } = app;
  const { current } = store;
  return {
    " ": () => clock.toggle(),
    ArrowLeft: () => clock.step(-1),
    ArrowRight: () => clock.step(1),
    Home: () => clock.seek(0),
    End: () => clock.seek(1),
    "[": () => clock.faster(-1),
    "]": () => clock.faster(1),
    l: () => clock.nextLooping(),
    "+": () => app.zoom(0.9),
    "=": () => app.zoom(0.9),
    "-": () => app.zoom(1 / 0.9),
    r: () => app.resetCamera(),
    t: () => store.set({ spinning: !current.spinning }),
    g: () => app.addKeyCamera(),
    f: () => store.set({ flying: !current.flying }),
    n: () => app.stepPreset(1),
    m: () => app.stepPreset(-1),
    "1": () => store.set({ shown: "color" }),
    "2": () => store.set({ shown: "points" }),
    "3": () => store.set({ shown: "depth" }),
    "4": () => store.set({ shown: "alpha" }),
    c: () => store.set({ canonical: !current.canonical }),
    o: () => store.set({ ownColors: !current.ownColors }),
    b: () => app.cycleBackground(),
    x: () => app.cycleComparing(),
    p: () => page.actions.screenshot("1"),
    v: () => page.actions.record(),
    k: () => page.actions.copyLink(),
    i: () => store.set({ figures: !current.figures, panel: true }),
    s: () => store.set({ panel: !current.panel }),
    h: () => page.help.toggle(),
    "?": () => page.help.toggle(),
  };
}
