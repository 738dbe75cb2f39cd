import { createHash } from "node:crypto";
import { defineConfig, type Plugin } from "vite";

// Everything in one file, which the program serves as it is and puts objects into: script and style stand in the page,
// and its Content-Security-Policy knows their hashes and lets nothing else in.
function onePage(): Plugin {
  const hash = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  return {
    name: "one-page",
    enforce: "post",
    generateBundle(_options, bundle) {
      let script = "";
      let style = "";
      for (const [name, file] of Object.entries(bundle)) {
        if (file.type === "chunk") script += file.code;
        else if (name.endsWith(".css")) style += file.source;
        else continue;
        delete bundle[name];
      }
      script = script.replaceAll("</script", "<\\/script").replaceAll("<!--", "\\x3c!--");
      const page = bundle["index.html"];
      if (page?.type !== "asset") throw new Error("there is no index.html");
      const policy = [
        "default-src 'none'",
        `script-src ${hash(script)}`,
        `style-src ${hash(style)}`,
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
      ].join("; ");
      const html = String(page.source)
        .replace(/\s*<script type="module"[^>]*><\/script>/g, "")
        .replace(/\s*<link rel="stylesheet"[^>]*>/g, "")
        .replace("<!--eg4d-head-->", () =>
          `<meta http-equiv="Content-Security-Policy" content="${policy}">\n<style>${style}</style>`)
        .replace("</body>", () => `<script type="module">${script}</script>\n</body>`);
      delete bundle["index.html"];
      this.emitFile({ type: "asset", fileName: "viewer.html", source: html });
    },
  };
}

export default defineConfig({
  plugins: [onePage()],
  build: { target: "es2022", modulePreload: false, cssCodeSplit: false, assetsInlineLimit: 1e9, emptyOutDir: true },
  server: { proxy: { "/api": "http://127.0.0.1:8400" } },
  // No test is timed; one that hangs ends.
  test: { include: ["tests/**/*.test.ts"], testTimeout: 300000 },
} as Parameters<typeof defineConfig>[0]);
