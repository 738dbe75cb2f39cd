// A file that the user chose becomes what the server takes: a PNG, JPEG or WebP within its limits.

export interface Limits {
  bytes: number;
  pixels: number;
}

const TAKEN = ["image/png", "image/jpeg", "image/webp"];
const LONGEST_SIDE = 4096; // of what is made smaller; the networks see 576 pixels

// The size that a picture is sent in; null: as it is.
export function smallerSize(width: number, height: number, limits: Limits, bytes: number, type: string): [number, number] | null {
  if (width * height <= limits.pixels && bytes <= limits.bytes && TAKEN.includes(type)) return null;
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

// Throws an Error, a sentence.
export async function pictureOf(file: File, limits: Limits): Promise<Blob> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    // What this browser cannot read the program may.
    if (TAKEN.includes(file.type) && file.size <= limits.bytes) return file;
    throw new Error(`“${file.name}” is no picture that can be read: PNG, JPEG and WebP can.`);
  }
  const size = smallerSize(bitmap.width, bitmap.height, limits, file.size, file.type);
  if (!size) return file;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const opaque = file.type === "image/jpeg" || file.type === "image/heic";
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, opaque ? "image/jpeg" : "image/png", 0.95));
  if (!blob || blob.size > limits.bytes) throw new Error(`“${file.name}” is too large.`);
  return blob;
}
