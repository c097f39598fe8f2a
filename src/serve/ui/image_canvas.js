// SPDX-License-Identifier: MIT
// Image files made ready for the server: as they are where it reads them, else drawn anew by the browser.
import {base64Of, drawnSize, imageUrl} from "./attached_image.js";
import {h} from "./dom.js";

const PNG_BYTES_MAX = 2 * 1024 * 1024;  // without loss up to here
const JPEG_QUALITY = 0.92;

// {type, data}, its data in base64. Throws an Error with a sentence for the user.
export async function readyImage(name, bytes, type) {
  const whole = {type, data: base64Of(bytes)};
  const picture = h("img", {src: imageUrl(whole)});
  try {
    await picture.decode();
  } catch {
    throw new Error(`${name}: this browser cannot show the image. PNG and JPEG always work.`);
  }
  const size = drawnSize(bytes, type, picture.naturalWidth, picture.naturalHeight);
  if (!size) return whole;
  const drawn = await draw(picture, size);
  if (!drawn) throw new Error(`${name}: this browser cannot convert the image. PNG and JPEG always work.`);
  return {type: drawn.type, data: base64Of(new Uint8Array(await drawn.arrayBuffer()))};
}

async function draw(picture, {width, height}) {
  const canvas = h("canvas", {width, height});
  const pen = canvas.getContext("2d");
  if (!pen) return null;
  pen.fillStyle = "white";  // models see no transparency
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, width, height);
  const file = (...form) => new Promise((resolve) => canvas.toBlob(resolve, ...form));
  const png = await file("image/png");
  return png && png.size <= PNG_BYTES_MAX ? png : await file("image/jpeg", JPEG_QUALITY);
}
