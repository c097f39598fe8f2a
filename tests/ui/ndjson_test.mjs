// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {NdjsonReader} from "../../src/serve/ui/ndjson.js";

const STREAM = '{"a":1}\n\n{"b":"x\\ny"}\r\n{"c":[1,2]}\n';
const OBJECTS = [{a: 1}, {b: "x\ny"}, {c: [1, 2]}];

test("objects come out the same wherever the stream is cut", () => {
  for (let cut = 0; cut <= STREAM.length; ++cut) {
    const reader = new NdjsonReader();
    assert.deepEqual([...reader.push(STREAM.slice(0, cut)), ...reader.push(STREAM.slice(cut)), ...reader.end()], OBJECTS);
  }
});

test("the last line may lack its line break", () => {
  const reader = new NdjsonReader();
  assert.deepEqual(reader.push('{"a":'), []);
  assert.deepEqual(reader.push("1}"), []);
  assert.deepEqual(reader.end(), [{a: 1}]);
  assert.deepEqual(reader.end(), []);
});

test("a line that is no JSON is an error, and so is half a line at the end", () => {
  assert.throws(() => new NdjsonReader().push("<html>\n"), SyntaxError);
  const reader = new NdjsonReader();
  reader.push('{"a":');
  assert.throws(() => reader.end(), SyntaxError);
});
