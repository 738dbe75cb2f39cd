// Meshes as independent programs read them: node meshes.mjs FOLDER. In FOLDER/meshes lie the files that the test
// MeshSamples wrote; node_modules are in FOLDER. Ends with 1 and a list when something is off.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const folder = path.resolve(process.argv[2]);
const files = path.join(folder, "meshes");
const require = createRequire(path.join(folder, "node_modules/"));
const validator = require("gltf-validator");
const module = (name) => import(pathToFileURL(path.join(folder, "node_modules/three", name)).href);
globalThis.self = globalThis;  // where three looks for the browser
const THREE = await module("build/three.module.js");
const { GLTFLoader } = await module("examples/jsm/loaders/GLTFLoader.js");
const { OBJLoader } = await module("examples/jsm/loaders/OBJLoader.js");
const { MTLLoader } = await module("examples/jsm/loaders/MTLLoader.js");
const { PLYLoader } = await module("examples/jsm/loaders/PLYLoader.js");
const { USDAParser } = await module("examples/jsm/loaders/usd/USDAParser.js");

const failures = [];
const at = (name) => path.join(files, name);
const bytes = (name) => fs.readFileSync(at(name));
const text = (name) => bytes(name).toString();
const truth = JSON.parse(text("truth.json"));

function expectClose(what, found, expected, bound) {
  let most = found.length === expected.length ? 0 : Infinity;
  for (let i = 0; i < expected.length; ++i) most = Math.max(most, Math.abs(found[i] - expected[i]));
  console.log(`${what}: ${expected.length} numbers, off by ${most.toPrecision(2)}`);
  if (!(most <= bound)) failures.push(`${what}: ${found.length} of ${expected.length}, off by ${most}, at most ${bound}`);
}
function expect(what, holds) {
  if (!holds) failures.push(what);
}

// Khronos' validator finds no error, no warning, and nothing to note.
for (const name of ["moment.glb", "moves.glb", "shorts.glb", "lit.glb"]) {
  const { issues, validatorVersion } = await validator.validateBytes(new Uint8Array(bytes(name)), { maxIssues: 100 });
  console.log(`gltf-validator ${validatorVersion}: ${name}: ${issues.messages.length} messages`);
  for (const { code, pointer, message } of issues.messages) failures.push(`${name}: ${code} ${pointer}: ${message}`);
}

// three's loader of GLB; the picture inside is looked at in its bytes, for here is no browser to decode it.
async function loadGlb(name) {
  const loader = new GLTFLoader();
  const pictures = [];
  loader.register((parser) => ({
    name: "pictures",
    loadTexture: async (index) => {
      const { source } = parser.json.textures[index];
      pictures.push(Buffer.from(await parser.getDependency("bufferView", parser.json.images[source].bufferView)));
      return new THREE.Texture();
    },
  }));
  const file = bytes(name);
  const gltf = await loader.parseAsync(file.buffer.slice(file.byteOffset, file.byteOffset + file.length), "");
  gltf.scene.updateMatrixWorld(true);
  let mesh;
  gltf.scene.traverse((node) => { if (node.isMesh) mesh = node; });
  return { gltf, mesh, pictures };
}
function shown(mesh) {
  const positions = [], p = new THREE.Vector3();
  for (let i = 0; i < mesh.geometry.attributes.position.count; ++i) {
    mesh.getVertexPosition(i, p).applyMatrix4(mesh.matrixWorld);
    positions.push(p.x, p.y, p.z);
  }
  return positions;
}
for (const [name, bound] of [["moment.glb", 1e-6], ["moves.glb", 1e-6], ["shorts.glb", 2e-5], ["lit.glb", 1e-6]]) {
  const { gltf, mesh, pictures } = await loadGlb(name);
  const { attributes, index } = mesh.geometry;
  expectClose(`${name}: positions`, shown(mesh), truth.positions[0], bound);
  expectClose(`${name}: normals`, attributes.normal.array, truth.normals[0], 1e-6);
  expectClose(`${name}: triangles`, index.array, truth.triangles.flat(), 0);
  if (name !== "lit.glb") {
    expectClose(`${name}: uvs`, attributes.uv.array, truth.uvs, 1e-6);
    expect(`${name}: the material is lit`, mesh.material.isMeshBasicMaterial);
    expect(`${name}: the texture is not sRGB`, mesh.material.map.colorSpace === THREE.SRGBColorSpace);
    expect(`${name}: the picture is not the PNG`, pictures.length === 1 && pictures[0].equals(bytes("moment.png")));
  }
  if (name === "moment.glb") continue;
  expect(`${name}: there is no animation`, gltf.animations.length === 1);
  // Five times at four a second: plays for one second, and moves evenly in between.
  const mixer = new THREE.AnimationMixer(gltf.scene), clip = gltf.animations[0];
  expect(`${name}: plays for ${clip.duration} s`, Math.abs(clip.duration - 1) < 1e-6);
  const action = mixer.clipAction(clip);
  action.setLoop(THREE.LoopOnce);
  action.clampWhenFinished = true;
  action.play();
  for (const moment of [0, 1, 1.5, 3, 4]) {
    mixer.setTime(moment / 4);
    const before = truth.positions[Math.floor(moment)], after = truth.positions[Math.ceil(moment)];
    expectClose(`${name}: at ${moment / 4} s`, shown(mesh), before.map((x, i) => (x + after[i]) / 2), bound);
  }
}

// OBJ: three resolves the indices, corner by corner.
const corners = (values, width, triangles = truth.triangles) =>
  triangles.flat().flatMap((i) => values.slice(width * i, width * (i + 1)));
const upwards = truth.uvs.map((value, i) => (i % 2 ? 1 - value : value));
for (const [name, moment] of [["moment.obj", 0], ["sequence/frame_0003.obj", 3]]) {
  const { attributes } = new OBJLoader().parse(text(name)).children[0].geometry;
  expectClose(`${name}: positions`, attributes.position.array, corners(truth.positions[moment], 3), 1e-6);
  expectClose(`${name}: normals`, attributes.normal.array, corners(truth.normals[moment], 3), 1e-6);
  expectClose(`${name}: uvs`, attributes.uv.array, corners(upwards, 2), 1e-6);
  const library = text(name).match(/^mtllib (.*)$/m)[1];
  const material = new MTLLoader().parse(text(path.join(path.dirname(name), library)), "").materialsInfo.surface;
  expect(`${name}: the material has no picture`, fs.existsSync(at(path.join(path.dirname(name), material.map_kd))));
}

// PLY.
{
  const file = bytes("moment.ply");
  const { attributes, index } = new PLYLoader().parse(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
  const { positions, triangles } = truth.plain;
  expectClose("moment.ply: positions", attributes.position.array, positions, 1e-6);
  expectClose("moment.ply: triangles", index.array, triangles.flat(), 0);
  // three turns the colours, which are sRGB, to light.
  const srgb = (x) => 255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055);
  const colors = positions.slice(0, positions.length / 3).flatMap((_, i) => [i % 256, 64, Math.floor(i / 256)]);
  expectClose("moment.ply: colours", Array.from(attributes.color.array, srgb), colors, 0.1);
}

// USD: three's parser of the text, which knows no times; those are read here.
{
  const root = new USDAParser().parseText(text("moves.usda"));
  const mesh = root['def Xform "Object"']['def Mesh "Mesh"'];
  const numbers = (value) => value.replace(/[()[\]]/g, "").split(",").filter((part) => part.trim()).map(Number);
  expectClose("moves.usda: triangles", numbers(mesh["int[] faceVertexIndices"]), truth.triangles.flat(), 0);
  expectClose("moves.usda: uvs", numbers(mesh["texCoord2f[] primvars:st"]), upwards, 1e-6);
  const samples = text("moves.usda").match(/point3f\[\] points\.timeSamples = \{([^}]*)\}/)[1];
  for (const moment of [0, 2, 4])
    expectClose(`moves.usda: points at ${moment}`, numbers(samples.match(new RegExp(`^ *${moment}: (.*)$`, "m"))[1]), truth.positions[moment], 1e-6);
}

if (failures.length > 0) {
  console.error(failures.join("\n"));
  process.exit(1);
}
