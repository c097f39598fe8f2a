// SPDX-License-Identifier: MIT
// The markdown that models write, as a tree of {tag, children, ...} and strings. Pure: the tree says what to show, and
// render.js makes elements of it. HTML is text here, images are links, and a link leads nowhere but to http, https and
// mailto: so nothing a model writes can run or fetch.
//
// Half-written text parses too (an unclosed fence is code up to the end), and every input takes time in proportion to its
// length: a delimiter that once was found to have no partner is not looked for again.

const DEPTH_MAX = 12;  // of lists and quotes in each other; deeper ones are text

export function parseMarkdown(text) {
  return parseBlocks(text.replace(/\r\n?/g, "\n").split("\n"), 0);
}

const node = (tag, children, more = {}) => ({tag, children, ...more});

// ---- blocks

// No two parts of an expression can match the same spaces: a long run of them takes no longer than other text.
const FENCE = /^ {0,3}(`{3,}|~{3,}(?!~))([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t](.*))?$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+(.*)|)$/;
const QUOTE = /^ {0,3}> ?/;
const TABLE_RULE = /^\|?:?-+:?(?:\|:?-+:?)*\|?$/;  // spaces left out

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;
const isTableRule = (line) => line.includes("-") && TABLE_RULE.test(line.replaceAll(/[ \t]/g, ""));

function nextNonBlank(lines, from) {
  let at = from;
  while (at < lines.length && isBlank(lines[at])) ++at;
  return at < lines.length ? at : -1;
}

function parseBlocks(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (isBlank(line)) {
      ++at;
      continue;
    }
    const fence = FENCE.exec(line);
    if (fence) {
      const end = findFenceEnd(lines, at + 1, fence[1]);
      const indent = indentOf(line);
      const code = lines.slice(at + 1, end).map((each) => each.slice(Math.min(indent, indentOf(each))));
      blocks.push(node("pre", [code.join("\n")], {language: fence[2].trim().split(/\s+/)[0]}));
      at = end + 1;
      continue;
    }
    const heading = HEADING.exec(line);
    if (heading) {
      blocks.push(node(`h${heading[1].length}`, parseInline((heading[2] ?? "").trim().replace(/(^|[ \t])#+$/, ""))));
      ++at;
      continue;
    }
    if (RULE.test(line)) {
      blocks.push(node("hr", []));
      ++at;
      continue;
    }
    if (depth < DEPTH_MAX && QUOTE.test(line)) {
      const quoted = [];
      while (at < lines.length && QUOTE.test(lines[at])) quoted.push(lines[at++].replace(QUOTE, ""));
      blocks.push(node("blockquote", parseBlocks(quoted, depth + 1)));
      continue;
    }
    if (depth < DEPTH_MAX && ITEM.test(line)) {
      const [list, next] = parseList(lines, at, depth);
      blocks.push(list);
      at = next;
      continue;
    }
    if (line.includes("|") && at + 1 < lines.length && isTableRule(lines[at + 1]) &&
        cellsOf(line).length === cellsOf(lines[at + 1]).length) {
      const [table, next] = parseTable(lines, at);
      blocks.push(table);
      at = next;
      continue;
    }
    const paragraph = [line.trimStart()];
    for (++at; at < lines.length && !isBlank(lines[at]) && !beginsBlock(lines[at], depth); ++at)
      paragraph.push(lines[at].trimStart());
    blocks.push(node("p", parseInline(paragraph.join("\n"))));
  }
  return blocks;
}

function beginsBlock(line, depth) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) ||
         (depth < DEPTH_MAX && (QUOTE.test(line) || ITEM.test(line)));
}

function findFenceEnd(lines, from, fence) {
  const closes = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}\\s*$`);
  let at = from;
  while (at < lines.length && !closes.test(lines[at])) ++at;
  return at;
}

// Models indent what is inside an item by two to four spaces whatever the marker's width, so two are enough.
function parseList(lines, from, depth) {
  const [, lead, firstMarker] = ITEM.exec(lines[from]);
  const ordered = /\d/.test(firstMarker);
  const items = [];
  let at = from;
  let loose = false;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || RULE.test(lines[at]) || item[1].length > lead.length + 1 || /\d/.test(item[2]) !== ordered) break;
    const inside = [item[3] ?? ""];
    const width = item[1].length + item[2].length + 1;
    for (++at; at < lines.length; ++at) {
      const line = lines[at];
      if (isBlank(line)) {
        const next = nextNonBlank(lines, at + 1);
        const goesOn = next >= 0 && indentOf(lines[next]) >= lead.length + 2;
        if (goesOn || (next >= 0 && ITEM.test(lines[next]) && indentOf(lines[next]) >= lead.length)) loose ||= !goesOn;
        if (!goesOn) {
          at = next >= 0 ? next : lines.length;
          break;
        }
        inside.push("");
        continue;
      }
      const indent = indentOf(line);
      if (indent < lead.length + 2 && (beginsBlock(line, depth) || isBlank(lines[at - 1]))) break;
      inside.push(line.slice(Math.min(indent, width)));
    }
    items.push(parseBlocks(inside, depth + 1));
  }
  const list = node(ordered ? "ol" : "ul", items.map((blocks) => node("li", loose ? blocks : withoutParagraph(blocks))));
  if (ordered && parseInt(firstMarker, 10) !== 1) list.start = parseInt(firstMarker, 10);
  return [list, at];
}

function withoutParagraph(blocks) {
  return blocks.flatMap((block) => (block.tag === "p" ? block.children : [block]));
}

function cellsOf(line) {
  const cells = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/);
  return cells.map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function parseTable(lines, from) {
  const align = cellsOf(lines[from + 1]).map((rule) =>
    rule.endsWith(":") ? (rule.startsWith(":") ? "center" : "right") : "left");
  const row = (line, tag) => {
    const cells = cellsOf(line);
    return node("tr", align.map((side, index) => node(tag, parseInline(cells[index] ?? ""), {align: side})));
  };
  const body = [];
  let at = from + 2;
  for (; at < lines.length && !isBlank(lines[at]) && lines[at].includes("|"); ++at) body.push(row(lines[at], "td"));
  return [node("table", [node("thead", [row(lines[from], "th")]), node("tbody", body)]), at];
}

// ---- text within a block

const PUNCTUATION = /[!-/:-@[-`{-~]/;
const AUTOLINK = /https?:\/\/[^\s<>"'`]+/y;
const WORD = /[\p{L}\p{N}_]/u;
const PLAIN = /[^\\`*_~[!<h\n]+/y;

export function safeUrl(url) {
  return /^(https?:\/\/|mailto:)[^\s<>"]+$/i.test(url) ? url : null;
}

export function parseInline(text, depth = 0) {
  const out = [];
  const hopeless = new Set();  // delimiters without a partner from here on
  let plain = "";
  const flush = () => {
    if (plain) out.push(plain);
    plain = "";
  };
  const take = (piece, end) => {
    flush();
    out.push(piece);
    at = end;
  };
  let at = 0;
  while (at < text.length) {
    PLAIN.lastIndex = at;
    const run = PLAIN.exec(text);
    if (run) {
      plain += run[0];
      at += run[0].length;
      continue;
    }
    const char = text[at];
    if (char === "\\" && at + 1 < text.length && PUNCTUATION.test(text[at + 1])) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    if (char === "\n") {
      plain = plain.trimEnd();
      take(node("br", []), at + 1);
      continue;
    }
    if (char === "`") {
      const ticks = /`+/y;
      ticks.lastIndex = at;
      const mark = ticks.exec(text)[0];
      const end = hopeless.has(mark) ? -1 : findTicks(text, at + mark.length, mark.length);
      if (end >= 0) {
        const code = text.slice(at + mark.length, end).replaceAll("\n", " ");
        const padded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
        take(node("code", [padded ? code.slice(1, -1) : code]), end + mark.length);
      } else {
        hopeless.add(mark);
        plain += mark;
        at += mark.length;
      }
      continue;
    }
    const span = depth < DEPTH_MAX ? parseSpan(text, at, depth, hopeless) : null;
    if (span) {
      take(span.piece, span.end);
      continue;
    }
    plain += char;
    ++at;
  }
  flush();
  return out;
}

function parseSpan(text, at, depth, hopeless) {
  switch (text[at]) {
    case "*":
    case "_":
    case "~":
      return parseEmphasis(text, at, depth, hopeless);
    case "[":
      return parseLink(text, at, depth, hopeless);
    case "!": {  // an image is shown as a link to it: nothing is fetched that nobody asked for
      const link = text[at + 1] === "[" ? parseLink(text, at + 1, depth, hopeless) : null;
      return link;
    }
    case "<": {
      const end = text.slice(at, at + 2048).indexOf(">");
      const url = end > 0 ? safeUrl(text.slice(at + 1, at + end)) : null;
      return url ? {piece: node("a", [url], {href: url}), end: at + end + 1} : null;
    }
    case "h": {
      if (at > 0 && WORD.test(text[at - 1])) return null;
      AUTOLINK.lastIndex = at;
      const found = AUTOLINK.exec(text);
      if (!found) return null;
      const url = withoutSentenceEnd(found[0]);
      return safeUrl(url) ? {piece: node("a", [url], {href: url}), end: at + url.length} : null;
    }
  }
  return null;
}

// "(see https://example.org/a.)": the full stop and the bracket are the sentence's.
function withoutSentenceEnd(url) {
  let end = url.length;
  const balanced = url.includes("(");
  while (end > 0 && (".,;:!?*_~".includes(url[end - 1]) || (url[end - 1] === ")" && !balanced))) --end;
  return url.slice(0, end);
}

const EMPHASIS = {"***": "strong", "**": "strong", "__": "strong", "*": "em", "_": "em", "~~": "del"};

function parseEmphasis(text, at, depth, hopeless) {
  const char = text[at];
  if (at > 0 && text[at - 1] === char) return null;  // within a run that was given up
  let length = 1;
  while (length < 3 && text[at + length] === char) ++length;
  const mark = char.repeat(length);
  const tag = EMPHASIS[mark];
  if (!tag || hopeless.has(mark) || /\s/.test(text[at + length] ?? " ")) return null;
  if (char === "_" && at > 0 && WORD.test(text[at - 1])) return null;
  const end = findCloser(text, at + length, mark);
  if (end < 0) {
    hopeless.add(mark);
    return null;
  }
  let children = parseInline(text.slice(at + length, end), depth + 1);
  if (length === 3) children = [node("em", children)];
  return {piece: node(tag, children), end: end + length};
}

// The next run of exactly this mark that has no space before it; a word's underscores do not close. Code is skipped.
function findCloser(text, from, mark) {
  const char = mark[0];
  for (let at = from; at < text.length;) {
    if (text[at] === "\\") {
      at += 2;
      continue;
    }
    if (text[at] === "`") {
      const close = text.indexOf("`", at + 1);
      at = close < 0 ? at + 1 : close + 1;
      continue;
    }
    if (text[at] !== char) {
      ++at;
      continue;
    }
    let run = 1;
    while (text[at + run] === char) ++run;
    const spaceBefore = /\s/.test(text[at - 1]);
    const wordAfter = char === "_" && WORD.test(text[at + run] ?? " ");
    if (!spaceBefore && !wordAfter && at > from) {
      if (run === mark.length) return at;
      if (run === 3 && mark.length < 3) return at + (3 - mark.length);  // **a *b***: the inner one closes first
    }
    at += run;
  }
  return -1;
}

function findTicks(text, from, length) {
  for (let at = text.indexOf("`", from); at >= 0; at = text.indexOf("`", at)) {
    let run = 1;
    while (text[at + run] === "`") ++run;
    if (run === length) return at;
    at += run;
  }
  return -1;
}

const LINK_TARGET = /\( ?<?([^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*)>?(?: (?:"[^"]*"|'[^']*'))? ?\)/y;
const LABEL_CHARS_MAX = 1000;

function parseLink(text, at, depth, hopeless) {
  if (hopeless.has("]")) return null;
  let open = 0;
  let end = at;
  const last = Math.min(text.length, at + LABEL_CHARS_MAX);
  for (; end < last; ++end) {
    if (text[end] === "\\") ++end;
    else if (text[end] === "[") ++open;
    else if (text[end] === "]" && --open === 0) break;
  }
  if (end >= last) {
    if (!text.includes("](", at)) hopeless.add("]");
    return null;
  }
  LINK_TARGET.lastIndex = end + 1;
  const target = LINK_TARGET.exec(text);
  const url = target ? safeUrl(target[1]) : null;
  if (!url) return null;
  const label = parseInline(text.slice(at + 1, end), depth + 1);
  return {piece: node("a", label.length ? label : [url], {href: url}), end: LINK_TARGET.lastIndex};
}
