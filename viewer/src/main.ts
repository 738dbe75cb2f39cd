import "./style.css";
import { App } from "./app";
import { openSource } from "./source";
import { readLink } from "./state/link";
import { showFailure } from "./ui/page";

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

const root = document.getElementById("viewer")!;
const lack = missing();
if (lack) {
  showFailure(root, lack);
} else {
  const link = readLink(location.hash);
  link.token = keepToken(link.token);
  try {
    const app = new App(openSource(link.token), link, root);
    const ready = app.start();
    ready.catch((error: Error) => app.page.fail(error.message));
    // For scripts and tests.
    Object.assign(window, { eg4d: { app, ready } });
  } catch (error) {
    showFailure(root, (error as Error).message);
  }
}
