// SPDX-License-Identifier: MIT
// JSON schemas as grammars in llama.cpp's GBNF, so that a model can write nothing else. Pure.
//
// A grammar never admits what the schema refuses, with these exceptions, which a grammar cannot count or compare:
// uniqueItems, multipleOf, minProperties and maxProperties, contains, if/then/else, not, dependencies, bounds of
// fractions. They are refused, not ignored. It may admit less than the schema: properties come in the order the schema
// lists them (required ones cannot be left out), white space is a model's usual one, numbers have a bounded length.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "chat/message.h"
#include "chat/output_format.h"

namespace spillway {

// A grammar whose root is any JSON value that the schema (JSON text) admits.
//   InvalidArgument   not JSON, or not a schema: the message names the place as a JSON pointer
//   Unsupported       a keyword that no grammar can express, or a $ref outside of the schema
Result<std::string> grammar_of_schema(std::string_view schema);

// Any JSON object: format "json".
std::string grammar_of_any_object();

}  // namespace spillway
