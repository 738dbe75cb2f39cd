import "./style.css";
import "./home/home.css";
import { App } from "./app";
import { Gallery } from "./home/gallery";
import { RunPage } from "./home/run_page";
import { Server, type Home } from "./server";
import { sourceInPage, sourceOf, type Source } from "./source";
import { readLink, type LinkState } from "./state/link";
import { showFailure } from "./ui/page";

const root = document.getElementById("viewer")!;

// What the browser lacks, as a sentence.
function missing(): string | null {
  if (!document.createElement("canvas").getContext("webgl2"))
    return "This page needs WebGL 2, which this browser does not have or has turned off. A current Firefox, Chrome, Edge or Safari has it.";
  if (typeof DecompressionStream === "undefined") return "This browser is too old for this page: it lacks DecompressionStream. A current one has it.";
  return null;
}

// The token of the printed link, also when the page is loaded again: the address does not keep it.
function keepToken(token: string | null): string | null {
  try {
    if (token) sessionStorage.setItem("eg4d-token", token);
    return token ?? sessionStorage.getItem("eg4d-token");
  } catch {
    return token; // a page from disk may have no storage
  }
}

async function showObject(source: Source, link: LinkState, back: string | null): Promise<void> {
  const lack = missing();
  if (lack) throw new Error(lack);
  const app = new App(source, link, root, back);
  const ready = app.start();
  Object.assign(window, { eg4d: { app, ready } }); // for scripts and tests
  await ready;
}

// A page with an object in it, or what a server shows: the list of its runs, or one of them, which may have no object yet.
let back: string | null = null;
async function start(): Promise<void> {
  const link = readLink(location.hash);
  const inPage = sourceInPage();
  if (inPage) return showObject(inPage, link, null);
  link.token = keepToken(link.token);
  const server = new Server(link.token);
  const home = await server.json<Home>("home");
  back = home.run ? null : home.token_reads && link.token ? `#token=${link.token}` : "#";
  const run = home.run ?? link.run;
  // Another run, or the list again.
  window.addEventListener("hashchange", () => {
    if (!home.run && readLink(location.hash).run !== link.run) location.reload();
  });
  if (!run) {
    history.replaceState(null, "", back);
    new Gallery(root, server, home).start();
    Object.assign(window, { eg4d: { ready: Promise.resolve() } });
    return;
  }
  const source = sourceOf(server, run);
  if ((await source.status()).version === 0) await new RunPage(root, server, source, run, back).whenThereIsAModel();
  await showObject(source, link, back);
}

start().catch((error: Error) => showFailure(root, error.message, back));
