// SPDX-License-Identifier: MIT
#include "model/gguf_choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/utf8.h"
#include "model/gguf_metadata.h"

namespace spillway {
namespace {

// Without one in the name: the usual compromise, then its neighbours.
constexpr std::array<std::string_view, 10> kPreferred = {"q4_k_m",  "q4_k_s", "q4_0", "iq4_xs", "q5_k_m",
                                                         "q4_k_xl", "mxfp4",  "q8_0", "f16",    "bf16"};
// What files beside a model are mostly called. They are looked at last, and their headers decide.
constexpr std::array<std::string_view, 11> kBeside = {"mmproj", "imatrix", "mtp",   "draft",   "drafter",  "eagle3",
                                                      "dflash", "lora",    "vocab", "adapter", "assistant"};
constexpr std::string_view kGguf = ".gguf", kLatest = "latest";
constexpr size_t kNamedMax = 20;  // of what there is, in a message

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool is_alnum(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Where `word` stands in `text` on its own: "q4_k" is no part of "q4_k_m".
bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_alnum(text[at - 1])) && (end == text.size() || !(is_alnum(text[end]) || text[end] == '_')))
      return true;
  }
  return false;
}

// "q4_k_m", "iq2_xxs", "tq1_0", "q8_0", "mxfp4", "bf16", with "_l" and the like behind it.
bool is_quantization(std::string_view word) {
  for (const std::string_view whole : {"f32", "f16", "bf16", "fp16", "fp32"})
    if (word == whole) return true;
  for (const std::string_view prefix : {"mxfp", "nvfp"})
    if (word.starts_with(prefix)) {
      word.remove_prefix(prefix.size());
      return is_digits(word.substr(0, word.find('_')));
    }
  for (const std::string_view prefix : {"iq", "tq", "q"})
    if (word.starts_with(prefix)) {
      word.remove_prefix(prefix.size());
      const size_t bits = std::min(word.find('_'), word.size());
      return is_digits(word.substr(0, bits)) && bits <= 2 && word.size() <= 12;
    }
  return false;
}

// The last quantization among the words of `text`, with a "ud-" in front of it.
std::string last_quantization(std::string_view text) {
  std::string found;
  for (size_t begin = 0; begin < text.size();) {
    const auto is_part = [](char c) { return is_alnum(c) || c == '_'; };
    size_t end = begin;
    while (end < text.size() && is_part(text[end])) ++end;
    std::string_view word = text.substr(begin, end - begin);
    // "model_q4_k_m": names of that kind part their words by '_', too.
    for (size_t at = 0; at != std::string_view::npos && !word.empty();) {
      if (is_quantization(word.substr(at))) {
        const bool special =
            at == 0 && begin >= 3 && text.substr(begin - 3, 3) == "ud-" && (begin == 3 || !is_alnum(text[begin - 4]));
        found = (special ? "ud-" : "") + std::string(word.substr(at));
        break;
      }
      at = word.find('_', at);
      if (at != std::string_view::npos) ++at;
    }
    begin = end + 1;
  }
  return found;
}

// The best of those that have `quant` in their path come first: in the file's name rather than in the folder's alone,
// at its end, not of a special kind ("UD-Q4_K_M"), then the shortest. What by its name stands beside a model is last.
std::vector<size_t> by_quantization(const std::vector<GgufCandidate>& candidates, const std::string& quant) {
  const auto rank = [&](const GgufCandidate& one) {
    const std::string_view stem = one.small_stem(), name = base_name(stem);
    return std::tuple(one.is_beside, !has_word(name, quant), !name.ends_with(quant), has_word(name, "ud"), stem.size(),
                      stem);
  };
  std::vector<std::pair<decltype(rank(candidates.front())), size_t>> ranked;
  for (size_t i = 0; i < candidates.size(); ++i)
    if (has_word(candidates[i].small_stem(), quant)) ranked.emplace_back(rank(candidates[i]), i);
  std::sort(ranked.begin(), ranked.end());
  std::vector<size_t> found;
  found.reserve(ranked.size());
  for (const auto& [unused, index] : ranked) found.push_back(index);
  return found;
}

// Of a path or the last part of one, with or without ".gguf" and the number of a part.
std::vector<size_t> by_name(const std::vector<GgufCandidate>& candidates, const std::string& wanted) {
  std::vector<size_t> found;
  // The later part of a split model means all of it.
  const auto part = gguf_part_name(wanted);
  const std::string name = part && part->part > 1 ? gguf_part_path(wanted, *part, 1) : wanted;
  const auto is_meant = [&](std::string_view form) {
    return name == form ||
           (name.size() == form.size() + kGguf.size() && name.starts_with(form) && name.ends_with(kGguf));
  };
  for (size_t i = 0; i < candidates.size(); ++i) {
    const std::string_view path = candidates[i].small_path, stem = candidates[i].small_stem();
    if (is_meant(path) || is_meant(base_name(path)) || is_meant(stem) || is_meant(base_name(stem))) found.push_back(i);
  }
  // A whole path is what it says, also where a folder has a file of that name.
  std::stable_sort(found.begin(), found.end(), [&](size_t a, size_t b) {
    return (candidates[a].small_path == name) > (candidates[b].small_path == name);
  });
  return found;
}

std::vector<size_t> by_preference(const std::vector<GgufCandidate>& candidates) {
  std::vector<size_t> order;
  std::vector<bool> is_in(candidates.size());
  const auto add = [&](size_t index) {
    if (!is_in[index]) order.push_back(index);
    is_in[index] = true;
  };
  for (const bool beside : {false, true}) {
    for (const std::string_view preferred : kPreferred)
      for (const size_t index : by_quantization(candidates, std::string(preferred)))
        if (candidates[index].is_beside == beside) add(index);
    for (size_t i = 0; i < candidates.size(); ++i)
      if (candidates[i].is_beside == beside) add(i);
  }
  return order;
}

std::vector<size_t> candidates_for(const std::vector<GgufCandidate>& candidates, std::string_view wanted) {
  const std::string text = lower(wanted);
  if (text == kLatest) return by_preference(candidates);
  std::vector<size_t> found = by_name(candidates, text);
  return found.empty() ? by_quantization(candidates, text) : found;
}

// What all parts of one model have in common.
std::string without_number(const std::string& path, const GgufPartName& name) {
  constexpr size_t kNumberBytes = std::string_view("-00001").size();
  return path.substr(0, name.stem_bytes) + path.substr(name.stem_bytes + kNumberBytes);
}

// By without_number(): part -> the first of `paths` that is it. Each path is looked at once, as a model may have
// thousands of parts, and a list thousands of models.
std::unordered_map<std::string, std::map<size_t, size_t>> parts_by_model(const std::vector<std::string>& paths) {
  std::unordered_map<std::string, std::map<size_t, size_t>> parts_of;
  for (size_t i = 0; i < paths.size(); ++i)
    if (const auto name = gguf_part_name(paths[i])) parts_of[without_number(paths[i], *name)].emplace(name->part, i);
  return parts_of;
}

std::string names_of(const std::vector<GgufCandidate>& candidates) {
  std::vector<std::string> names;
  for (const GgufCandidate& one : candidates)
    if (!one.is_beside) names.emplace_back(valid_utf8(base_name(one.stem)));
  if (names.empty())
    for (const GgufCandidate& one : candidates) names.emplace_back(valid_utf8(base_name(one.stem)));
  const bool cut = names.size() > kNamedMax;
  if (cut) names.resize(kNamedMax);
  return fmt::format("{}{}", fmt::join(names, ", "), cut ? ", ..." : "");
}

}  // namespace

bool is_named_beside(std::string_view path) {
  const std::string small = lower(path);
  return std::any_of(kBeside.begin(), kBeside.end(), [&](std::string_view word) { return has_word(small, word); });
}

std::string GgufCandidate::name() const { return std::string(base_name(path)); }

std::vector<GgufCandidate> gguf_candidates(const std::vector<std::string>& paths) {
  const std::unordered_map<std::string, std::map<size_t, size_t>> parts_of = parts_by_model(paths);
  std::unordered_set<std::string> known;  // by the path of their first part, which may be missing
  std::vector<GgufCandidate> candidates;
  for (size_t i = 0; i < paths.size(); ++i) {
    const std::string& path = paths[i];
    const std::string_view name = base_name(path);
    if (name.size() <= kGguf.size() || !lower(name).ends_with(kGguf) || name.starts_with('.')) continue;
    const auto part = gguf_part_name(path);
    const bool is_split = part && part->count > 1;
    const std::map<size_t, size_t>* const parts = is_split ? &parts_of.at(without_number(path, *part)) : nullptr;
    // A later part is a model of its own only where the first is missing: then the first of them stands for all.
    if (is_split && part->part > 1 && parts->contains(1)) continue;
    GgufCandidate candidate{.stem = path.substr(0, is_split ? part->stem_bytes : path.size() - kGguf.size()),
                            .files = {},
                            .path = is_split ? gguf_part_path(path, *part, 1) : path,
                            .missing_part = {}};
    if (!known.insert(candidate.path).second) continue;
    if (!is_split) candidate.files = {i};
    if (is_split)
      for (const auto& [number, index] : *parts) candidate.files.push_back(index);
    if (is_split && parts->size() < part->count) {
      size_t missing = 1;
      while (parts->contains(missing)) ++missing;
      candidate.missing_part = gguf_part_path(path, *part, missing);
    }
    candidate.small_path = lower(candidate.path);
    candidate.is_beside = is_named_beside(candidate.small_path);
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

std::string quantization_in_name(std::string_view path) {
  std::string text = lower(path);
  if (text.ends_with(kGguf)) text.resize(text.size() - kGguf.size());
  const size_t slash = text.rfind('/');
  const std::string_view name = base_name(text);
  std::string found = last_quantization(name);
  if (found.empty() && slash != std::string::npos)
    found = last_quantization(base_name(std::string_view(text).substr(0, slash)));
  return upper(found);
}

Result<size_t> choose_gguf(const std::vector<GgufCandidate>& candidates, std::string_view wanted,
                           const KindReader& read_kind) {
  if (candidates.empty()) return error(Code::kNotFound, "there is no GGUF file in it");
  const std::vector<size_t> order = candidates_for(candidates, wanted);
  if (order.empty())
    return error(Code::kNotFound,
                 fmt::format("nothing is called '{}'; there is: {}", valid_utf8(wanted), names_of(candidates)));
  std::optional<Status> failure;
  std::vector<std::string> others;
  for (const size_t index : order) {
    const GgufCandidate& one = candidates[index];
    if (!one.missing_part.empty()) {
      if (!failure)
        failure = Status(Code::kCorrupt, fmt::format("the part {} is missing", valid_utf8(one.missing_part)));
      continue;
    }
    const auto kind = read_kind(one);
    if (kind && *kind == GgufKind::kModel) return index;
    if (kind) {
      others.push_back(fmt::format("{} is {}", valid_utf8(one.name()), kind_phrase(*kind)));
      continue;
    }
    // What can not be reached now says nothing about the others.
    if (kind.error().code() != Code::kCorrupt && kind.error().code() != Code::kUnsupported)
      return Failure(kind.error());
    if (!failure) failure = kind.error();
  }
  if (failure) return Failure(*failure);
  if (others.size() > kNamedMax) others.resize(kNamedMax);
  return error(Code::kUnsupported, fmt::format("no model: {}", fmt::join(others, ", ")));
}

std::string wanted_for(const std::vector<GgufCandidate>& candidates, size_t index) {
  const GgufCandidate& one = candidates[index];
  std::string quantization = quantization_in_name(one.path);
  if (!quantization.empty()) {
    const std::vector<size_t> order = candidates_for(candidates, quantization);
    if (!order.empty() && order.front() == index) return quantization;
  }
  return one.path;
}

}  // namespace spillway
