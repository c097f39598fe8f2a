// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {parseInline, parseMarkdown, safeUrl} from "../../src/serve/ui/markdown.js";

// The tree as one line, to be read beside its source: p[one, strong[two]].
function show(nodes) {
  return nodes.map((node) => {
    if (typeof node === "string") return JSON.stringify(node);
    const more = node.href ? `(${node.href})` : node.language ? `(${node.language})` : node.start ? `(${node.start})` : "";
    return `${node.tag}${more}[${show(node.children)}]`;
  }).join(", ");
}
const blocks = (text) => show(parseMarkdown(text));
const inline = (text) => show(parseInline(text));

test("paragraphs, headings and rules", () => {
  assert.equal(blocks("one\ntwo\n\nthree"), 'p["one", br[], "two"], p["three"]');
  assert.equal(blocks("# A #\n###### B"), 'h1["A"], h6["B"]');
  assert.equal(blocks("#hashtag"), 'p["#hashtag"]');
  assert.equal(blocks("a\n***\nb"), 'p["a"], hr[], p["b"]');
});

test("code keeps every character, and an unclosed fence is code up to the end", () => {
  assert.equal(blocks("```c++ title\n*a* <b>\n\n  c\n```\nd"), 'pre(c++)["*a* <b>\\n\\n  c"], p["d"]');
  assert.equal(blocks("```\nstill written"), 'pre["still written"]');
  assert.equal(blocks("````\n```\n````"), 'pre["```"]');
  assert.equal(inline("`a*b*` ``c`d``"), 'code["a*b*"], " ", code["c`d"]');
  assert.equal(inline("an open ` tick"), '"an open ` tick"');
});

test("lists nest by two spaces or more, and know where they start", () => {
  assert.equal(blocks("- a\n- b\n  - c\n- d"), 'ul[li["a"], li["b", ul[li["c"]]], li["d"]]');
  assert.equal(blocks("3. a\n   - b\n4. c"), 'ol(3)[li["a", ul[li["b"]]], li["c"]]');
  assert.equal(blocks("1. a\n\n2. b"), 'ol[li[p["a"]], li[p["b"]]]');
  assert.equal(blocks("- a\n\n  second\n- b"), 'ul[li["a", "second"], li["b"]]');
  assert.equal(blocks("1. a\n   ```sh\n   ls\n   ```\n2. b"), 'ol[li["a", pre(sh)["ls"]], li["b"]]');
  assert.equal(blocks("- a\nafter"), 'ul[li["a", br[], "after"]]');
  assert.equal(blocks("- a\n\nafter"), 'ul[li["a"]], p["after"]');
  assert.equal(blocks("-not a list"), 'p["-not a list"]');
});

test("quotes and tables", () => {
  assert.equal(blocks("> a\n> - b"), 'blockquote[p["a"], ul[li["b"]]]');
  assert.equal(blocks("| a | b |\n|--|:-:|\n| 1 | x\\|y |\n"),
               'table[thead[tr[th["a"], th["b"]]], tbody[tr[td["1"], td["x|y"]]]]');
  assert.deepEqual(parseMarkdown("|a|b|c|\n|-:|:-:|-|\n|1|2|3|")[0].children[0].children[0].children.map((cell) => cell.align),
                   ["right", "center", "left"]);
  assert.equal(blocks("a | b\nno rule"), 'p["a | b", br[], "no rule"]');
});

test("emphasis needs both ends, close to the text", () => {
  assert.equal(inline("*a* **b** ***c*** ~~d~~ _e_"),
               'em["a"], " ", strong["b"], " ", strong[em["c"]], " ", del["d"], " ", em["e"]');
  assert.equal(inline("**a *b* c**"), 'strong["a ", em["b"], " c"]');
  assert.equal(inline("2 * 3 * 4 and snake_case_name and **open"), '"2 * 3 * 4 and snake_case_name and **open"');
  assert.equal(inline("\\*not\\*"), '"*not*"');
  assert.equal(inline("**`a**b`**"), 'strong[code["a**b"]]');
});

test("links lead to http, https and mailto only", () => {
  assert.equal(inline("[a](https://x.org/b_(c))"), 'a(https://x.org/b_(c))["a"]');
  assert.equal(inline("(see https://x.org/a.)"), '"(see ", a(https://x.org/a)["https://x.org/a"], ".)"');
  assert.equal(inline("<mailto:a@x.org>"), 'a(mailto:a@x.org)["mailto:a@x.org"]');
  assert.equal(inline("![alt](https://x.org/a.png)"), 'a(https://x.org/a.png)["alt"]');
  for (const url of ["javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "vbscript:x", "//x.org", "/api/delete", " https://x.org"])
    assert.equal(safeUrl(url), null, url);
  assert.doesNotMatch(inline("[a](javascript:alert(1)) <javascript:x>"), /a\(/);
});

test("HTML is text", () => {
  assert.equal(blocks("<script>x</script>"), 'p["<script>x</script>"]');
});

test("no text is lost while an answer is being written", () => {
  const text = "# T\n\n- a **b**\n- `c`\n\n```js\nlet x;\n```\n\n|a|b|\n|-|-|\n|1|2|\n";
  const words = (nodes) => nodes.map((node) => (typeof node === "string" ? node : words(node.children))).join("");
  for (let length = 0; length <= text.length; ++length) {
    const letters = text.slice(0, length).replace(/```js?/g, "").replace(/[^A-Za-z0-9]/g, "");
    assert.equal(words(parseMarkdown(text.slice(0, length))).replace(/[^A-Za-z0-9]/g, ""), letters);
  }
});

// Each of these takes minutes, not milliseconds, where the time grows with the square of the length.
test("hostile text is parsed too", () => {
  const n = 100_000;
  for (const text of ["*", "_a", "**a ", "`", "[", "[a](", "![", "> ", "- ", "  - ", "<", "~~", "#", "|", "h", "http://a.", "\\", "***a*"])
    assert.ok(parseMarkdown(text.repeat(n)).length > 0, text);
  for (const text of [`#${" ".repeat(n)}x`, `\`\`\`${" ".repeat(n)}\``, `a|b\n-${" ".repeat(n)}x`, `a${" ".repeat(n)}b\nc`,
                      `[a](${" ".repeat(n)}x`, `http://a${".".repeat(n)}b`, "- a\n".repeat(n), "\n".repeat(n) + "a", "> ".repeat(n) + "a",
                      `${"~".repeat(n)}\``])
    assert.ok(parseMarkdown(text).length > 0);
});

test("random text never throws", () => {
  let state = 12345;
  const next = (below) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
  const pieces = ["a", "b ", "*", "**", "_", "`", "```\n", "\n", "\n\n", "- ", "1. ", "> ", "#", "|", "|-|", "[", "](", ")", "  ", "\\", "~~", "<", ">"];
  for (let round = 0; round < 3000; ++round) {
    let text = "";
    for (let length = next(40); length > 0; --length) text += pieces[next(pieces.length)];
    assert.ok(Array.isArray(parseMarkdown(text)), text);
  }
});
