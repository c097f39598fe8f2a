// SPDX-License-Identifier: MIT
// How calls of tools stand in a model's text: what is written around them, and in which notation their arguments are.
// One description, from which a call is read (call_reader) and a grammar for calls is made (answer_grammar).
//
// A text of several calls is
//
//     begin  call_begin call call_end  between  call_begin call call_end  end
//
// Pure values.
#pragma once

#include <optional>
#include <string>

namespace spillway {

// Text in which the bytes below stand for what differs from call to call.
using Pattern = std::string;
namespace placeholder {
constexpr char kName = '\x01';       // of the function
constexpr char kArguments = '\x02';  // all of them
constexpr char kId = '\x03';         // of the call
constexpr char kIndex = '\x04';      // a number that counts calls
constexpr char kKey = '\x05';        // of an argument, or of a member of an object
}  // namespace placeholder

// Items one after the other:  begin  key VALUE value_end  between  key VALUE value_end  end
struct MarkedItems {
  Pattern empty = {};  // what stands in place of all this where there are no items
  Pattern begin = {}, between = {}, end = {};
  Pattern key = {}, value_end = {};  // both may hold kKey; key does, but in lists

  friend bool operator==(const MarkedItems&, const MarkedItems&) = default;
};

// Values that are not part of a JSON text.
struct ValueSyntax {
  // Text, and values of every other kind, each between its own marks.
  std::string text_open = {}, text_close = {}, other_open = {}, other_close = {};
  enum class Text {
    kRaw,     // as it is, up to what ends it
    kJson,    // with JSON's escapes
    kPython,  // with python's, in quotes of either kind
    kXml,     // with &lt; and the like
  } text = Text::kRaw;
  enum class Nested {
    kJson,
    kPython,  // {'a': [1, True, None]}
    kMarked,  // by `object` and `list`, values within as here
  } nested = Nested::kJson;
  MarkedItems object = {}, list = {};
  std::string true_word = "true", false_word = "false", null_word = "null";

  // Text is told from other values by its marks, as by quotes.
  bool quotes_text() const { return !text_open.empty() && other_open.empty(); }

  friend bool operator==(const ValueSyntax&, const ValueSyntax&) = default;
};

struct ArgumentSyntax {
  bool is_json = true;  // a JSON object; else `items` and `values` say it
  bool spaced = true;   // {"a": 1, "b": 2}, not {"a":1,"b":2}
  MarkedItems items = {};
  ValueSyntax values = {};

  friend bool operator==(const ArgumentSyntax&, const ArgumentSyntax&) = default;
};

struct CallSyntax {
  Pattern begin = {}, call_begin = {}, call = {}, call_end = {};
  std::optional<Pattern> between = {};  // nullopt: one call in an answer
  Pattern end = {};
  // `call` is a JSON object. Models spell those in more ways than one; they are read accordingly.
  bool call_is_json = false;
  ArgumentSyntax arguments = {};
  bool behind_text = false;      // calls may follow text that is none
  std::string also_begins = {};  // what models write in front of calls too, and templates do not show

  friend bool operator==(const CallSyntax&, const CallSyntax&) = default;
};

// For people: placeholders as NAME, ARGUMENTS, ID, INDEX, KEY; new lines as \n.
std::string show(const Pattern& pattern);
std::string show(const CallSyntax& syntax);

}  // namespace spillway
