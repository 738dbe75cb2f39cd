import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { viewOf, lensOf, positionOf, axesOf } from "../src/camera/camera";
import { DepthSorter } from "../src/render/depth_sort";
import { between, checkHead, FormatError, SceneReader } from "../src/scene/format";
import { readScene, type Scene } from "../src/scene/scene";

// Written by the program's own test, tests/view/scene_file_test.cpp, which computes the same numbers.
const file = new Uint8Array(readFileSync(new URL("../../tests/data/view/sample.scene", import.meta.url)));
const COUNT = 37;
const number = (attribute: number, gaussian: number, component: number, moment: number) =>
  ((gaussian * (3 + component) + 5 * component + 7 * (moment + 1) + 11 * attribute) % 97) / 97;
const [POSITION, SCALE, QUATERNION, DC, REST, GAIN_BIAS, OPACITY] = [0, 1, 2, 3, 4, 5, 6];

const streamOf = (bytes: Uint8Array, piece: number): ReadableStream<Uint8Array> => {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + piece));
      at += piece;
    },
  });
};
const read = (bytes = file, piece = bytes.length): Promise<Scene> => readScene(streamOf(bytes, piece), () => undefined);

function expectValues(values: Int16Array, components: number, attribute: number, moment: number, step: number, factor: number, shift: number, origin = [0, 0, 0, 0], first = 0): void {
  expect(values.length).toBe(components * COUNT);
  for (let k = 0; k < components; ++k)
    for (let i = 0; i < COUNT; ++i) {
      const expected = factor * number(attribute, i, first + k, moment) + shift;
      const decoded = (origin[k] ?? 0) + step * values[k * COUNT + i]!;
      expect(Math.abs(decoded - expected)).toBeLessThanOrEqual(step * 0.5 + 1e-6);
    }
}

describe("a scene file of the program", () => {
  it("holds every value within half a step, whatever pieces it comes in", async () => {
    for (const piece of [file.length, 100, 7]) {
      const scene = await read(file, piece);
      const { steps, origin } = scene.head;
      const expectPose = (pose: NonNullable<Scene["canonical"]>, moment: number) => {
        expectValues(pose.positions, 3, POSITION, moment, steps.position, 2, -1, origin);
        expectValues(pose.logScales, 3, SCALE, moment, steps.log_scale, 4, -5);
        expectValues(pose.quaternions, 4, QUATERNION, moment, steps.quaternion, 2, -1);
      };
      expectPose(scene.canonical!, -1);
      for (let m = 0; m < 5; ++m) {
        expectPose(scene.moments[m]!, m);
        expectValues(scene.ownColors[m]!.gainBias, 4, GAIN_BIAS, m, steps.color, 1, -0.5);
        expectValues(scene.ownColors[m]!.opacities, 1, OPACITY, m, steps.opacity, 1, 0);
      }
      expectValues(scene.dc as Int16Array, 3, DC, -1, steps.sh_dc, 3, -1);
      expectValues(scene.reference!.gainBias, 4, GAIN_BIAS, -1, steps.color, 1, -0.5);
      for (let degree = 1; degree <= 3; ++degree)
        expectValues(scene.harmonics[degree - 1]!, 3 * (2 * degree + 1), REST, -1, steps.harmonics[degree - 1]!, 0.4, -0.2, [0], 3 * (degree * degree - 1));
    }
  });

  it("can be shown before all of it is there", async () => {
    const seen: [number, boolean][] = [];
    await readScene(streamOf(file, 100), (scene, bytes) => seen.push([bytes, scene.isVisible]));
    const first = seen.findIndex(([, visible]) => visible);
    expect(first).toBe(2);
    expect(seen[first]![0]).toBeLessThan(0.6 * file.length);
  });

  it("shows any time between the moments that are there", async () => {
    const scene = await read();
    expect(scene.bracket(0.6)).toMatchObject({ a: 2, b: 3 });
    expect(scene.bracket(0.6).share).toBeCloseTo(0.4);
    expect(scene.bracket(0.5)).toEqual({ a: 2, b: 2, share: 0 });
    scene.moments[2] = scene.moments[3] = null;
    expect(scene.bracket(0.5)).toMatchObject({ a: 1, b: 4 });
    scene.moments[4] = null;
    expect(scene.bracket(0.9)).toEqual({ a: 1, b: 1, share: 0 });
  });
});

describe("damage", () => {
  it("is told as a sentence", async () => {
    await expect(read(file.slice(0, file.length - 5))).rejects.toThrow("ended before it was whole");
    await expect(read(new Uint8Array())).rejects.toThrow(FormatError);
    await expect(read(new TextEncoder().encode("GIF89a and so on and on"))).rejects.toThrow("does not begin like one");
    const other = file.slice();
    other[8] = 9;
    await expect(read(other)).rejects.toThrow("another version");
    const broken = file.slice();
    broken[16] = 0xff; // of the JSON
    await expect(read(broken)).rejects.toThrow("damaged");
  });
  it("never ends otherwise, wherever it is", async () => {
    for (let at = 16; at < file.length; at += 211) {
      const damaged = file.slice();
      damaged[at] = damaged[at]! ^ 0x55;
      await read(damaged).catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    }
  });
  it("in the description is found before it is used", async () => {
    const head = (await read()).head;
    checkHead(structuredClone(head));
    for (const change of [{ gaussians: -1 }, { gaussians: 1e12 }, { times: [] }, { times: [0, 0] }, { order: [] }, { sh_degree: 4 }, { steps: null }, { origin: [1, 2] },
      { order: head.order.map((step) => ({ ...step, from: [4, 3] })) }, { steps: { ...head.steps, position: 0 } }])
      expect(() => checkHead({ ...structuredClone(head), ...change }), JSON.stringify(change)).toThrow(FormatError);
  });
  it("in sizes asks for no memory", () => {
    const reader = new SceneReader();
    const bytes = file.slice();
    new DataView(bytes.buffer).setUint32(12, 0xffffffff, true);
    expect(() => reader.add(bytes)).toThrow("too long");
  });
});

describe("whole numbers between two moments", () => {
  it("are rounded as the program rounds them", () => {
    const round = (a: number, b: number, passed: number, whole: number) => between(Int16Array.of(a), Int16Array.of(b), passed, whole)[0];
    expect([round(0, 1, 1, 2), round(0, -1, 1, 2), round(-3, -4, 1, 2), round(-32767, 32767, 1, 3), round(7, 7, 5, 9)]).toEqual([1, 0, -3, -10922, 7]);
  });
});

describe("the order of drawing", () => {
  it("is front to back, without what is behind the camera", async () => {
    const scene = await read();
    const sorter = new DepthSorter();
    for (const camera of [{ azimuth: 40, elevation: 20, distance: 4 }, { azimuth: -100, elevation: 5, distance: 0.7 }]) {
      const state = { ...camera, target: [0, 0, 0] as [number, number, number], roll: 0 };
      const view = viewOf(state, lensOf(0.7, 1, 1), 100, 100);
      const drawn = sorter.sort(scene.head, scene.moments[1]!, scene.moments[2]!, 0.3, view);
      const { back } = axesOf(state);
      const eye = positionOf(state);
      const depths = Array.from({ length: COUNT }, (_, i) => {
        let depth = 0;
        for (let k = 0; k < 3; ++k) {
          const q = 0.7 * scene.moments[1]!.positions[k * COUNT + i]! + 0.3 * scene.moments[2]!.positions[k * COUNT + i]!;
          depth -= back[k]! * (scene.head.origin[k]! + scene.head.steps.position * q - eye[k]!);
        }
        return depth;
      });
      const inFront = depths.filter((depth) => depth > 0.2);
      expect(drawn).toBe(inFront.length);
      const order = [...sorter.order.subarray(0, drawn)];
      expect(new Set(order).size).toBe(drawn);
      order.slice(1).forEach((i, place) => expect(depths[i]!).toBeGreaterThan(depths[order[place]!]! - 1e-4));
    }
  });
});
