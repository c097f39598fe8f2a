// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {FILE_BYTES_MAX, textOf, withFiles} from "../../src/serve/ui/attached_text.js";

const bytes = (...values) => new Uint8Array(values);
const utf8 = (text) => new TextEncoder().encode(text);

test("text is text, whatever its line ends", () => {
  assert.equal(textOf("a.txt", utf8("é\r\nx\n")), "é\nx\n");
  assert.equal(textOf("a.txt", utf8("\ufeffx")), "x", "a mark of the byte order is not the text's");
});

test("what a model cannot read is refused by name", () => {
  assert.throws(() => textOf("a.png", bytes(0x89, 0x50, 0x4e, 0x47)), /^Error: a\.png is no text/);
  assert.throws(() => textOf("a.bin", bytes(0x41, 0, 0x42)), /^Error: a\.bin is no text/);
  assert.throws(() => textOf("empty", utf8(" \n")), /^Error: empty is empty/);
  assert.throws(() => textOf("huge", new Uint8Array(FILE_BYTES_MAX + 1)), /^Error: huge is too large/);
});

test("files stand before the question, each under its name, within a fence that is longer than any in it", () => {
  assert.equal(withFiles("Why?", [{name: "a.md", text: "x\n````\ny\n````\n"}, {name: "b", text: "z"}]),
               "a.md:\n`````\nx\n````\ny\n````\n`````\n\nb:\n```\nz\n```\n\nWhy?");
  assert.equal(withFiles("Why?"), "Why?");
  assert.equal(withFiles("", [{name: "b", text: "z"}]), "b:\n```\nz\n```");
});
