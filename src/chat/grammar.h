// SPDX-License-Identifier: MIT
// JSON schemas as grammars in llama.cpp's GBNF, so that a model can write nothing else. Pure.
//
// What a grammar admits, the schema admits, with three exceptions: oneOf is read as anyOf, formats are checked as far
// as their shape goes, and enum or const beside other keywords than type ignore those. What no grammar can express
// (uniqueItems, multipleOf, contains, not, if, dependencies, bounds that are fractions, …) is refused, unless the
// caller takes it upon himself: then the grammar admits more, and the caller is told the keywords that it does without.
//
// A grammar may admit less than the schema: properties come in the order the schema lists them; others only where
// additionalProperties says so; a schema without a type is read as the type its keywords are for; white space is what
// models usually write; numbers have a bounded length.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace spillway {

// How much may be done for one request, in parts of schemas looked at, of which long texts count as several: references
// and alternatives can make a small schema a large one. About a second.
struct SchemaWork {
  uint64_t left = 5'000'000;

  //   InvalidArgument   it is used up
  Result<void> charge(uint64_t steps);
};

// A grammar whose root is any JSON value that the schema (JSON text) admits.
//   InvalidArgument   not JSON, not a schema, or one that admits nothing; the message names the place as a JSON pointer
//   Unsupported       a keyword that no grammar can express, or a $ref to outside of the schema
//                     also: larger, deeper or more entangled than anybody writes by hand
Result<std::string> grammar_of_schema(std::string_view schema);
// left_out: gets the keywords that no grammar can express, which are no error then.
Result<std::string> grammar_of_schema(std::string_view schema, SchemaWork* work,
                                      std::set<std::string>* left_out = nullptr);

// Several schemas in one grammar, whose root is written by the caller: expressions[i] is what schemas[i] admits, `text`
// the rules that they refer to, one per line. Those are named root nowhere, else r0, ref0 and the like, or as JSON's
// own notions ("string", "ws", "gap").
struct SchemaRules {
  std::vector<std::string> expressions;
  std::string text;
};
// What may stand between the parts of JSON. A weak model fills free white space until its answer is cut.
enum class JsonSpacing {
  kFree,    // nothing, a space, or a new line and what indents it
  kTight,   // {"a":1,"b":2}
  kSpaced,  // {"a": 1, "b": 2}
};
//   errors of grammar_of_schema()
Result<SchemaRules> rules_of_schemas(std::span<const std::string> schemas, JsonSpacing spacing = JsonSpacing::kFree);
Result<SchemaRules> rules_of_schemas(std::span<const std::string> schemas, JsonSpacing spacing, SchemaWork* work,
                                     std::set<std::string>* left_out = nullptr);

}  // namespace spillway
