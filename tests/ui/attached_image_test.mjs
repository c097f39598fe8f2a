// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {base64Of, drawnSize, imageType, jpegOrientation} from "../../src/serve/ui/attached_image.js";

const bytesOf = (text, length = text.length) => Uint8Array.from({length}, (_, i) => (i < text.length ? text.charCodeAt(i) : 0));
const png = (depth, length = 100) => {
  const bytes = bytesOf("\x89PNG\r\n\x1a\n", length);
  bytes[24] = depth;
  return bytes;
};
const jpeg = (...segments) => Uint8Array.from([0xff, 0xd8, ...segments.flat(), 0xff, 0xda, 0, 2]);
// An EXIF segment with one entry, in either order of bytes.
const exif = (tag, value, little) => {
  const short = (n) => (little ? [n & 255, n >> 8] : [n >> 8, n & 255]);
  const long = (n) => (little ? [...short(n), 0, 0] : [0, 0, ...short(n)]);
  const tiff = [...(little ? [0x49, 0x49] : [0x4d, 0x4d]), ...short(42), ...long(8), ...short(1), ...short(tag), ...short(3), ...long(1), ...short(value), 0, 0];
  return [0xff, 0xe1, 0, tiff.length + 8, 0x45, 0x78, 0x69, 0x66, 0, 0, ...tiff];
};

test("an image is told by its bytes, whatever it is called", () => {
  for (const [sign, type] of [["\x89PNG\r\n\x1a\n", "image/png"], ["\xff\xd8\xff\xe0", "image/jpeg"], ["GIF89a", "image/gif"],
                              ["RIFF\0\0\0\0WEBPVP8 ", "image/webp"], ["BM\x10\0\0\0\0\0\0\0", "image/bmp"]]) {
    assert.equal(imageType(bytesOf(sign, 40), "text/plain"), type);
    assert.equal(imageType(bytesOf(sign, 40)), type);
  }
  assert.equal(imageType(bytesOf("\0\0\0\x18ftypheic", 40), "image/heic"), "image/heic");
});

test("texts are no images, drawings neither", () => {
  assert.equal(imageType(bytesOf("BMW builds cars"), "text/plain"), "");
  assert.equal(imageType(bytesOf("<svg/>"), "image/svg+xml"), "");
  assert.equal(imageType(new Uint8Array(0)), "");
});

test("how a photo is to be turned is read in both orders of bytes", () => {
  assert.equal(jpegOrientation(jpeg(exif(0x0112, 6, true))), 6);
  assert.equal(jpegOrientation(jpeg([0xff, 0xe0, 0, 4, 1, 1], exif(0x0112, 8, false))), 8);
  assert.equal(jpegOrientation(jpeg(exif(0x0110, 6, true))), 1);
  assert.equal(jpegOrientation(jpeg(exif(0x0112, 77, true))), 1);
  assert.equal(jpegOrientation(jpeg()), 1);
});

test("no damaged photo makes it fail", () => {
  const whole = jpeg(exif(0x0112, 6, true));
  for (let length = 0; length < whole.length; ++length) jpegOrientation(whole.slice(0, length));
  for (let at = 0; at < whole.length; ++at)
    for (const value of [0, 127, 255]) jpegOrientation(whole.map((byte, i) => (i === at ? value : byte)));
});

test("what the server reads goes as it is; the rest is drawn, large ones smaller and in shape", () => {
  assert.equal(drawnSize(png(8), "image/png", 3000, 2000), null);
  assert.equal(drawnSize(jpeg(), "image/jpeg", 4000, 3000), null);
  assert.deepEqual(drawnSize(bytesOf("RIFF"), "image/webp", 640, 480), {width: 640, height: 480});
  assert.deepEqual(drawnSize(png(8), "image/png", 8000, 2000), {width: 4000, height: 1000});
  assert.deepEqual(drawnSize(png(16), "image/png", 4000, 4000), {width: 2000, height: 2000});
  assert.deepEqual(drawnSize(jpeg(exif(0x0112, 3, true)), "image/jpeg", 40, 30), {width: 40, height: 30});
  assert.deepEqual(drawnSize(png(8, 4 << 20), "image/png", 100, 100), {width: 100, height: 100}, "many bytes are written anew");
  assert.deepEqual(drawnSize(png(8), "image/png", 30000, 1), {width: 8192, height: 1});
});

test("base64 of many bytes is that of all of them", () => {
  const bytes = Uint8Array.from({length: 100_001}, (_, i) => i * 7);
  assert.equal(base64Of(bytes), Buffer.from(bytes).toString("base64"));
});
