// SPDX-License-Identifier: MIT
#include "model/projector_search.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <utility>

#include "model/gguf_choice.h"
#include "model/gguf_metadata.h"
#include "model/projector_file.h"
#include "os/file.h"

namespace spillway {
namespace {

constexpr std::string_view kEnding = ".gguf", kMmproj = "mmproj";

std::string in_small_letters(std::string_view text) {
  std::string small(text);
  for (char& c : small) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return small;
}

bool is_separator(char c) { return c == '-' || c == '_' || c == '.'; }

// "q4_k_m", "iq4_xs", "bf16", "f32", "mxfp4", "ud", "model": what tells files of one model apart, and not models.
bool is_no_name(std::string_view word) {
  if (word.empty() || word == "ud" || word == "model" || word == "gguf" || word == "mxfp4" || word == "moe")
    return true;
  for (const std::string_view kind : {"iq", "tq", "bf", "fp", "q", "f"})
    if (word.starts_with(kind) && word.size() > kind.size())
      return std::isdigit(static_cast<unsigned char>(word[kind.size()])) != 0;
  return false;
}

// The words at the end of it that are none of the name: from the last '-' or '.' on, as often as that is so. A
// quantization has '_' within.
std::string without_format(std::string name) {
  while (!name.empty()) {
    const size_t at = name.find_last_of("-.");
    const std::string_view word = std::string_view(name).substr(at == std::string::npos ? 0 : at + 1);
    if (!is_no_name(word)) break;
    name.resize(at == std::string::npos ? 0 : at);
  }
  return name;
}

// The model that a file belongs to, as far as its name says it: "gemma-3-4b-it" of gemma-3-4b-it-Q4_K_M.gguf.
std::string base_of(std::string_view file) {
  std::string name = in_small_letters(file);
  if (name.ends_with(kEnding)) name.resize(name.size() - kEnding.size());
  // "-00001-of-00003"
  constexpr size_t kPartChars = 15;
  if (name.size() > kPartChars && name.substr(name.size() - kPartChars + 6, 4) == "-of-")
    name.resize(name.size() - kPartChars);
  return without_format(std::move(name));
}

// The same of a projector's: nothing where it names no model.
std::string model_named_by(std::string_view projector) {
  std::string name = in_small_letters(projector);
  if (const size_t at = name.find(kMmproj); at != std::string::npos) {
    size_t begin = at, end = at + kMmproj.size();
    if (begin > 0 && is_separator(name[begin - 1])) --begin;
    if (begin == 0 && end < name.size() && is_separator(name[end]) && name.substr(end) != kEnding) ++end;
    name.erase(begin, end - begin);
  }
  return base_of(name);
}

size_t rank_of(const std::string& name) {
  constexpr std::array<std::string_view, 3> kBest = {"bf16", "q8_0", "f32"};
  const std::string small = in_small_letters(name);
  for (size_t i = 0; i < kBest.size(); ++i)
    if (small.find(kBest[i]) != std::string::npos) return i + 1;
  return small.find("f16") != std::string::npos ? 0 : kBest.size() + 1;
}

}  // namespace

std::string projector_of(std::string_view model, std::vector<std::string> names, const IsProjector& is_projector) {
  std::vector<std::pair<size_t, std::string>> ranked;
  ranked.reserve(names.size());
  for (std::string& name : names) {
    const size_t rank = rank_of(name);
    ranked.emplace_back(rank, std::move(name));
  }
  std::sort(ranked.begin(), ranked.end());
  const std::string base = base_of(model);
  std::vector<std::string> projectors;
  bool is_alone = true;
  for (const auto& [rank, name] : ranked) {
    if (!in_small_letters(name).ends_with(kEnding) || name == model) continue;
    if (is_projector(name))
      projectors.push_back(name);
    else if (base_of(name) != base && !is_named_beside(name))
      is_alone = false;
  }
  for (const std::string& name : projectors)
    if (const std::string named = model_named_by(name); !named.empty() && named == base) return name;
  if (!is_alone) return "";
  for (const std::string& name : projectors)
    if (model_named_by(name).empty()) return name;
  return "";
}

bool is_named_projector(std::string_view file_name) {
  return in_small_letters(file_name).find(kMmproj) != std::string::npos;
}

std::string find_projector(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const fs::path folder = fs::path(path).parent_path();
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder.empty() ? "." : folder, ec), end; !ec && it != end; it.increment(ec))
    names.push_back(it->path().filename().string());
  if (std::none_of(names.begin(), names.end(), is_named_projector)) return "";
  const std::string found = projector_of(fs::path(path).filename().string(), names, [&](const std::string& name) {
    if (!is_named_projector(name)) return false;
    const auto file = open_file((folder / name).string(), {.direct = false});
    if (!file) return false;
    const auto metadata = read_gguf_metadata(**file, {.stop_before = "tokenizer."});
    return metadata && is_vision_projector(*metadata);
  });
  return found.empty() ? "" : (folder / found).string();
}

}  // namespace spillway
