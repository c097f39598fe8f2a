// SPDX-License-Identifier: MIT
// JSON objects, one a line, that arrive in pieces cut anywhere.

export class NdjsonReader {
  #tail = "";

  // The objects that are complete with this piece. Throws SyntaxError for a line that is no JSON.
  push(text) {
    const lines = (this.#tail + text).split("\n");
    this.#tail = lines.pop();
    return lines.filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
  }

  // What the last line holds when it lacks its line break.
  end() {
    const rest = this.#tail;
    this.#tail = "";
    return rest.trim() === "" ? [] : [JSON.parse(rest)];
  }
}
