// SPDX-License-Identifier: MIT
// What clients are told about a model, from its GGUF metadata and its template. Pure but for facts_of_files().
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/catalog.h"
#include "model/gguf_kind.h"
#include "model/gguf_metadata.h"

namespace spillway {

using TemplateReader = std::function<TemplateAbilities(const std::string& template_text)>;

struct GgufFacts {
  std::string architecture;
  std::string parameter_size;      // "8.0B"
  std::string quantization_level;  // "Q4_K_M"
  uint64_t n_params = 0, context_length = 0, embedding_length = 0;
  uint64_t memory_bytes = 0;  // as GgufMetadata's, of all files
  std::string chat_template;  // Jinja; may be empty
  bool is_embedding = false, has_fill_in = false;
  GgufKind kind = GgufKind::kModel;
};

// Of a model's files, in order: the first tells nearly everything.
//   NotFound  PermissionDenied  Corrupt (also more together than one file may have)  Unsupported  Io
Result<GgufFacts> facts_of_files(const std::vector<std::string>& paths);
GgufFacts facts_of_metadata(const GgufMetadata& metadata);

// "7B", "7.2B", "500M", "137.02M", "12K".
std::string parameter_size_text(uint64_t n_params);

// The name of a value of general.file_type: "Q4_K_M"; "unknown" for one that is not known.
std::string quantization_name(uint64_t file_type);

// In the order completion, embedding, tools, thinking, insert, vision. The template that is rendered decides what a
// chat can do: `layer_template` where there is one, else the GGUF's own. `sees`: a projector belongs to it. Hearing is
// not announced: the engine takes text and images.
std::vector<std::string> capabilities_of(const GgufFacts& facts, const std::string& layer_template,
                                         const TemplateReader& read_template, bool sees = false);

// By the template's words, Jinja or Go: quick, and wrong where they mean something else.
TemplateAbilities guessed_abilities(const std::string& template_text);

}  // namespace spillway
