// SPDX-License-Identifier: MIT
// Which of the two languages a chat template is written in. Pure.
#pragma once

#include <string_view>

namespace spillway {

// Jinja, as GGUF files have it; else it is Go's language, in which Ollama's templates are written.
bool is_jinja(std::string_view template_text);

}  // namespace spillway
