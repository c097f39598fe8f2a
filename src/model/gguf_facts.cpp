// SPDX-License-Identifier: MIT
#include "model/gguf_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/jinja_text.h"
#include "base/utf8.h"

namespace spillway {
namespace {

// llama.cpp's enum llama_ftype; the empty ones are gone from it.
constexpr std::array<std::string_view, 42> kFileTypes = {
    "F32",    "F16",     "Q4_0",   "Q4_1",   "",       "",       "",       "Q8_0",  "Q5_0",    "Q5_1",   "Q2_K",
    "Q3_K_S", "Q3_K_M",  "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S",
    "IQ3_XS", "IQ3_XXS", "IQ1_S",  "IQ4_NL", "IQ3_S",  "IQ3_M",  "IQ2_S",  "IQ2_M", "IQ4_XS",  "IQ1_M",  "BF16",
    "",       "",        "",       "TQ1_0",  "TQ2_0",  "MXFP4",  "NVFP4",  "Q1_0",  "Q2_0"};

bool mentions(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

// `value` as a whole number where it is one.
std::string short_number(double value, int digits) {
  return value == std::floor(value) ? fmt::format("{:.0f}", value) : fmt::format("{:.{}f}", value, digits);
}

// What facts_of_metadata() asks for.
bool is_for_facts(std::string_view key) {
  for (const char* whole :
       {"general.architecture", "general.file_type", "general.type", "adapter.type", "tokenizer.chat_template"})
    if (key == whole) return true;
  return key.ends_with(".context_length") || key.ends_with(".embedding_length") || key.ends_with(".pooling_type") ||
         (key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id"));
}

bool has_key(const GgufMetadata& metadata, const std::string& key) { return metadata.keys.contains(key); }

}  // namespace

std::string parameter_size_text(uint64_t n_params) {
  const auto n = static_cast<double>(n_params);
  if (n_params >= 1'000'000'000) return short_number(n / 1e9, 1) + "B";
  if (n_params >= 1'000'000) return short_number(n / 1e6, 2) + "M";
  if (n_params >= 1'000) return fmt::format("{:.0f}K", n / 1e3);
  return fmt::format("{}", n_params);
}

std::string quantization_name(uint64_t file_type) {
  constexpr uint64_t kGuessed = 1024;  // a flag: the file's author was not sure
  file_type &= ~kGuessed;
  if (file_type >= kFileTypes.size() || kFileTypes[file_type].empty()) return "unknown";
  return std::string(kFileTypes[file_type]);
}

GgufFacts facts_of_metadata(const GgufMetadata& metadata) {
  GgufFacts facts;
  facts.architecture = metadata.text("general.architecture");
  const auto key = [&](const char* name) { return facts.architecture + "." + name; };
  facts.context_length = metadata.number(key("context_length"));
  facts.embedding_length = metadata.number(key("embedding_length"));
  facts.n_params = metadata.n_params;
  facts.parameter_size = parameter_size_text(facts.n_params);
  facts.quantization_level =
      has_key(metadata, "general.file_type") ? quantization_name(metadata.number("general.file_type")) : "unknown";
  facts.chat_template = metadata.text("tokenizer.chat_template");
  // libllama's number for "unspecified" says as little as no key.
  facts.is_embedding = has_key(metadata, key("pooling_type")) &&
                       metadata.number(key("pooling_type")) != std::numeric_limits<uint32_t>::max();
  facts.has_fill_in =
      (has_key(metadata, "tokenizer.ggml.fim_pre_token_id") || has_key(metadata, "tokenizer.ggml.prefix_token_id")) &&
      (has_key(metadata, "tokenizer.ggml.fim_suf_token_id") || has_key(metadata, "tokenizer.ggml.suffix_token_id"));
  facts.kind = kind_of(metadata);
  return facts;
}

Result<GgufFacts> facts_of_files(const std::vector<std::string>& paths) {
  GgufFacts facts;
  GgufTotals totals;
  uint64_t n_params = 0, memory_bytes = 0;
  for (size_t i = 0; i < paths.size(); ++i) {
    ASSIGN_OR_RETURN(const auto file, open_file(paths[i], {.direct = false}));
    ASSIGN_OR_RETURN(const GgufMetadata metadata, read_gguf_metadata(*file, {.wanted = is_for_facts}));
    RETURN_IF_ERROR(totals.add(paths[i], metadata));
    memory_bytes += metadata.memory_bytes;
    if (i == 0) facts = facts_of_metadata(metadata);
    // What is more than a word is none, and would be told in every list.
    if (i == 0 && (facts.architecture.empty() || shortened(facts.architecture) != facts.architecture))
      return error(Code::kCorrupt, fmt::format("{}: names no architecture; it is not a language model", paths[i]));
    if (__builtin_add_overflow(n_params, metadata.n_params, &n_params)) n_params = UINT64_MAX;
  }
  facts.n_params = n_params;
  facts.memory_bytes = memory_bytes;
  facts.parameter_size = parameter_size_text(n_params);
  return facts;
}

TemplateAbilities guessed_abilities(const std::string& text) {
  if (is_jinja(text))
    return {.tools = mentions(text, {"tools"}),
            .thinking =
                mentions(text, {"<think>", "enable_thinking", "reasoning_content", "reasoning_effort", "thinking"})};
  return {.tools = mentions(text, {".Tools"}), .thinking = mentions(text, {".Think", ".IsThinkSet", "<think>"})};
}

std::vector<std::string> capabilities_of(const GgufFacts& facts, const std::string& layer_template,
                                         const TemplateReader& read_template, bool sees) {
  std::vector<std::string> capabilities;
  capabilities.emplace_back(facts.is_embedding ? "embedding" : "completion");
  if (facts.is_embedding) return capabilities;
  const std::string& used = layer_template.empty() ? facts.chat_template : layer_template;
  if (!used.empty()) {
    const TemplateAbilities can = read_template ? read_template(used) : guessed_abilities(used);
    if (can.tools) capabilities.emplace_back("tools");
    if (can.thinking) capabilities.emplace_back("thinking");
  }
  const bool writes_suffix = !is_jinja(layer_template) && mentions(layer_template, {".Suffix"});
  if (facts.has_fill_in || writes_suffix) capabilities.emplace_back("insert");
  if (sees) capabilities.emplace_back("vision");
  return capabilities;
}

}  // namespace spillway
