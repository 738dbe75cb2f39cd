// Gaussians as PLY, for check.mjs: made here, read here, compared here, by nothing of the program's.
import fs from "node:fs";

export const restNames = Array.from({ length: 45 }, (_, i) => `f_rest_${i}`);
const names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", ...restNames, "opacity", "scale_0", "scale_1", "scale_2",
  "rot_0", "rot_1", "rot_2", "rot_3"];

// `count` of them, the same each time; columns by name.
export function makeSplats(count) {
  let state = 12345;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const table = Object.fromEntries(names.map((name) => [name, new Float32Array(count)]));
  for (let i = 0; i < count; ++i)
    for (const name of names)
      table[name][i] = /^[xyz]$/.test(name) ? 2 * random()
        : name.startsWith("f_dc") ? 2 * random()
        : name.startsWith("f_rest") ? 0.4 * random()
        : name === "opacity" ? 6 * random()
        : name.startsWith("scale") ? -4 + 2 * random() : random();
  return table;
}

export function writePly(path, table) {
  const count = table.x.length;
  const header = `ply\nformat binary_little_endian 1.0\nelement vertex ${count}\n` +
    names.map((name) => `property float ${name}\n`).join("") + "end_header\n";
  const body = new Float32Array(count * names.length);
  for (let i = 0; i < count; ++i) names.forEach((name, k) => (body[i * names.length + k] = table[name][i]));
  fs.writeFileSync(path, Buffer.concat([Buffer.from(header), Buffer.from(body.buffer)]));
}

// All properties are floats: what both programs write.
export function readPly(path) {
  const file = fs.readFileSync(path);
  const end = file.indexOf("end_header\n") + 11;
  const lines = file.subarray(0, end).toString().split("\n");
  const count = Number(lines.find((line) => line.startsWith("element vertex")).split(" ")[2]);
  const own = lines.filter((line) => line.startsWith("property float ")).map((line) => line.split(" ")[2]);
  const table = Object.fromEntries(own.map((name) => [name, new Float32Array(count)]));
  for (let i = 0; i < count; ++i)
    own.forEach((name, k) => (table[name][i] = file.readFloatLE(end + 4 * (i * own.length + k))));
  return table;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const byte = (dc) => 255 * Math.min(1, Math.max(0, 0.5 + 0.28209479177387814 * dc));

// The axes of an ellipsoid. They have no sign: half a turn about one of them changes nothing.
function axesOf(table, i) {
  const q = [0, 1, 2, 3].map((k) => table[`rot_${k}`][i]), length = Math.hypot(...q);
  const [w, x, y, z] = q.map((component) => component / length);
  return [[1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]];
}

// The largest error of each attribute. Rows may have another order: each is compared with the nearest one.
export function errorsBetween(a, b) {
  const count = a.x.length;
  if (b.x.length !== count) throw new Error(`${b.x.length} Gaussians instead of ${count}`);
  const errors = { position: 0, scale: 0, rotation: 0, colour: 0, opacity: 0, harmonics: 0 };
  const widen = (key, value) => (errors[key] = Math.max(errors[key], Math.abs(value)));
  for (let i = 0; i < count; ++i) {
    let j = 0, least = Infinity;
    for (let k = 0; k < count; ++k) {
      const distance = Math.hypot(a.x[i] - b.x[k], a.y[i] - b.y[k], a.z[i] - b.z[k]);
      if (distance < least) [least, j] = [distance, k];
    }
    widen("position", least);
    for (let k = 0; k < 3; ++k) {
      widen("scale", a[`scale_${k}`][i] - b[`scale_${k}`][j]);
      widen("colour", byte(a[`f_dc_${k}`][i]) - byte(b[`f_dc_${k}`][j]));
    }
    widen("opacity", sigmoid(a.opacity[i]) - sigmoid(b.opacity[j]));
    const own = axesOf(a, i), other = axesOf(b, j);
    for (let k = 0; k < 3; ++k) widen("rotation", 1 - Math.abs(own[k].reduce((sum, x, c) => sum + x * other[k][c], 0)));
    for (const name of restNames) widen("harmonics", a[name][i] - (b[name]?.[j] ?? 0));
  }
  return errors;
}
