// Files of Gaussians between eg4d and independent programs, both ways: node check.mjs EG4D FOLDER. The folder is
// where node_modules lie and where files go. Ends with 1 and a list when something is off.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { errorsBetween, makeSplats, readPly, writePly } from "./splats.mjs";

const [eg4d, folder] = process.argv.slice(2).map((argument) => path.resolve(argument));
const require = createRequire(path.join(folder, "node_modules/"));
const validator = require("gltf-validator");
const files = path.join(folder, "files");
fs.rmSync(files, { recursive: true, force: true });
fs.mkdirSync(files, { recursive: true });
const at = (name) => path.join(files, name);
const failures = [];

function ours(from, to, ...options) {
  execFileSync(eg4d, ["export", at(from), "-o", at(to), "--device", "cpu", ...options], { stdio: "pipe" });
}
function theirs(from, to, ...options) {
  const cli = path.join(folder, "node_modules/@playcanvas/splat-transform/bin/cli.mjs");
  execFileSync(process.execPath, [cli, "-q", "-w", "-g", "cpu", at(from), at(to), ...options], { stdio: "pipe" });
}

// Every attribute within its bound; what is not bounded is lost by the format.
function expectClose(what, errors, bounds) {
  const text = Object.entries(errors).map(([key, value]) => `${key} ${value.toPrecision(2)}`).join(", ");
  console.log(`${what}: ${text}`);
  for (const [key, bound] of Object.entries(bounds))
    if (!(errors[key] <= bound)) failures.push(`${what}: ${key} is off by ${errors[key]}, at most ${bound} is allowed`);
}

const original = makeSplats(400);
writePly(at("original.ply"), original);
const exact = { position: 1e-5, scale: 1e-5, rotation: 1e-6, colour: 0.01, opacity: 1e-5, harmonics: 1e-5 };
const packed = { position: 2e-3, scale: 2e-3, rotation: 1e-5, colour: 1, opacity: 2.1e-3, harmonics: 0.033 };
const splat = { position: 1e-5, scale: 1e-5, rotation: 1e-3, colour: 1, opacity: 4e-3 };
const spz = { position: 3e-4, scale: 0.032, rotation: 2e-5, colour: 1, opacity: 2.1e-3, harmonics: 0.0041 };
const sog = { position: 2e-4, scale: 0.01, rotation: 2e-4, colour: 1.5, opacity: 4.1e-3, harmonics: 0.01 };

// What we write, as they read it.
const written = [["a.ply", exact], ["a.compressed.ply", packed], ["a.splat", splat], ["a3.spz", spz],
  ["a4.spz", spz, "--spz-version", "4"], ["a.sog", sog]];
for (const [name, bounds, ...options] of written) {
  ours("original.ply", name, ...options);
  theirs(name, `${name}.theirs.ply`);
  expectClose(`eg4d -> ${name} -> splat-transform`, errorsBetween(original, readPly(at(`${name}.theirs.ply`))), bounds);
}
// What they write, as we read it. Their SOG and spz have coarser harmonics.
const read = [["b.ply", exact], ["b.compressed.ply", packed], ["b.spz", { ...spz, harmonics: 0.07 }],
  ["b.sog", { ...sog, position: 3e-4, rotation: 1e-3, scale: 0.02, colour: 3, harmonics: 0.3 }]];
for (const [name, bounds] of read) {
  theirs("original.ply", name);
  ours(name, `${name}.ours.ply`);
  expectClose(`splat-transform -> ${name} -> eg4d`, errorsBetween(original, readPly(at(`${name}.ours.ply`))), bounds);
}

// GLB: Khronos' validator, and the same numbers as theirs, which stands half a turn about y from ours.
function readGlb(name) {
  const file = fs.readFileSync(at(name)), length = file.readUInt32LE(12);
  const gltf = JSON.parse(file.subarray(20, 20 + length).toString()), binary = 28 + length;
  const { attributes } = gltf.meshes[0].primitives[0];
  return (attribute, width) => {
    const view = gltf.bufferViews[gltf.accessors[attributes[attribute]].bufferView];
    return (i, k) => file.readFloatLE(binary + (view.byteOffset ?? 0) + 4 * (i * width + k));
  };
}
ours("original.ply", "a.glb");
theirs("original.ply", "b.glb");
// The newest validator on npm is older than the extension: it takes the names that the extension defines for
// errors, and no others may there be. Under names that every application may give, it looks at their values.
const glb = fs.readFileSync(at("a.glb"));
async function validate(what, bytes, isExcused) {
  const { issues, validatorVersion } = await validator.validateBytes(new Uint8Array(bytes), { maxIssues: 1000 });
  const faults = issues.messages.filter((message) => message.severity < 2 && !isExcused(message));
  console.log(`gltf-validator ${validatorVersion}: ${what}: ${faults.length} errors and warnings`);
  for (const fault of faults) failures.push(`${what}: ${fault.code} ${fault.pointer}: ${fault.message}`);
}
await validate("a.glb", glb, ({ code, pointer }) =>
  code === "MESH_PRIMITIVE_INVALID_ATTRIBUTE" && pointer.includes("/attributes/KHR_gaussian_splatting:"));
const renamed = Buffer.from(glb.toString("latin1").replaceAll("\"KHR_gaussian_splatting:", "\"_KHR_GAUSSIAN_SPLATTING"), "latin1");
await validate("a.glb with its own attributes renamed", renamed, () => false);
const a = readGlb("a.glb"), b = readGlb("b.glb");
const extension = "KHR_gaussian_splatting:";
for (const [attribute, width, signs] of [["POSITION", 3, [-1, 1, -1]], [`${extension}SCALE`, 3, [1, 1, 1]],
  [`${extension}OPACITY`, 1, [1]], [`${extension}SH_DEGREE_0_COEF_0`, 3, [1, 1, 1]]]) {
  const mine = a(attribute, width), other = b(attribute, width);
  let most = 0;
  for (let i = 0; i < 400; ++i)
    for (let k = 0; k < width; ++k) most = Math.max(most, Math.abs(signs[k] * mine(i, k) - other(i, k)));
  console.log(`a.glb beside b.glb: ${attribute} ${most.toPrecision(2)}`);
  if (!(most < 1e-5)) failures.push(`a.glb and b.glb differ in ${attribute} by ${most}`);
}

if (failures.length > 0) {
  console.error(failures.join("\n"));
  process.exit(1);
}
