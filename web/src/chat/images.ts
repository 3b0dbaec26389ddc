import type { Picture } from "./types";

/** The longest side of an image that is sent. Larger images are made smaller. */
const SIDE_MAX = 2048;
/** Files up to this size are sent as they are. */
const BYTES_MAX = 2_000_000;

const TYPES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/** The images among these files. */
export function imagesOf(files: Iterable<File> | null | undefined): File[] {
  return [...(files ?? [])].filter((file) => file.type.startsWith("image/"));
}

/** An image as a `data:` address. Throws an error in words. */
export async function pictureOf(file: File): Promise<Picture> {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name || "The image"} cannot be read as an image.`);
  });
  const scale = Math.min(1, SIDE_MAX / Math.max(bitmap.width, bitmap.height));
  const name = file.name || "Pasted image";
  if (scale === 1 && file.size <= BYTES_MAX && TYPES.includes(file.type)) {
    return { name, url: await dataUrl(file) };
  }
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  const context = canvas.getContext("2d");
  if (context) {
    // JPEG has no transparency: without a ground, what is transparent becomes black.
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  }
  return { name, url: canvas.toDataURL("image/jpeg", 0.88) };
}

function dataUrl(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}
