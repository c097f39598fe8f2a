// SPDX-License-Identifier: MIT
// Text files that go along with a message. A model reads text: whatever is none is refused by name. Pure.

export const FILE_BYTES_MAX = 2 * 1024 * 1024;  // half a million tokens: more than any context

// The text of a file's bytes; throws an Error with a sentence for the user.
export function textOf(name, bytes) {
  if (bytes.byteLength > FILE_BYTES_MAX) throw new Error(`${name} is too large to be read as a message (2 MiB at most).`);
  let text;
  try {
    text = new TextDecoder("utf-8", {fatal: true}).decode(bytes);
  } catch {
    throw new Error(`${name} is no text: only text files can be attached.`);
  }
  if (text.includes("\0")) throw new Error(`${name} is no text: only text files can be attached.`);
  if (text.trim() === "") throw new Error(`${name} is empty.`);
  return text.replaceAll("\r\n", "\n");
}

// The message as the model reads it: each file under its name, within a fence longer than any in it, then the question.
export function withFiles(content, files = []) {
  const parts = files.map(({name, text}) => {
    const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
    const fence = "`".repeat(longest + 1);
    return `${name}:\n${fence}\n${text.replace(/\n$/, "")}\n${fence}`;
  });
  if (content !== "") parts.push(content);
  return parts.join("\n\n");
}
