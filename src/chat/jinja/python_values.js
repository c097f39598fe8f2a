// SPDX-License-Identifier: MIT
// Runs behind @huggingface/jinja, in the same scope. That library reads templates and knows what its own use needs of them; here
// stands what python does and it does not: how values print, compare, and what methods they have. The reference is jinja2 3.1
// on python 3, and tests/chat compares with it byte for byte.
"use strict";

const NONE = new NullValue();
const TRUE = new BooleanValue(true);
const FALSE = new BooleanValue(false);
const bool = (value) => (value ? TRUE : FALSE);
const str = (value) => new StringValue(value);
const int = (value) => new IntegerValue(value);
const list = (values) => new ArrayValue(values);
const tuple = (values) => new TupleValue(values);

// raise_exception(): the template refuses the conversation.
class Refusal extends Error {
  constructor(message) {
    super(message);
    this.name = "Refusal";
  }
}

function undefinedValue(hint) {
  const value = new UndefinedValue();
  value.hint = hint;
  return value;
}
function failUndefined(value) {
  throw new Error(`${value.hint ?? "a value"} is undefined`);
}

const isString = (v) => v instanceof StringValue;
const isInt = (v) => v instanceof IntegerValue;
const isFloat = (v) => v instanceof FloatValue;
const isBool = (v) => v instanceof BooleanValue;
const isNumber = (v) => isInt(v) || isFloat(v) || isBool(v);  // as python's arithmetic has it
const isList = (v) => v instanceof ArrayValue;
const isDict = (v) => v instanceof ObjectValue && !(v instanceof LoopValue);
const isNone = (v) => v instanceof NullValue;
const isUndefined = (v) => v instanceof UndefinedValue;
const numberOf = (v) => (isBool(v) ? Number(v.value) : v.value);
const truthy = (v) => v.__bool__().value;

// The loop variable: attributes and no dict.
class LoopValue extends ObjectValue {
  __bool__() { return TRUE; }
}

function typeName(v) {
  if (isString(v)) return "str";
  if (isInt(v)) return "int";
  if (isFloat(v)) return "float";
  if (isBool(v)) return "bool";
  if (isNone(v)) return "NoneType";
  if (v instanceof TupleValue) return "tuple";
  if (isList(v)) return "list";
  if (isDict(v)) return "dict";
  if (isUndefined(v)) return "Undefined";
  if (v instanceof NamespaceValue) return "Namespace";
  return "function";
}

// --- Text: python counts code points, JavaScript UTF-16 units. ---

const hasSurrogates = (text) => /[\ud800-\udfff]/.test(text);
const charactersOf = (text) => Array.from(text);
const lengthOf = (text) => (hasSurrogates(text) ? charactersOf(text).length : text.length);

const BLANK = "\\t\\n\\v\\f\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const BLANKS_BEFORE = new RegExp(`^[${BLANK}]+`);
const BLANKS_BEHIND = new RegExp(`[${BLANK}]+$`);
const BLANKS = new RegExp(`[${BLANK}]+`, "g");

function strip(text, characters, left, right) {
  if (characters === undefined || isNone(characters)) {
    if (left) text = text.replace(BLANKS_BEFORE, "");
    // A regular expression that is anchored at the end alone tries every blank in the text.
    if (right) {
      let end = text.length;
      while (end > 0 && BLANKS_BEHIND.test(text[end - 1])) --end;
      text = text.slice(0, end);
    }
    return text;
  }
  const set = new Set(charactersOf(textOf(characters, "strip")));
  const all = charactersOf(text);
  let begin = 0, end = all.length;
  while (left && begin < end && set.has(all[begin])) ++begin;
  while (right && end > begin && set.has(all[end - 1])) --end;
  return all.slice(begin, end).join("");
}

function textOf(v, who) {
  if (!isString(v)) throw new Error(`${who}() expects a str, not ${typeName(v)}`);
  return v.value;
}

function reprFloat(x) {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
  if (Object.is(x, -0)) return "-0.0";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [digits, exponent] = x.toExponential().split("e");
    const number = Number(exponent);
    return `${digits}e${number < 0 ? "-" : "+"}${String(Math.abs(number)).padStart(2, "0")}`;
  }
  return Number.isInteger(x) ? x.toFixed(1) : String(x);
}

// Integers that a double cannot hold keep their spelling.
const intText = (v) => v.text ?? (Number.isSafeInteger(v.value) ? String(v.value) : BigInt(v.value).toString());

function reprText(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = quote;
  for (const c of text) {
    const code = c.codePointAt(0);
    if (c === quote || c === "\\") out += "\\" + c;
    else if (c === "\n") out += "\\n";
    else if (c === "\r") out += "\\r";
    else if (c === "\t") out += "\\t";
    else if (code < 0x20 || (code >= 0x7f && code <= 0xa0) || code === 0xad) out += "\\x" + code.toString(16).padStart(2, "0");
    else if (/[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u.test(c) && c !== " ")
      out += code > 0xffff ? "\\U" + code.toString(16).padStart(8, "0") : "\\u" + code.toString(16).padStart(4, "0");
    else out += c;
  }
  return out + quote;
}

function repr(v) {
  if (isString(v)) return reprText(v.value);
  if (v instanceof TupleValue) {
    if (v.value.length === 1) return `(${repr(v.value[0])},)`;
    return `(${v.value.map(repr).join(", ")})`;
  }
  if (isList(v)) return `[${v.value.map(repr).join(", ")}]`;
  if (isDict(v)) return reprDict(v);
  if (isUndefined(v)) return "Undefined";
  return print(v);
}
function reprDict(v) {
  return `{${Array.from(v.value, ([key, value]) => `${repr(keyValue(key))}: ${repr(value)}`).join(", ")}}`;
}
// Keys are strings but for those of groupings and literals, which are kept as values.
const keyValue = (key) => (typeof key === "string" ? str(key) : key);

// str(v), as {{ v }} writes it.
function print(v) {
  if (isString(v)) return v.value;
  if (isInt(v)) return intText(v);
  if (isFloat(v)) return reprFloat(v.value);
  if (isBool(v)) return v.value ? "True" : "False";
  if (isNone(v)) return "None";
  if (isUndefined(v)) return "";
  if (v instanceof NamespaceValue) return `<Namespace ${reprDict(v)}>`;
  if (isList(v) || isDict(v)) return repr(v);
  throw new Error("a template printed a function");
}

// json.dumps(v, ensure_ascii=False, …) as transformers calls it.
function dumpJson(v, o, depth = 0) {
  if (isString(v)) return dumpText(v.value, o);
  if (isInt(v)) return intText(v);
  if (isFloat(v)) {
    if (Number.isNaN(v.value)) return "NaN";
    return Number.isFinite(v.value) ? reprFloat(v.value) : v.value > 0 ? "Infinity" : "-Infinity";
  }
  if (isBool(v)) return v.value ? "true" : "false";
  if (isNone(v)) return "null";
  const around = (open, parts, close) => {
    if (parts.length === 0) return open + close;
    if (o.indent === null) return open + parts.join(o.item) + close;
    const line = "\n" + o.indent.repeat(depth + 1);
    return open + line + parts.join(o.item + line) + "\n" + o.indent.repeat(depth) + close;
  };
  if (isList(v)) return around("[", v.value.map((x) => dumpJson(x, o, depth + 1)), "]");
  if (isDict(v)) {
    let entries = Array.from(v.value);
    const order = (k) => (typeof k === "string" ? k : numberOf(k));
    if (o.sort) entries.sort(([a], [b]) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0));
    const key = (k) => (typeof k === "string" ? dumpText(k, o) : dumpText(isString(k) ? k.value : dumpJson(k, o), o));
    return around("{", entries.map(([k, x]) => key(k) + o.key + dumpJson(x, o, depth + 1)), "}");
  }
  throw new Error(`Object of type ${typeName(v)} is not JSON serializable`);
}
function dumpText(text, o) {
  const json = JSON.stringify(text);
  if (!o.ascii) return json;
  return json.replace(/[\u0080-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

// --- Comparison ---

function equal(a, b) {
  if (isNumber(a) && isNumber(b)) return a.text !== undefined || b.text !== undefined ? intText(a) === intText(b) : numberOf(a) === numberOf(b);
  if (isString(a) && isString(b)) return a.value === b.value;
  if (isNone(a) || isUndefined(a)) return a.type === b.type;
  if (isList(a) && isList(b))
    return a.type === b.type && a.value.length === b.value.length && a.value.every((x, i) => equal(x, b.value[i]));
  if (isDict(a) && isDict(b))
    return a.value.size === b.value.size && Array.from(a.value).every(([k, x]) => b.value.has(k) && equal(x, b.value.get(k)));
  return a === b;
}

function compare(a, b) {
  if (isNumber(a) && isNumber(b)) return Math.sign(numberOf(a) - numberOf(b));
  if (isString(a) && isString(b)) {
    if (!hasSurrogates(a.value) && !hasSurrogates(b.value)) return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
    const x = charactersOf(a.value), y = charactersOf(b.value);
    for (let i = 0; i < x.length && i < y.length; ++i)
      if (x[i] !== y[i]) return Math.sign(x[i].codePointAt(0) - y[i].codePointAt(0));
    return Math.sign(x.length - y.length);
  }
  if (isList(a) && isList(b) && a.type === b.type) {
    for (let i = 0; i < a.value.length && i < b.value.length; ++i)
      if (!equal(a.value[i], b.value[i])) return compare(a.value[i], b.value[i]);
    return Math.sign(a.value.length - b.value.length);
  }
  if (isUndefined(a)) failUndefined(a);
  if (isUndefined(b)) failUndefined(b);
  throw new Error(`'<' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

function contains(container, item) {
  if (isString(container)) {
    if (!isString(item)) throw new Error(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    return container.value.includes(item.value);
  }
  if (isList(container)) return container.value.some((x) => equal(x, item));
  if (isDict(container)) return container.value.has(keyOf(item));
  if (isUndefined(container)) return false;
  throw new Error(`argument of type '${typeName(container)}' is not iterable`);
}

// What a dict finds a value by. Numbers that are equal are one key: the value that came first.
const numberKeys = new Map();
function keyOf(v) {
  if (isString(v)) return v.value;
  if (isList(v) || isDict(v)) throw new Error(`unhashable type: '${typeName(v)}'`);
  if (!isNumber(v)) return v;
  if (!numberKeys.has(numberOf(v))) numberKeys.set(numberOf(v), v);
  return numberKeys.get(numberOf(v));
}

function itemsOf(v) {
  if (isList(v)) return v.value;
  if (isString(v)) return charactersOf(v.value).map(str);
  if (isDict(v)) return Array.from(v.value.keys(), keyValue);
  if (isUndefined(v)) return [];
  throw new Error(`'${typeName(v)}' object is not iterable`);
}

function count(v) {
  if (isString(v)) return lengthOf(v.value);
  if (isList(v)) return v.value.length;
  if (isDict(v)) return v.value.size;
  if (isUndefined(v)) return 0;
  throw new Error(`object of type '${typeName(v)}' has no len()`);
}

// --- Arguments of built-in functions: by position or by name, with defaults. ---

// arguments_(args, who, ["a", required?], …) -> values in order, undefined where absent.
function arguments_(args, who, names) {
  args = args.slice();
  let named = new Map();
  if (args.at(-1) instanceof KeywordArgumentsValue) named = new Map(args.pop().value);
  if (args.length > names.length) throw new Error(`${who}() takes ${names.length} argument(s), not ${args.length}`);
  const bound = names.map((name, i) => {
    if (i < args.length) return args[i];
    const value = named.get(name);
    named.delete(name);
    return value;
  });
  for (const name of named.keys()) throw new Error(`${who}() got an unexpected keyword argument '${name}'`);
  return bound;
}
const functionOf = (who, names, body) => new FunctionValue((args) => body(...arguments_(args, who, names)));
const intOr = (v, otherwise) => {
  if (v === undefined || isNone(v)) return otherwise;
  if (!isInt(v) && !isBool(v)) throw new Error(`an int is expected, not ${typeName(v)}`);
  return numberOf(v);
};

// --- Methods ---

const isCased = (c) => c.toLowerCase() !== c.toUpperCase();
const title = (text) => {
  let inside = false;
  return charactersOf(text).map((c) => {
    const next = inside ? c.toLowerCase() : c.toUpperCase();
    inside = isCased(c);
    return next;
  }).join("");
};
const capitalize = (text) => {
  const all = charactersOf(text);
  return all.length === 0 ? "" : all[0].toUpperCase() + all.slice(1).join("").toLowerCase();
};

function splitBlanks(text, max) {
  const parts = [];
  text = strip(text, undefined, true, false);
  while (text.length > 0) {
    if (max >= 0 && parts.length === max) {
      parts.push(strip(text, undefined, false, true));
      break;
    }
    BLANKS.lastIndex = 0;
    const blank = BLANKS.exec(text);
    if (blank === null) {
      parts.push(text);
      break;
    }
    parts.push(text.slice(0, blank.index));
    text = text.slice(blank.index + blank[0].length);
  }
  return parts;
}
function split(text, separator, max) {
  if (separator === undefined || isNone(separator)) return splitBlanks(text, max);
  const by = textOf(separator, "split");
  if (by === "") throw new Error("empty separator");
  const parts = text.split(by);
  return max < 0 || parts.length <= max + 1 ? parts : [...parts.slice(0, max), parts.slice(max).join(by)];
}
function splitFromRight(text, separator, max) {
  if (separator === undefined || isNone(separator)) {
    if (max < 0) return splitBlanks(text, max);
    const parts = splitBlanks(text, -1);
    if (parts.length <= max + 1) return parts;
    let rest = strip(text, undefined, true, true);
    const tail = parts.slice(parts.length - max);
    for (const part of tail.slice().reverse()) rest = strip(rest.slice(0, rest.length - part.length), undefined, false, true);
    return [rest, ...tail];
  }
  const by = textOf(separator, "rsplit");
  if (by === "") throw new Error("empty separator");
  const parts = text.split(by);
  if (max < 0 || parts.length <= max + 1) return parts;
  const head = parts.length - max;
  return [parts.slice(0, head).join(by), ...parts.slice(head)];
}
function splitLines(text, keep) {
  const lines = text.match(/[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*(?:\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|$)/g) ?? [];
  lines.pop();  // the empty match at the end, or the empty rest behind the last line break
  const last = lines.join("").length;
  if (last < text.length) lines.push(text.slice(last));
  return keep ? lines : lines.map((line) => line.replace(/(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])$/, ""));
}
function replaceText(text, from, to, max) {
  if (max < 0) return from === "" ? to + charactersOf(text).map((c) => c + to).join("") : text.split(from).join(to);
  if (from === "") return charactersOf(text).map((c, i) => (i < max ? to + c : c)).join("") + (max > lengthOf(text) ? to : "");
  const parts = text.split(from);
  return parts.length <= max + 1 ? parts.join(to) : [...parts.slice(0, max), parts.slice(max).join(from)].join(to);
}
function anyOf(text, pattern, test, who) {
  const patterns = pattern instanceof TupleValue ? pattern.value : [pattern];
  return patterns.some((p) => test(text, textOf(p, who)));
}
function pad(text, width, fill, where) {
  const missing = Math.max(0, width - lengthOf(text));
  if (where === "left") return fill.repeat(missing) + text;
  if (where === "right") return text + fill.repeat(missing);
  const left = (missing >> 1) + (missing & width & 1);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

// "{} {name} {0.key}".format(…); "{:>5}" and the like are not known.
function formatBraces(text, args) {
  args = args.slice();
  const named = args.at(-1) instanceof KeywordArgumentsValue ? args.pop().value : new Map();
  let next = 0;
  return text.replace(/\{\{|\}\}|\{([^{}]*)\}/g, (whole, field) => {
    if (whole === "{{") return "{";
    if (whole === "}}") return "}";
    if (!/^\w*$/.test(field)) throw new Error(`format() of '{${field}}' is not supported`);
    const value = field === "" ? args[next++] : /^\d+$/.test(field) ? args[Number(field)] : named.get(field);
    if (value === undefined) throw new Error(`format() has nothing for '${whole}'`);
    return print(value);
  });
}

// "%s" % value
function formatPercent(text, operand) {
  const values = operand instanceof TupleValue ? operand.value : [operand];
  let next = 0;
  const take = () => {
    if (next >= values.length) throw new Error("not enough arguments for format string");
    return values[next++];
  };
  const out = text.replace(/%(?:\((\w+)\))?([-0+ #]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g, (whole, name, flags, width, precision, kind) => {
    if (kind === "%") return "%";
    const value = name !== undefined ? getItem(operand, str(name)) : take();
    let field;
    if (kind === "s") field = print(value);
    else if (kind === "r") field = repr(value);
    else if ("di".includes(kind)) field = String(Math.trunc(numberOf(value)));
    else if ("fF".includes(kind)) field = numberOf(value).toFixed(precision === undefined ? 6 : Number(precision));
    else if (kind === "x") field = numberOf(value).toString(16);
    else if (kind === "X") field = numberOf(value).toString(16).toUpperCase();
    else throw new Error(`unsupported format character '${kind}'`);
    if ("sr".includes(kind) && precision !== undefined) field = charactersOf(field).slice(0, Number(precision)).join("");
    if (flags.includes("+") && !"sr".includes(kind) && !field.startsWith("-")) field = "+" + field;
    if (flags.includes("-")) return pad(field, Number(width), " ", "right");
    if (flags.includes("0") && !"sr".includes(kind)) {
      const sign = /^[-+]/.test(field) ? field[0] : "";
      return sign + pad(field.slice(sign.length), Number(width) - sign.length, "0", "left");
    }
    return pad(field, Number(width), " ", "left");
  });
  if (name_free(text) && next < values.length && !isDict(operand))
    throw new Error("not all arguments converted during string formatting");
  return out;
}
const name_free = (text) => !/%\(\w+\)/.test(text);

// A range within text as python's optional start and end have it, in code points.
function sliceText(text, start, end) {
  if (start === undefined && end === undefined) return text;
  return charactersOf(text).slice(intOr(start, 0), end === undefined || isNone(end) ? undefined : intOr(end)).join("");
}
function findText(text, what, start, end, last) {
  const part = sliceText(text, start, end);
  const at = last ? part.lastIndexOf(what) : part.indexOf(what);
  if (at < 0) return -1;
  const offset = intOr(start, 0);
  return lengthOf(part.slice(0, at)) + (offset < 0 ? Math.max(0, lengthOf(text) + offset) : offset);
}
function occurrences(text, what) {
  return what === "" ? lengthOf(text) + 1 : text.split(what).length - 1;
}
const every = (text, pattern) => text !== "" && charactersOf(text).every((c) => pattern.test(c));

// name -> [parameters, (text, …) => value]
const STRING_METHODS = {
  upper: [[], (s) => str(s.toUpperCase())],
  lower: [[], (s) => str(s.toLowerCase())],
  casefold: [[], (s) => str(s.toLowerCase().replace(/ß/g, "ss"))],
  swapcase: [[], (s) => str(charactersOf(s).map((c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase())).join(""))],
  title: [[], (s) => str(title(s))],
  capitalize: [[], (s) => str(capitalize(s))],
  strip: [["chars"], (s, chars) => str(strip(s, chars, true, true))],
  lstrip: [["chars"], (s, chars) => str(strip(s, chars, true, false))],
  rstrip: [["chars"], (s, chars) => str(strip(s, chars, false, true))],
  split: [["sep", "maxsplit"], (s, sep, max) => list(split(s, sep, intOr(max, -1)).map(str))],
  rsplit: [["sep", "maxsplit"], (s, sep, max) => list(splitFromRight(s, sep, intOr(max, -1)).map(str))],
  splitlines: [["keepends"], (s, keep) => list(splitLines(s, keep !== undefined && truthy(keep)).map(str))],
  partition: [["sep"], (s, sep) => {
    const by = textOf(sep, "partition"), at = s.indexOf(by);
    return tuple((at < 0 ? [s, "", ""] : [s.slice(0, at), by, s.slice(at + by.length)]).map(str));
  }],
  rpartition: [["sep"], (s, sep) => {
    const by = textOf(sep, "rpartition"), at = s.lastIndexOf(by);
    return tuple((at < 0 ? ["", "", s] : [s.slice(0, at), by, s.slice(at + by.length)]).map(str));
  }],
  startswith: [["prefix", "start", "end"],
               (s, p, start, end) => bool(anyOf(sliceText(s, start, end), p, (x, y) => x.startsWith(y), "startswith"))],
  endswith: [["suffix", "start", "end"],
             (s, p, start, end) => bool(anyOf(sliceText(s, start, end), p, (x, y) => x.endsWith(y), "endswith"))],
  removeprefix: [["prefix"], (s, p) => str(s.startsWith(textOf(p, "removeprefix")) ? s.slice(p.value.length) : s)],
  removesuffix: [["suffix"],
                 (s, p) => str(s.endsWith(textOf(p, "removesuffix")) ? s.slice(0, s.length - p.value.length) : s)],
  replace: [["old", "new", "count"],
            (s, from, to, max) => str(replaceText(s, textOf(from, "replace"), textOf(to, "replace"), intOr(max, -1)))],
  find: [["sub", "start", "end"], (s, what, start, end) => int(findText(s, textOf(what, "find"), start, end, false))],
  rfind: [["sub", "start", "end"], (s, what, start, end) => int(findText(s, textOf(what, "rfind"), start, end, true))],
  index: [["sub", "start", "end"], (s, what, start, end) => {
    const at = findText(s, textOf(what, "index"), start, end, false);
    if (at < 0) throw new Error("substring not found");
    return int(at);
  }],
  count: [["sub", "start", "end"],
          (s, what, start, end) => int(occurrences(sliceText(s, start, end), textOf(what, "count")))],
  join: [["iterable"], (s, items) => str(itemsOf(items).map((x) => textOf(x, "join")).join(s))],
  zfill: [["width"], (s, width) => {
    const sign = /^[-+]/.test(s) ? s[0] : "";
    return str(sign + pad(s.slice(sign.length), intOr(width, 0) - sign.length, "0", "left"));
  }],
  ljust: [["width", "fill"], (s, width, fill) => str(pad(s, intOr(width, 0), fill?.value ?? " ", "right"))],
  rjust: [["width", "fill"], (s, width, fill) => str(pad(s, intOr(width, 0), fill?.value ?? " ", "left"))],
  center: [["width", "fill"], (s, width, fill) => str(pad(s, intOr(width, 0), fill?.value ?? " ", "center"))],
  isdigit: [[], (s) => bool(every(s, /^[\p{Nd}²³¹]$/u))],
  isdecimal: [[], (s) => bool(every(s, /^\p{Nd}$/u))],
  isnumeric: [[], (s) => bool(every(s, /^\p{N}$/u))],
  isalpha: [[], (s) => bool(every(s, /^\p{L}$/u))],
  isalnum: [[], (s) => bool(every(s, /^[\p{L}\p{N}]$/u))],
  isspace: [[], (s) => bool(every(s, new RegExp(`^[${BLANK}]$`)))],
  isupper: [[], (s) => bool(s === s.toUpperCase() && s !== s.toLowerCase())],
  islower: [[], (s) => bool(s === s.toLowerCase() && s !== s.toUpperCase())],
};
const LIST_METHODS = {
  index: [["value"], (v, what) => {
    const at = v.findIndex((x) => equal(x, what));
    if (at < 0) throw new Error(`${repr(what)} is not in list`);
    return int(at);
  }],
  count: [["value"], (v, what) => int(v.filter((x) => equal(x, what)).length)],
  copy: [[], (v) => list(v.slice())],
  // The reference's sandbox forbids what changes a list or a dict; llama.cpp, which templates are written for too, does not.
  append: [["value"], (v, what) => (v.push(what ?? NONE), NONE)],
  extend: [["iterable"], (v, items) => (v.push(...itemsOf(items)), NONE)],
  insert: [["index", "value"], (v, at, what) => (v.splice(intOr(at), 0, what), NONE)],
  pop: [["index"], (v, index) => {
    const at = intOr(index, -1) < 0 ? v.length + intOr(index, -1) : intOr(index, -1);
    if (at < 0 || at >= v.length) throw new Error(v.length === 0 ? "pop from empty list" : "pop index out of range");
    return v.splice(at, 1)[0];
  }],
  remove: [["value"], (v, what) => {
    const at = v.findIndex((x) => equal(x, what));
    if (at < 0) throw new Error("list.remove(x): x not in list");
    v.splice(at, 1);
    return NONE;
  }],
  reverse: [[], (v) => (v.reverse(), NONE)],
  clear: [[], (v) => ((v.length = 0), NONE)],
};
const DICT_METHODS = {
  get: [["key", "default"], (v, key, otherwise) => v.get(keyOf(key)) ?? otherwise ?? NONE],
  items: [[], (v) => list(Array.from(v, ([key, x]) => tuple([keyValue(key), x])))],
  keys: [[], (v) => list(Array.from(v.keys(), keyValue))],
  values: [[], (v) => list(Array.from(v.values()))],
  copy: [[], (v) => new ObjectValue(new Map(v))],
  update: [["other"], (v, other) => {
    if (!isDict(other)) throw new Error(`'${typeName(other)}' object is not a mapping`);
    for (const [key, x] of other.value) v.set(key, x);
    return NONE;
  }],
  pop: [["key", "default"], (v, key, otherwise) => {
    const found = v.get(keyOf(key)) ?? otherwise;
    if (found === undefined) throw new Error(repr(key));
    v.delete(keyOf(key));
    return found;
  }],
  setdefault: [["key", "default"], (v, key, otherwise) => {
    if (!v.has(keyOf(key))) v.set(keyOf(key), otherwise ?? NONE);
    return v.get(keyOf(key));
  }],
  clear: [[], (v) => (v.clear(), NONE)],
};

function methodOf(v, name) {
  const methods = isString(v) ? STRING_METHODS : isDict(v) ? DICT_METHODS : isList(v) ? LIST_METHODS : undefined;
  if (methods === undefined || !Object.hasOwn(methods, name)) return undefined;
  if (isString(v) && name === "format") return undefined;
  const [names, body] = methods[name];
  return functionOf(name, names, (...args) => body(v.value, ...args));
}

// v.name
function getAttribute(v, name) {
  if (isUndefined(v)) failUndefined(v);
  if (v instanceof NamespaceValue || v instanceof LoopValue)
    return v.value.get(name) ?? undefinedValue(`'${typeName(v)} object' has no attribute '${name}', so it`);
  if (isString(v) && name === "format") return new FunctionValue((args) => str(formatBraces(v.value, args)));
  const method = methodOf(v, name);
  if (method !== undefined) return method;
  if (isDict(v) && v.value.has(name)) return v.value.get(name);
  return undefinedValue(`'${typeName(v)} object' has no attribute '${name}', so it`);
}

// v[key]
function getItem(v, key) {
  if (isUndefined(v)) failUndefined(v);
  if (isInt(key) || isBool(key)) {
    const at = numberOf(key);
    if (isList(v)) return v.value.at(at) ?? undefinedValue(`element ${at}`);
    if (isString(v)) {
      const c = hasSurrogates(v.value) ? charactersOf(v.value).at(at) : v.value.at(at);
      return c === undefined ? undefinedValue(`character ${at}`) : str(c);
    }
  }
  if (isDict(v)) {
    const found = v.value.get(keyOf(key));
    if (found !== undefined) return found;
  }
  return isString(key) ? getAttribute(v, key.value) : undefinedValue(`element ${print(key)}`);
}

function sliceOf(v, start, stop, step) {
  const bound = (x) => (x === undefined || isUndefined(x) || isNone(x) ? undefined : intOr(x));
  const by = bound(step) ?? 1;
  if (by === 0) throw new Error("slice step cannot be zero");
  if (isString(v)) return str(slice(charactersOf(v.value), bound(start), bound(stop), by).join(""));
  if (v instanceof TupleValue) return tuple(slice(v.value, bound(start), bound(stop), by));
  if (isList(v)) return list(slice(v.value, bound(start), bound(stop), by));
  if (isUndefined(v)) failUndefined(v);
  return undefinedValue("a slice");
}
