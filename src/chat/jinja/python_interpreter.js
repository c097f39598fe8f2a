// SPDX-License-Identifier: MIT
// jinja2's white space, scopes and statements, over the lexer and the parser of @huggingface/jinja; and the door through
// which C++ comes in. Behind python_filters.js, in the same scope.
"use strict";

// --- Source: white space and tags as jinja2's lexer treats them with trim_blocks and lstrip_blocks. ---

// Where the tag that opens at `begin` ends; strings within it may hold anything.
function tagEnd(source, begin, close) {
  const scan = close === "}}" ? /"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|[-+]?\}\}|[{}()[\]]/g
                              : /"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|[-+]?%\}/g;
  scan.lastIndex = begin;
  let depth = 0;
  for (let match; (match = scan.exec(source)) !== null;) {
    const text = match[0];
    if (text === "{") ++depth;
    else if (text === "}") --depth;
    else if (text.endsWith(close)) {
      if (depth <= 0) return scan.lastIndex;
      // "}}" within a literal of dicts: two braces that close.
      depth -= 1;
      scan.lastIndex -= 1;
    }
  }
  throw new SyntaxError(`a tag is not closed with ${close}`);
}

// The template with white space control applied, raw blocks quoted, and generation tags taken out.
function prepare(source) {
  source = source.replace(/\r\n|\r/g, "\n").replace(/\n$/, "");
  let out = "", text = "", trimNext = false;
  const quote = (raw) => (/\{[{%#]/.test(raw) ? "{{" + JSON.stringify(raw).replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0")) + "}}" : raw);
  const open = /\{%|\{\{|\{#/g;
  let at = 0;
  while (true) {
    open.lastIndex = at;
    const match = open.exec(source);
    const end = match === null ? source.length : match.index;
    text = source.slice(at, end);
    if (trimNext) text = text.replace(/^\s+/, "");
    if (match === null) return out + text;
    const kind = match[0], sign = source[end + 2];
    if (sign === "-") text = strip(text, undefined, false, true);
    // lstrip_blocks: not before {{, and only where the line holds nothing else.
    else if (sign !== "+" && kind !== "{{") {
      const line = text.lastIndexOf("\n") + 1;
      if ((line > 0 || startsLine(source, at)) && /^\s*$/.test(text.slice(line))) text = text.slice(0, line);
    }
    let close;
    if (kind === "{#") {
      const found = source.indexOf("#}", end + 2);
      if (found < 0) throw new SyntaxError("a comment is not closed with #}");
      close = found + 2;
    } else {
      close = tagEnd(source, end + 2, kind === "{%" ? "%}" : "}}");
    }
    const before = source[close - 3];
    let body = source.slice(end + 2, close - 2).replace(/^[-+]/, "");
    const signs = body.length > 0 && (before === "-" || (before === "+" && kind !== "{{"));
    if (signs) body = body.slice(0, -1);
    trimNext = signs && before === "-";
    at = close;
    if (!trimNext && !(signs && before === "+") && kind !== "{{" && source[at] === "\n") ++at;
    // A brace in front of a tag, or of text behind a comment, must not become part of a mark.
    out += text.replace(/\{$/, "{{'{'}}");
    if (kind === "{{") out += `{{${body}}}`;
    else if (kind === "{%") {
      const name = body.trim();
      if (name === "raw") {
        const tag = /\{%([-+]?)\s*endraw\s*([-+]?)%\}/g;
        tag.lastIndex = at;
        const stop = tag.exec(source);
        if (stop === null) throw new SyntaxError("raw without endraw");
        let raw = source.slice(at, stop.index);
        if (trimNext) raw = raw.replace(/^\s+/, "");
        if (stop[1] === "-") raw = strip(raw, undefined, false, true);
        else if (stop[1] !== "+") raw = raw.replace(/(^|\n)[ \t]*$/, "$1");
        out += quote(raw);
        trimNext = stop[2] === "-";
        at = tag.lastIndex;
        if (stop[2] === "" && source[at] === "\n") ++at;
      } else if (name !== "generation" && name !== "endgeneration") out += `{%${body}%}`;
    }
  }
}
// The text at `at` begins a line: at the start, or behind a newline that a block has taken.
const startsLine = (source, at) => at === 0 || source[at - 1] === "\n";

// The parser takes names of tests alone. A test with an argument becomes a filter of the same name behind a mark.
const TEST_MARK = "is:", NOT_TEST_MARK = "is not:";
function withTestArguments(tokens) {
  const out = [];
  const opens = {OpenParen: "CloseParen", OpenSquareBracket: "CloseSquareBracket", OpenCurlyBracket: "CloseCurlyBracket"};
  // The token behind the primary expression that starts at `i`.
  const primaryEnd = (i) => {
    if (!(tokens[i].type in opens)) return i + 1;
    let depth = 0;
    for (; i < tokens.length; ++i) {
      if (tokens[i].type in opens) ++depth;
      else if (Object.values(opens).includes(tokens[i].type) && --depth === 0) return i + 1;
    }
    throw new SyntaxError("brackets are not closed");
  };
  const WORDS = ["and", "or", "not", "if", "else", "is", "in"];
  for (let i = 0; i < tokens.length; ++i) {
    const isWord = (k, word) => tokens[k]?.type === "Identifier" && (word === undefined || tokens[k].value === word);
    const name = i + (isWord(i + 1, "not") ? 2 : 1);
    const argument = name + 1;
    const takes = isWord(i, "is") && i > 0 && out.at(-1).type !== "Dot" && isWord(name) && tokens[argument] !== undefined &&
                  (tokens[argument].type in opens || ["StringLiteral", "NumericLiteral"].includes(tokens[argument].type) ||
                   (isWord(argument) && !WORDS.includes(tokens[argument].value)));
    if (!takes) {
      out.push(tokens[i]);
      continue;
    }
    const mark = name === i + 2 ? NOT_TEST_MARK : TEST_MARK;
    out.push(new Token("|", "Pipe"), new Token(mark + tokens[name].value, "Identifier"));
    const end = primaryEnd(argument);
    const own = tokens[argument].type === "OpenParen";
    if (!own) out.push(new Token("(", "OpenParen"));
    out.push(...withTestArguments(tokens.slice(argument, end)));
    if (!own) out.push(new Token(")", "CloseParen"));
    i = end - 1;
  }
  return out;
}

// a < b < c is a < b and b < c, (a < b) < c is not; the parser forgets parentheses. So each token learns within which it stands.
function withGroups(tokens) {
  const open = [0];
  let groups = 0;
  for (const token of tokens) {
    if (token.type === "OpenParen") open.push(++groups);
    if (token.type === "CloseParen") open.pop();
    token.group = open.at(-1);
  }
  return tokens;
}

// The lexer reads 1e20 as 1 and e20, and 1.5e-7 as four tokens. A number in front of a name is no Jinja otherwise.
function withExponents(tokens) {
  const out = [];
  for (let i = 0; i < tokens.length; ++i) {
    const name = tokens[i + 1];
    const match = tokens[i].type === "NumericLiteral" && name?.type === "Identifier" ? /^[eE](\d*)$/.exec(name.value) : null;
    if (match === null) {
      out.push(tokens[i]);
      continue;
    }
    const mantissa = tokens[i].value.includes(".") ? tokens[i].value : tokens[i].value + ".0";
    const whole = match[1] !== "";
    out.push(new Token(mantissa + "e" + (whole ? match[1] : tokens[i + 2].value + tokens[i + 3].value), "NumericLiteral"));
    i += whole ? 1 : 3;
  }
  return out;
}

// --- Operators ---

function arithmetic(operator, a, b) {
  if (isUndefined(a)) failUndefined(a);
  if (isUndefined(b)) failUndefined(b);
  if (isNumber(a) && isNumber(b)) {
    const x = numberOf(a), y = numberOf(b), real = isFloat(a) || isFloat(b);
    const number = (value) => (real ? new FloatValue(value) : int(value));
    if (["/", "//", "%"].includes(operator) && y === 0) throw new Error("division by zero");
    switch (operator) {
      case "+": return number(x + y);
      case "-": return number(x - y);
      case "*": return number(x * y);
      case "/": return new FloatValue(x / y);
      case "//": return number(Math.floor(x / y));
      case "%": return number(x - y * Math.floor(x / y));
      case "**": return y < 0 ? new FloatValue(x ** y) : number(x ** y);
    }
  }
  if (operator === "%" && isString(a)) return str(formatPercent(a.value, b));
  if (operator === "+" && isString(a) && isString(b)) return str(a.value + b.value);
  if (operator === "+" && isList(a) && isList(b) && a.type === b.type)
    return a instanceof TupleValue ? tuple([...a.value, ...b.value]) : list([...a.value, ...b.value]);
  if (operator === "*" && (isInt(b) || isBool(b)) && isString(a)) return str(a.value.repeat(Math.max(0, numberOf(b))));
  if (operator === "*" && (isInt(a) || isBool(a)) && isString(b)) return str(b.value.repeat(Math.max(0, numberOf(a))));
  if (operator === "*" && isInt(b) && isList(a)) {
    const out = [];
    for (let i = 0; i < b.value; ++i) out.push(...a.value);
    return a instanceof TupleValue ? tuple(out) : list(out);
  }
  throw new Error(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
}

function binary(operator, a, b) {
  switch (operator) {
    case "==": return bool(equal(a, b));
    case "!=": return bool(!equal(a, b));
    case "in": return bool(contains(b, a));
    case "not in": return bool(!contains(b, a));
    case "<": return bool(compare(a, b) < 0);
    case ">": return bool(compare(a, b) > 0);
    case "<=": return bool(compare(a, b) <= 0);
    case ">=": return bool(compare(a, b) >= 0);
    case "~": return str(print(a) + print(b));
  }
  return arithmetic(operator, a, b);
}

// --- Statements ---

class Loop {
  // Assigns `value` to the target of a for or set.
  static assign(target, value, environment) {
    if (target.type === "Identifier") return environment.setVariable(target.value, value);
    if (target.type !== "TupleLiteral") throw new Error(`cannot assign to ${target.type}`);
    const values = itemsOf(value);
    if (values.length !== target.value.length)
      throw new Error(values.length > target.value.length
                          ? `too many values to unpack (expected ${target.value.length})`
                          : `not enough values to unpack (expected ${target.value.length}, got ${values.length})`);
    target.value.forEach((part, i) => Loop.assign(part, values[i], environment));
  }
}

const SILENT = new Set(["Set", "Macro", "Comment"]);

class PythonInterpreter extends Interpreter {
  // The library's dicts have keys of text alone.
  evaluate(node, environment) {
    if (node?.type !== "ObjectLiteral") return super.evaluate(node, environment);
    const entries = new Map();
    for (const [key, value] of node.value) entries.set(keyOf(this.evaluate(key, environment)), this.evaluate(value, environment));
    return new ObjectValue(entries);
  }

  evaluateBlock(statements, environment) {
    let out = "";
    for (const statement of statements) {
      try {
        const value = this.evaluate(statement, environment);
        if (!SILENT.has(statement.type)) out += print(value);
      } catch (failure) {
        // What was written before a break or continue stays written.
        if (failure instanceof BreakControl || failure instanceof ContinueControl) failure.written = out + (failure.written ?? "");
        throw failure;
      }
    }
    return str(out);
  }

  evaluateIdentifier(node, environment) {
    const value = environment.lookupVariable(node.value);
    if (isUndefined(value) && value.hint === undefined) return undefinedValue(`'${node.value}'`);
    return value;
  }

  evaluateBinaryExpression(node, environment) {
    const operator = node.operator.value;
    const left = this.evaluate(node.left, environment);
    if (operator === "and") return truthy(left) ? this.evaluate(node.right, environment) : left;
    if (operator === "or") return truthy(left) ? left : this.evaluate(node.right, environment);
    const inner = node.left.type === "BinaryExpression" ? node.left.operator : undefined;
    const chained = COMPARISONS.has(operator) && COMPARISONS.has(inner?.value) && inner.group === node.operator.group;
    if (chained && truthy(left)) return binary(operator, this.evaluate(node.left.right, environment), this.evaluate(node.right, environment));
    if (chained) return left;
    return binary(operator, left, this.evaluate(node.right, environment));
  }

  evaluateUnaryExpression(node, environment) {
    const value = this.evaluate(node.argument, environment);
    if (node.operator.value === "not") return bool(!truthy(value));
    if (isUndefined(value)) failUndefined(value);
    if (!isNumber(value)) throw new Error(`bad operand type for unary ${node.operator.value}: '${typeName(value)}'`);
    const signed = node.operator.value === "-" ? -numberOf(value) : numberOf(value);
    return isFloat(value) ? new FloatValue(signed) : int(signed);
  }

  test(name, value, args) {
    if (!Object.hasOwn(TESTS, name)) throw new Error(`No test named '${name}'`);
    return TESTS[name](value, ...args);
  }
  evaluateTestExpression(node, environment) {
    const value = this.evaluate(node.operand, environment);
    return bool(this.test(node.test.value, value, []) !== node.negate);
  }

  filter(name, value, args) {
    if (name.startsWith(TEST_MARK)) return bool(this.test(name.slice(TEST_MARK.length), value, args));
    if (name.startsWith(NOT_TEST_MARK)) return bool(!this.test(name.slice(NOT_TEST_MARK.length), value, args));
    switch (name) {
      case "select": return chosen(this, value, true, undefined, args);
      case "reject": return chosen(this, value, false, undefined, args);
      case "selectattr": return chosen(this, value, true, args[0], args.slice(1));
      case "rejectattr": return chosen(this, value, false, args[0], args.slice(1));
      case "map": return mapped(this, value, args);
      case "format": return str(formatPercent(print(value), tuple(args)));
    }
    if (!Object.hasOwn(FILTERS, name)) throw new Error(`No filter named '${name}'`);
    const [names, body] = FILTERS[name];
    return body(value, ...arguments_(args, name, names));
  }
  applyFilter(value, node, environment) {
    if (node.type === "Identifier") return this.filter(node.value, value, []);
    return this.filter(node.callee.value, value, this.arguments(node.args, environment));
  }

  arguments(nodes, environment) {
    const args = [], named = new Map();
    for (const node of nodes) {
      if (node.type === "SpreadExpression") args.push(...itemsOf(this.evaluate(node.argument, environment)));
      else if (node.type === "KeywordArgumentExpression") named.set(node.key.value, this.evaluate(node.value, environment));
      else if (node.type === "KeywordSpreadExpression")
        for (const [key, value] of this.evaluate(node.argument, environment).value) named.set(key, value);
      else args.push(this.evaluate(node, environment));
    }
    if (named.size > 0) args.push(new KeywordArgumentsValue(named));
    return args;
  }
  evaluateArguments(nodes, environment) {
    const args = this.arguments(nodes, environment);
    const named = args.at(-1) instanceof KeywordArgumentsValue ? args.pop().value : new Map();
    return [args, named];
  }

  evaluateCallExpression(node, environment) {
    const callee = this.evaluate(node.callee, environment);
    if (isUndefined(callee)) failUndefined(callee);
    if (!(callee instanceof FunctionValue)) throw new Error(`'${typeName(callee)}' object is not callable`);
    return callee.value(this.arguments(node.args, environment), environment);
  }

  evaluateMemberExpression(node, environment) {
    const value = this.evaluate(node.object, environment);
    const property = node.property;
    if (!node.computed)
      return property.type === "IntegerLiteral" ? getItem(value, int(property.value)) : getAttribute(value, property.value);
    if (property.type !== "SliceExpression") return getItem(value, this.evaluate(property, environment));
    const part = (node_) => (node_ === undefined ? undefined : this.evaluate(node_, environment));
    return sliceOf(value, part(property.start), part(property.stop), part(property.step));
  }

  evaluateSelectExpression(node, environment) {
    if (truthy(this.evaluate(node.test, environment))) return this.evaluate(node.lhs, environment);
    return undefinedValue("the inline if-expression evaluated to false and no else section was defined, so it");
  }

  evaluateSet(node, environment) {
    const value = node.value ? this.evaluate(node.value, environment)
                             : this.filteredBlock(node, environment);
    if (node.assignee.type !== "MemberExpression") {
      Loop.assign(node.assignee.type === "FilterExpression" ? node.assignee.operand : node.assignee, value, environment);
      return NONE;
    }
    const object = this.evaluate(node.assignee.object, environment);
    if (!(object instanceof NamespaceValue)) throw new Error("cannot assign attribute on non-namespace object");
    object.value.set(node.assignee.property.value, value);
    return NONE;
  }
  // {% set x %}…{% endset %} has a scope of its own; {% set x | filter %} passes it through.
  filteredBlock(node, environment) {
    let value = this.evaluateBlock(node.body, new Environment(environment));
    const filters = [];
    for (let target = node.assignee; target.type === "FilterExpression"; target = target.operand) filters.unshift(target.filter);
    for (const filter of filters) value = this.applyFilter(value, filter, environment);
    return value;
  }

  evaluateFor(node, environment) {
    const select = node.iterable.type === "SelectExpression" ? node.iterable : undefined;
    const iterable = this.evaluate(select?.lhs ?? node.iterable, environment);
    let items = itemsOf(iterable);
    if (select !== undefined)
      items = items.filter((item) => {
        const scope = new Environment(environment);
        Loop.assign(node.loopvar, item, scope);
        return truthy(this.evaluate(select.test, scope));
      });
    if (items.length === 0) return this.evaluateBlock(node.defaultBlock, new Environment(environment));

    let out = "", changed;
    for (let i = 0; i < items.length; ++i) {
      // Each round has its own scope: what it sets is gone in the next.
      const scope = new Environment(environment);
      scope.setVariable("loop", new LoopValue(new Map([
        ["index", int(i + 1)], ["index0", int(i)], ["revindex", int(items.length - i)], ["revindex0", int(items.length - i - 1)],
        ["first", bool(i === 0)], ["last", bool(i === items.length - 1)], ["length", int(items.length)],
        ["previtem", i > 0 ? items[i - 1] : undefinedValue("there is no previous item, so it")],
        ["nextitem", i + 1 < items.length ? items[i + 1] : undefinedValue("there is no next item, so it")],
        ["depth", int(1)], ["depth0", int(0)],  // they count recursion alone
        ["cycle", new FunctionValue((args) => args[i % args.length])],
        ["changed", new FunctionValue((args) => {
          const same = changed !== undefined && equal(tuple(changed), tuple(args));
          changed = args;
          return bool(!same);
        })],
      ])));
      Loop.assign(node.loopvar, items[i], scope);
      try {
        out += this.evaluateBlock(node.body, scope).value;
      } catch (failure) {
        if (!(failure instanceof BreakControl || failure instanceof ContinueControl)) throw failure;
        out += failure.written ?? "";
        if (failure instanceof BreakControl) break;
      }
    }
    return str(out);
  }

  evaluateMacro(node, environment) {
    const special = findAccessedSpecialMacroArguments(node.args, node.body);
    environment.setVariable(node.name.value, new FunctionValue((args, scope) => {
      // A macro sees where it was written, not where it is called.
      const inner = new Environment(environment);
      if (scope?.caller !== undefined) inner.setVariable("caller", scope.caller);
      this.bindMacroArguments(`'${node.name.value}'`, node.args, special, args, inner);
      return this.evaluateBlock(node.body, inner);
    }));
    return NONE;
  }

  evaluateCallStatement(node, environment) {
    const parameters = node.callerArgs ?? [];
    const special = findAccessedSpecialMacroArguments(parameters, node.body);
    const callee = this.evaluate(node.call.callee, environment);
    if (!(callee instanceof FunctionValue)) throw new Error(`'${typeName(callee)}' object is not callable`);
    const scope = new Environment(environment);
    scope.caller = new FunctionValue((args) => {
      const inner = new Environment(environment);
      this.bindMacroArguments("None", parameters, special, args, inner);
      return this.evaluateBlock(node.body, inner);
    });
    return callee.value(this.arguments(node.call.args, environment), scope);
  }
}
const COMPARISONS = new Set(["==", "!=", "<", ">", "<=", ">=", "in", "not in"]);

// --- Values from JSON: the order of keys, and whether a number is written as an integer, matter to a prompt. ---

// The text is JSON: C++ has seen to that.
function readJson(text) {
  let at = 0;
  const literal = /-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null/y;
  const blank = () => {
    while (at < text.length && " \t\n\r".includes(text[at])) ++at;
    return text[at];
  };
  // No regular expression: it would remember a way back for each character of a long message.
  const quoted = () => {
    let end = at;
    do end = text.indexOf('"', end + 1);
    while (escaped(end));
    const value = JSON.parse(text.slice(at, end + 1));
    at = end + 1;
    return value;
  };
  const escaped = (quote) => {
    let slashes = 0;
    while (text[quote - 1 - slashes] === "\\") ++slashes;
    return slashes % 2 === 1;
  };
  // Calls `element` for each between the brackets.
  const each = (close, element) => {
    for (++at; blank() !== close;) {
      if (text[at] === ",") ++at;
      else element();
    }
    ++at;
  };
  const value = () => {
    const c = blank();
    if (c === '"') return str(quoted());
    if (c === "[") {
      const items = [];
      each("]", () => items.push(value()));
      return list(items);
    }
    if (c === "{") {
      const entries = new Map();
      each("}", () => {
        const key = quoted();
        blank();
        ++at;  // the colon
        entries.set(key, value());
      });
      return new ObjectValue(entries);
    }
    literal.lastIndex = at;
    const word = literal.exec(text)[0];
    at = literal.lastIndex;
    if (word === "null") return NONE;
    if (word === "true" || word === "false") return bool(word === "true");
    if (!/^-?\d+$/.test(word)) return new FloatValue(Number(word));
    const integer = int(Number(word));
    if (!Number.isSafeInteger(integer.value)) integer.text = word;
    return integer;
  };
  return value();
}

// --- The door ---

let spillwayProgram;

// Called once, with the template's text.
function spillwayParse(source) {
  // The library takes a last newline away; ours is gone already.
  spillwayProgram = parse(withTestArguments(withGroups(withExponents(tokenize(prepare(source) + "\n", {})))));
}

// `variables`: JSON of an object. `formatTime`: strftime of the time that the prompt is for.
function spillwayRender(variables, formatTime) {
  numberKeys.clear();
  const environment = new Environment();
  for (const [name, value] of [["true", TRUE], ["True", TRUE], ["false", FALSE], ["False", FALSE], ["none", NONE], ["None", NONE]])
    environment.setVariable(name, value);
  environment.setVariable("raise_exception", new FunctionValue(([message]) => {
    throw new Refusal(message === undefined ? "" : print(message));
  }));
  environment.setVariable("strftime_now", functionOf("strftime_now", ["format"], (format) => str(formatTime(textOf(format, "strftime_now")))));
  environment.setVariable("range", new FunctionValue((args) => {
    const numbers = range(...args.map((x) => intOr(x)));
    // As in jinja2's sandbox.
    if (numbers.length > 100000) throw new Error("a range of more than 100000 numbers");
    return list(numbers.map(int));
  }));
  environment.setVariable("dict", new FunctionValue((args) => {
    const named = args.at(-1) instanceof KeywordArgumentsValue ? args.at(-1).value : new Map();
    return new ObjectValue(new Map([...(isDict(args[0]) ? args[0].value : []), ...named]));
  }));
  environment.setVariable("joiner", new FunctionValue(([separator]) => {
    let used = false;
    return new FunctionValue(() => (used ? separator ?? str(", ") : ((used = true), str(""))));
  }));
  for (const [name, value] of readJson(variables).value) environment.setVariable(name, value);
  return new PythonInterpreter(environment).run(spillwayProgram).value;
}
