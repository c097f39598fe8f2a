// SPDX-License-Identifier: MIT
// Reads text by a pattern: literals as they are, but for blanks; placeholders as what they stand for. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "chat/argument_schema.h"
#include "chat/call_syntax.h"
#include "chat/message.h"

namespace spillway {

enum class Match {
  kMore,  // the text ends before this can be known
  kYes,
  kNo
};

class PatternReader {
 public:
  // `schemas`: of `tools`. `behind`: what follows the pattern; it tells where arguments end. All must outlive it.
  PatternReader(std::string_view text, const ArgumentSyntax& arguments, std::span<const Tool> tools,
                ArgumentSchemas& schemas, std::string_view behind)
      : text_(text), arguments_(arguments), tools_(tools), schemas_(schemas), behind_(behind) {}

  size_t at() const { return at_; }
  std::string_view rest() const { return text_.substr(at_); }
  const Tool* tool() const { return tool_; }              // that the name names; nullptr so far
  const std::string& arguments() const { return json_; }  // JSON of an object; empty so far

  // Reads on. Where the answer is not kYes, at() may be anywhere.
  Match read(const Pattern& pattern);

 private:
  Match read_placeholder(char placeholder, std::string_view next);
  Match read_name(std::string_view next);
  Match read_until(std::string_view next);
  Match read_json_arguments();
  Match read_items(std::string_view next);
  Match read_item(std::string_view closing);
  Match read_value(const std::string& key, std::string_view closing);
  bool escapes_text() const;
  Match goes_on(std::string_view text, std::string_view closing) const;
  Match read_quoted_text(const std::string& key, const std::string& value_end, std::string_view closing);
  Match read_unquoted_text(std::string_view closing);
  std::string other_than_text(const std::string& key, std::string_view content) const;
  bool may_be_key(std::string_view key) const;
  Match read_raw(std::string_view mark, std::string_view closing, std::string_view& value);
  const ArgumentProperty* property_of(const std::string& key) const;
  std::string fitted_to(const std::string& key, const std::string& json) const;
  std::string value_json(const std::string& key, std::string_view text, bool is_text, bool is_other) const;
  void skip_blanks();

  const std::string_view text_;
  const ArgumentSyntax& arguments_;
  const std::span<const Tool> tools_;
  ArgumentSchemas& schemas_;
  const std::string_view behind_;
  size_t at_ = 0;
  const Tool* tool_ = nullptr;
  std::string json_;
};

// `literal` at the beginning of `text`. Blanks in it may be any there, or none, and between marks there may be more;
// those at its end are taken as far as they are the same. Of placeholders it may hold kIndex. With kYes `size` is what
// it took.
Match match_literal(std::string_view text, std::string_view literal, size_t& size);

// `pattern` with `value` in place of the placeholder.
std::string with_placeholder(const Pattern& pattern, char placeholder, std::string_view value);

}  // namespace spillway
