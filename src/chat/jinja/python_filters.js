// SPDX-License-Identifier: MIT
// jinja2's filters and tests, as python has them. Behind python_values.js, in the same scope.
"use strict";

// An attribute path ("function.name", "items.0") as filters take it: subscripts, then attributes.
function attributePath(v, path) {
  for (const part of isInt(path) ? [path] : textOf(path, "attribute").split("."))
    v = getItem(v, typeof part === "string" ? (/^\d+$/.test(part) ? int(Number(part)) : str(part)) : part);
  return v;
}
const lowered = (v, sensitive) => (isString(v) && !sensitive ? str(v.value.toLowerCase()) : v);
const isSet = (v, otherwise = false) => (v === undefined ? otherwise : truthy(v));
// Grouping and uniqueness: what is equal has an equal key.
const identity = (v) => `${isNumber(v) ? "number" : typeName(v)} ${isNumber(v) ? numberOf(v) : repr(v)}`;

function sorted(values, keyOfItem, reverse) {
  const keyed = values.map((value) => [keyOfItem(value), value]);
  keyed.sort(([a], [b]) => (reverse ? compare(b, a) : compare(a, b)));
  return keyed.map(([, value]) => value);
}
function extreme(values, sensitive, attribute, sign) {
  const items = itemsOf(values);
  if (items.length === 0) return undefinedValue("No aggregated item, sequence was empty, so it");
  const key = (v) => lowered(attribute === undefined || isNone(attribute) ? v : attributePath(v, attribute), isSet(sensitive));
  return items.reduce((best, v) => (sign * compare(key(v), key(best)) > 0 ? v : best));
}
function toInt(v, otherwise, base) {
  if (isNumber(v)) return v.text !== undefined ? v : Number.isFinite(numberOf(v)) ? int(Math.trunc(numberOf(v))) : otherwise;
  if (!isString(v)) return otherwise;
  const text = strip(v.value, undefined, true, true).replace(/(\d)_(?=\d)/g, "$1");
  if (base === 16 && /^[-+]?(0x)?[\da-f]+$/i.test(text)) return int(parseInt(text, 16));
  if (base === 2 && /^[-+]?(0b)?[01]+$/i.test(text)) return int(parseInt(text.replace(/0b/i, ""), 2));
  if (base === 8 && /^[-+]?(0o)?[0-7]+$/i.test(text)) return int(parseInt(text.replace(/0o/i, ""), 8));
  if (/^[-+]?\d+$/.test(text)) return int(Number(text));
  const number = toFloat(v, undefined);
  return number === undefined || !Number.isFinite(number.value) ? otherwise : int(Math.trunc(number.value));
}
function toFloat(v, otherwise) {
  if (isNumber(v)) return new FloatValue(numberOf(v));
  if (!isString(v)) return otherwise;
  const text = strip(v.value, undefined, true, true);
  if (/^[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?$/i.test(text)) return new FloatValue(Number(text));
  if (/^[-+]?(inf|infinity)$/i.test(text)) return new FloatValue(text.startsWith("-") ? -Infinity : Infinity);
  return /^[-+]?nan$/i.test(text) ? new FloatValue(NaN) : otherwise;
}
// Half to even, as python rounds.
function rounded(v, precision, method) {
  const places = intOr(precision, 0), how = method?.value ?? "common", factor = 10 ** places, x = numberOf(v);
  if (how === "ceil") return new FloatValue(Math.ceil(x * factor) / factor);
  if (how === "floor") return new FloatValue(Math.floor(x * factor) / factor);
  if (isInt(v) && places >= 0) return v;
  if (places > 0) return new FloatValue(Number(x.toFixed(places)));
  const scaled = x * factor, low = Math.floor(scaled), rest = scaled - low;
  const whole = rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
  return isInt(v) ? int(whole / factor) : new FloatValue(whole / factor);
}
const ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"};
const escapeHtml = (v) => str(print(v).replace(/[&<>'"]/g, (c) => ESCAPES[c]));

function indentText(v, width, first, blank) {
  const indent = isString(width) ? width.value : " ".repeat(intOr(width, 4));
  const text = textOf(v, "indent") + "\n";
  let out;
  if (isSet(blank)) out = splitLines(text, false).join("\n" + indent);
  else {
    const [head, ...lines] = splitLines(text, false);
    out = [head, ...lines.map((line) => (line ? indent + line : line))].join("\n");
  }
  // As jinja2 does it: a newline is added so that the last line counts, and split away again.
  return str((isSet(first) ? indent : "") + out);
}
function truncate(v, length, killwords, end, leeway) {
  const text = print(v), max = intOr(length, 255), dots = end?.value ?? "...";
  const all = charactersOf(text);
  if (all.length <= max + intOr(leeway, 5)) return str(text);
  const cut = all.slice(0, max - lengthOf(dots)).join("");
  if (isSet(killwords)) return str(cut + dots);
  const space = cut.lastIndexOf(" ");
  return str((space < 0 ? cut : cut.slice(0, space)) + dots);
}

// select, reject and their attr forms; `applied` is the name of a test and its arguments.
function chosen(interpreter, v, accept, attribute, [name, ...args]) {
  const test = name === undefined ? truthy : (x) => interpreter.test(textOf(name, "select"), x, args);
  return list(itemsOf(v).filter((x) => test(attribute === undefined ? x : attributePath(x, attribute)) === accept));
}
function mapped(interpreter, v, args) {
  const named = args.at(-1) instanceof KeywordArgumentsValue ? args.at(-1).value : new Map();
  const attribute = named.get("attribute");
  if (attribute === undefined) {
    const [name, ...rest] = args;
    if (name === undefined) throw new Error("map requires a filter argument");
    return list(itemsOf(v).map((x) => interpreter.filter(textOf(name, "map"), x, rest)));
  }
  const otherwise = named.get("default");
  return list(itemsOf(v).map((x) => {
    const value = attributePath(x, attribute);
    return isUndefined(value) && otherwise !== undefined ? otherwise : value;
  }));
}
function grouped(v, attribute, otherwise, sensitive) {
  const key = (x) => {
    const value = attributePath(x, attribute);
    return isUndefined(value) && otherwise !== undefined ? otherwise : value;
  };
  const items = sorted(itemsOf(v), (x) => lowered(key(x), isSet(sensitive)), false), groups = [];
  for (const item of items) {
    const last = groups.at(-1);
    if (last !== undefined && equal(lowered(last[0], isSet(sensitive)), lowered(key(item), isSet(sensitive)))) last[1].push(item);
    else groups.push([key(item), [item]]);
  }
  return list(groups.map(([value, members]) => {
    const group = tuple([value, list(members)]);
    return group;
  }));
}
function batched(v, size, fill) {
  const items = itemsOf(v), n = intOr(size), out = [];
  for (let i = 0; i < items.length; i += n) out.push(items.slice(i, i + n));
  while (fill !== undefined && !isNone(fill) && out.length > 0 && out.at(-1).length < n) out.at(-1).push(fill);
  return list(out.map(list));
}
function sliced(v, slices, fill) {
  const items = itemsOf(v), n = intOr(slices), base = Math.floor(items.length / n), extra = items.length % n, out = [];
  let offset = 0;
  for (let i = 0; i < n; ++i) {
    const start = offset + i * base;
    if (i < extra) ++offset;
    const part = items.slice(start, offset + (i + 1) * base);
    if (fill !== undefined && !isNone(fill) && i >= extra) part.push(fill);
    out.push(list(part));
  }
  return list(out);
}
function toJson(v, ascii, indent, separators, sort) {
  const width = indent === undefined || isNone(indent) ? null : isString(indent) ? indent.value : " ".repeat(intOr(indent));
  const [item, key] = separators === undefined || isNone(separators)
                          ? [width === null ? ", " : ",", ": "]
                          : separators.value.map((s) => textOf(s, "separators"));
  return str(dumpJson(v, {ascii: isSet(ascii), indent: width, item, key, sort: isSet(sort)}));
}
function summed(v, attribute, start) {
  return itemsOf(v)
      .map((x) => (attribute === undefined || isNone(attribute) ? x : attributePath(x, attribute)))
      .reduce((a, b) => arithmetic("+", a, b), start ?? int(0));
}
const firstOr = (items, i, what) => items.at(i) ?? undefinedValue(`No ${what} item, sequence was empty, so it`);

// name -> [parameters behind the value, (value, …) => value]
const FILTERS = {
  abs: [[], (v) => (isFloat(v) ? new FloatValue(Math.abs(v.value)) : int(Math.abs(numberOf(v))))],
  attr: [["name"], (v, name) => getAttribute(v, name.value)],
  batch: [["linecount", "fill_with"], batched],
  bool: [[], (v) => bool(truthy(v))],
  capitalize: [[], (v) => str(capitalize(print(v)))],
  center: [["width"], (v, width) => str(pad(print(v), intOr(width, 80), " ", "center"))],
  count: [[], (v) => int(count(v))],
  default: [["default_value", "boolean"], (v, otherwise, boolean) =>
    (isUndefined(v) || (isSet(boolean) && !truthy(v)) ? otherwise ?? str("") : v)],
  dictsort: [["case_sensitive", "by", "reverse"], (v, sensitive, by, reverse) => {
    if (!isDict(v)) throw new Error(`'${typeName(v)}' object has no attribute 'items'`);
    return list(sorted(Array.from(v.value, ([k, x]) => tuple([keyValue(k), x])),
                       (pair) => lowered(pair.value[by?.value === "value" ? 1 : 0], isSet(sensitive)), isSet(reverse)));
  }],
  escape: [[], escapeHtml],
  first: [[], (v) => firstOr(itemsOf(v), 0, "first")],
  float: [["default"], (v, otherwise) => toFloat(v, otherwise ?? new FloatValue(0))],
  forceescape: [[], escapeHtml],
  groupby: [["attribute", "default", "case_sensitive"], grouped],
  indent: [["width", "first", "blank"], indentText],
  int: [["default", "base"], (v, otherwise, base) => toInt(v, otherwise ?? int(0), intOr(base, 10))],
  items: [[], (v) => {
    if (isUndefined(v)) return list([]);
    if (!isDict(v)) throw new Error("Can only get item pairs from a mapping.");
    return DICT_METHODS.items[1](v.value);
  }],
  join: [["d", "attribute"], (v, by, attribute) =>
    str(itemsOf(v).map((x) => print(attribute === undefined || isNone(attribute) ? x : attributePath(x, attribute)))
            .join(by === undefined ? "" : print(by)))],
  last: [[], (v) => firstOr(itemsOf(v), -1, "last")],
  length: [[], (v) => int(count(v))],
  list: [[], (v) => list(itemsOf(v).slice())],
  lower: [[], (v) => str(print(v).toLowerCase())],
  max: [["case_sensitive", "attribute"], (v, sensitive, attribute) => extreme(v, sensitive, attribute, 1)],
  min: [["case_sensitive", "attribute"], (v, sensitive, attribute) => extreme(v, sensitive, attribute, -1)],
  replace: [["old", "new", "count"], (v, from, to, max) => str(replaceText(print(v), print(from), print(to), intOr(max, -1)))],
  reverse: [[], (v) => (isString(v) ? str(charactersOf(v.value).reverse().join("")) : list(itemsOf(v).slice().reverse()))],
  round: [["precision", "method"], rounded],
  safe: [[], (v) => (isString(v) ? v : str(print(v)))],
  slice: [["slices", "fill_with"], sliced],
  sort: [["reverse", "case_sensitive", "attribute"], (v, reverse, sensitive, attribute) =>
    list(sorted(itemsOf(v), (x) => {
      if (attribute === undefined || isNone(attribute)) return lowered(x, isSet(sensitive));
      const paths = isString(attribute) ? attribute.value.split(",").map(str) : [attribute];
      return tuple(paths.map((path) => lowered(attributePath(x, path), isSet(sensitive))));
    }, isSet(reverse)))],
  string: [[], (v) => str(print(v))],
  striptags: [[], (v) => str(strip(print(v).replace(/<!--[^]*?-->|<[^>]*>/g, ""), undefined, true, true).replace(/\s+/g, " "))],
  sum: [["attribute", "start"], summed],
  title: [[], (v) => str(print(v).split(/([-\s({[<]+)/).map(capitalize).join(""))],
  tojson: [["ensure_ascii", "indent", "separators", "sort_keys"], toJson],
  trim: [["chars"], (v, chars) => str(strip(print(v), chars, true, true))],
  truncate: [["length", "killwords", "end", "leeway"], truncate],
  unique: [["case_sensitive", "attribute"], (v, sensitive, attribute) => {
    const seen = new Set();
    return list(itemsOf(v).filter((x) => {
      const key = identity(lowered(attribute === undefined || isNone(attribute) ? x : attributePath(x, attribute), isSet(sensitive)));
      return !seen.has(key) && seen.add(key);
    }));
  }],
  upper: [[], (v) => str(print(v).toUpperCase())],
  urlencode: [[], (v) => str(encodeURIComponent(print(v)).replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase())
                                 .replace(/%2F/g, "/"))],
  wordcount: [[], (v) => int((print(v).match(/[\p{L}\p{N}_]+/gu) ?? []).length)],
};
FILTERS.d = FILTERS.default;
FILTERS.e = FILTERS.escape;

const ordered = (test) => (a, b) => test(compare(a, b));
const TESTS = {
  boolean: isBool,
  callable: (v) => v instanceof FunctionValue,
  defined: (v) => !isUndefined(v),
  divisibleby: (v, by) => numberOf(v) % numberOf(by) === 0,
  equalto: equal,
  escaped: () => false,
  even: (v) => numberOf(v) % 2 === 0,
  false: (v) => isBool(v) && !v.value,
  filter: (v) => isString(v) && Object.hasOwn(FILTERS, v.value),
  float: isFloat,
  ge: ordered((c) => c >= 0),
  gt: ordered((c) => c > 0),
  in: (v, container) => contains(container, v),
  integer: isInt,
  iterable: (v) => isString(v) || isList(v) || isDict(v) || isUndefined(v),
  le: ordered((c) => c <= 0),
  lower: (v) => STRING_METHODS.islower[1](print(v)).value,
  lt: ordered((c) => c < 0),
  mapping: isDict,
  ne: (a, b) => !equal(a, b),
  none: isNone,
  number: isNumber,
  odd: (v) => Math.abs(numberOf(v) % 2) === 1,
  sameas: (a, b) => a === b || (isBool(a) && isBool(b) && a.value === b.value) || (isNone(a) && isNone(b)) ||
                    (isInt(a) && isInt(b) && a.value === b.value) || (isString(a) && isString(b) && a.value === b.value),
  sequence: (v) => isString(v) || isList(v) || isDict(v) || isUndefined(v),
  string: isString,
  test: (v) => isString(v) && Object.hasOwn(TESTS, v.value),
  true: (v) => isBool(v) && v.value,
  undefined: isUndefined,
  upper: (v) => STRING_METHODS.isupper[1](print(v)).value,
};
Object.assign(TESTS, {"==": equal, eq: equal, "!=": TESTS.ne, ">": TESTS.gt, greaterthan: TESTS.gt, ">=": TESTS.ge,
                      "<": TESTS.lt, lessthan: TESTS.lt, "<=": TESTS.le});
