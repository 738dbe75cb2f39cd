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

const root = document.getElementById("viewer")!;
const lack = missing();
if (lack) {
  showFailure(root, lack);
} else {
  const link = readLink(location.hash);
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
