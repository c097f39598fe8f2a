// SPDX-License-Identifier: MIT
// Grammars for whole answers, with the marks that a model puts around what it says. What they admit, output_parser
// reads back. Thoughts are not part of them, but where the format makes them messages of their own (Harmony). Pure.
#pragma once

#include <set>
#include <span>
#include <string>

#include "base/status.h"
#include "chat/message.h"
#include "chat/output_format.h"

namespace spillway {

// Answers that call at least one of `tools`, and say nothing else, written as the template writes them: there is no
// white space to choose. `several`: perhaps more than one, where the format has a way to write that. Arguments are what
// a tool's schema admits, but for the keywords that no grammar can express (grammar_of_schema() names them); any object
// where it is no schema of objects, or too large.
//   NotFound          the format has no calls, or there are no tools
//   InvalidArgument   there are so many of them that the grammar would be too large
Result<std::string> grammar_of_calls(const OutputFormat& format, std::span<const Tool> tools, bool several);

// Answers whose text is JSON that `schema` admits.
//   errors of grammar_of_schema(); left_out as there
Result<std::string> grammar_of_json_answer(const OutputFormat& format, const std::string& schema,
                                           std::set<std::string>* left_out = nullptr);

}  // namespace spillway
