// How the server of `eg4d view` bears a crowd: `node e2e/load.mjs PROGRAM RUN [SECONDS]`; RUN may be a folder of runs, whose
// list and first object are asked for then. 64 clients: 24 that ask for everything
// again and again, 20 that read the object at a kilobyte a second, 20 whose requests drip and never end; besides
// 4 new connections a second that say nothing. Tells the latencies of one more client, and the server's memory and threads.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { connect } from "node:net";

const [program, run, seconds = "60"] = process.argv.slice(2);
const child = spawn(program, ["view", run, "--no-open", "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
const port = await new Promise((done) => {
  let said = "";
  child.stderr.on("data", (text) => {
    const found = /127\.0\.0\.1:(\d+)\//.exec((said += text));
    if (found) done(Number(found[1]));
  });
});
const state = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]);
const ask = async (path) => (await fetch(`http://127.0.0.1:${port}/api/${path}`)).json();
const home = await ask("home");
const id = home.run ?? (await ask("runs")).runs.find((found) => found.model).id;
const objectPaths = ["info", "scene", "cameras"].map((name) => `/api/runs/${id}/${name}`);
const paths = ["/", ...objectPaths, ...(home.run ? [] : ["/api/runs", `/api/runs/${id}`, `/api/runs/${id}/thumbnail`])];
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
let end = 0;
const counts = { whole: 0, failed: 0, slow: 0, dripped: 0 };

function fetchWhole(path, agent) {
  return new Promise((done) => {
    const request = get({ host: "127.0.0.1", port, path, agent }, (response) => {
      let bytes = 0;
      response.on("data", (data) => (bytes += data.length));
      response.on("end", () => done(response.statusCode === 200 ? bytes : -1));
      response.on("error", () => done(-1));
    });
    request.on("error", () => done(-1));
  });
}
async function eager() {
  const agent = new Agent({ keepAlive: true });
  while (Date.now() < end)
    for (const path of paths) {
      ++counts[(await fetchWhole(path, agent)) >= 0 ? "whole" : "failed"];
      await sleep(500 * Math.random());
    }
  agent.destroy();
}
async function endless(text, period, name) {
  while (Date.now() < end) {
    await new Promise((done) => {
      const socket = connect(port, "127.0.0.1");
      let timer;
      socket.on("connect", () => {
        socket.write(text);
        timer = setInterval(() => {
          if (Date.now() > end) socket.destroy();
          else if (name === "slow") socket.read(1024);
          else socket.write("x");
        }, period);
      });
      socket.pause();
      socket.on("error", () => undefined);
      socket.on("end", () => socket.destroy());
      socket.on("close", () => (clearInterval(timer), ++counts[name], done()));
      setTimeout(() => socket.destroy(), 1000 * Number(seconds) + 2000).unref();
    });
  }
}
async function flood() {
  while (Date.now() < end) {
    connect(port, "127.0.0.1").on("error", () => undefined).unref();
    await sleep(250);
  }
}

for (let i = 0; i < 100 && (await ask(`runs/${id}/status`)).version === 0; ++i) await sleep(200);
await sleep(4000); // until the object is made
end = Date.now() + 1000 * Number(seconds);
const before = { memory: state("VmRSS"), threads: state("Threads") };
let memory = 0;
let threads = 0;
const latencies = [];
async function probe() {
  while (Date.now() < end) {
    const begin = performance.now();
    if ((await fetchWhole("/api/home", new Agent())) >= 0) latencies.push(performance.now() - begin);
    else ++counts.failed;
    memory = Math.max(memory, state("VmRSS"));
    threads = Math.max(threads, state("Threads"));
    await sleep(100);
  }
}
const host = `Host: 127.0.0.1:${port}\r\n`;
const crowd = [probe(), flood()];
for (let i = 0; i < 24; ++i) crowd.push(eager());
for (let i = 0; i < 20; ++i) crowd.push(endless(`GET ${objectPaths[1]} HTTP/1.1\r\n${host}\r\n`, 1000, "slow"));
for (let i = 0; i < 20; ++i) crowd.push(endless(`GET / HTTP/1.1\r\n${host}X-`, 1500, "dripped"));
await Promise.all(crowd);
child.kill("SIGINT");
latencies.sort((a, b) => a - b);
const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))].toFixed(1);
console.log(`${seconds} s, 64 clients: ${counts.whole} whole answers, ${counts.failed} failed; ${counts.slow} slow readers and ${counts.dripped} dripping requests ended`);
console.log(`latency of another client's request: median ${at(0.5)} ms, 95 % ${at(0.95)} ms, 99 % ${at(0.99)} ms, most ${at(1)} ms (${latencies.length} requests)`);
console.log(`memory ${(before.memory / 1024).toFixed(1)} MiB before, ${(memory / 1024).toFixed(1)} MiB at most; threads ${before.threads} and ${threads}`);
process.exit(0);
