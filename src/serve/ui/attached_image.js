// SPDX-License-Identifier: MIT
// What is known of an image from its bytes: whether the server reads it as it is, and how large it may be. Pure.

const BYTES_MAX = 3 * 1024 * 1024;  // of a file that goes as it is: a request holds many messages
const SIDE_MAX = 8192;              // of a canvas, which browsers bound too
const POINTS_DRAWN = 4e6;           // of a picture that is scaled down: more than models look at

// What the server decodes at most, and a little less (docs/models.md, "Images"): its work is bounded in bytes a point.
const POINTS_MAX = {"image/jpeg": 13e6, "image/png": 14e6, "image/gif": 10e6, "image/bmp": 18e6};
const POINTS_MAX_DEEP_PNG = 7e6;  // of 16 bits a channel

const SIGNATURES = [["image/png", 0, "\x89PNG\r\n\x1a\n"], ["image/jpeg", 0, "\xff\xd8\xff"], ["image/gif", 0, "GIF87a"],
                    ["image/gif", 0, "GIF89a"], ["image/bmp", 0, "BM"], ["image/webp", 8, "WEBP"]];

// "image/..." where it is one, whatever its name says; "": it is none that a browser could show. Drawings (SVG) are text.
export function imageType(bytes, type = "") {
  const found = SIGNATURES.find(([, at, sign]) => [...sign].every((c, i) => bytes[at + i] === c.charCodeAt(0)));
  // Two letters are little to go by: a text may begin with them.
  if (found && (found[0] !== "image/bmp" || type.startsWith("image/") || bytes[6] + bytes[7] + bytes[8] + bytes[9] === 0))
    return found[0];
  return type.startsWith("image/") && !type.startsWith("image/svg") ? type : "";
}

// How the picture of a JPEG is to be turned (EXIF): 1 to 8, 1 as it stands. The server does not turn it.
export function jpegOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; at += 2 + view.getUint16(at + 2)) {
    if (bytes[at + 1] !== 0xe1 || at + 18 > bytes.length || view.getUint32(at + 4) !== 0x45786966) continue;  // "Exif"
    const tiff = at + 10;
    const little = view.getUint16(tiff) === 0x4949;
    const directory = tiff + view.getUint32(tiff + 4, little);
    if (directory + 2 > bytes.length) return 1;
    const n = view.getUint16(directory, little);
    for (let i = 0; i < n && directory + 14 + 12 * i <= bytes.length; ++i) {
      const entry = directory + 2 + 12 * i;
      const value = view.getUint16(entry, little) === 0x0112 ? view.getUint16(entry + 8, little) : 0;
      if (value >= 1 && value <= 8) return value;
    }
    return 1;
  }
  return 1;
}

// null: the file goes as it is. Otherwise the size to draw it in, anew.
export function drawnSize(bytes, type, width, height) {
  const deep = type === "image/png" && bytes[24] > 8;
  const points_max = deep ? POINTS_MAX_DEEP_PNG : (POINTS_MAX[type] ?? 0);
  const upright = type !== "image/jpeg" || jpegOrientation(bytes) === 1;
  const small = width * height <= points_max && bytes.length <= BYTES_MAX && Math.max(width, height) <= SIDE_MAX;
  if (small && upright) return null;
  const scale = Math.min(1, Math.sqrt(POINTS_DRAWN / (width * height)), SIDE_MAX / Math.max(width, height));
  return {width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale))};
}

export function base64Of(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

export const imageUrl = ({type, data}) => `data:${type};base64,${data}`;
