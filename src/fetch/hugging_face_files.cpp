// SPDX-License-Identifier: MIT
#include "fetch/hugging_face_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "base/utf8.h"
#include "model/gguf_metadata.h"
#include "model/manifest.h"

namespace spillway {
namespace {

using Json = nlohmann::json;

// Without one in the name: the usual compromise, then its neighbours.
constexpr std::array<std::string_view, 10> kPreferred = {"Q4_K_M",  "Q4_K_S", "Q4_0", "IQ4_XS", "Q5_K_M",
                                                         "Q4_K_XL", "MXFP4",  "Q8_0", "F16",    "BF16"};
constexpr std::string_view kGguf = ".gguf";
constexpr size_t kNamedMax = 20;  // of what there is, in a message

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// One model: a file, or the parts of one.
struct Candidate {
  std::string path;  // of the first part, without the part's number and ".gguf"
  std::vector<HfFile> files;
  std::string lacks;  // a part that is not in the repository; empty: none
};

// Where `word` stands in `text` on its own: "q4_k" is no part of "q4_k_m".
bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !(is_word(text[end]) || text[end] == '_')))
      return true;
  }
  return false;
}

bool is_model_file(const std::string& path) {
  const std::string name = lower(base_name(path));
  return name.size() > kGguf.size() && name.ends_with(kGguf) && name.find("mmproj") == std::string::npos &&
         name.find("imatrix") == std::string::npos;
}

std::vector<Candidate> candidates_of(const std::vector<HfFile>& files) {
  std::vector<Candidate> candidates;
  for (const HfFile& file : files) {
    if (!is_model_file(file.path)) continue;
    const GgufParts parts = gguf_parts(file.path);
    if (parts.named != 0) continue;
    Candidate candidate{.path = file.path.substr(0, file.path.size() - kGguf.size()), .files = {}, .lacks = {}};
    constexpr size_t kPartBytes = std::string_view("-00001-of-00001").size();
    if (parts.paths.size() > 1) candidate.path.resize(candidate.path.size() - kPartBytes);
    for (const std::string& path : parts.paths) {
      const auto part = std::find_if(files.begin(), files.end(), [&](const HfFile& one) { return one.path == path; });
      if (part != files.end())
        candidate.files.push_back(*part);
      else if (candidate.lacks.empty())
        candidate.lacks = path;
    }
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

// The best of those that have `quant` in their path: in the file's name rather than in the folder's alone, at its end,
// not of a special kind ("UD-Q4_K_M"), then the shortest.
const Candidate* best_of(const std::vector<Candidate>& candidates, const std::string& quant) {
  const Candidate* best = nullptr;
  const auto rank = [&](const Candidate& one) {
    const std::string path = lower(one.path), name(base_name(path));
    return std::tuple(!has_word(name, quant), !name.ends_with(quant), has_word(name, "ud"), path.size(), path);
  };
  for (const Candidate& one : candidates)
    if (has_word(lower(one.path), quant) && (best == nullptr || rank(one) < rank(*best))) best = &one;
  return best;
}

const Candidate* named(const std::vector<Candidate>& candidates, const std::string& name) {
  for (const Candidate& one : candidates)
    for (const std::string& form : {lower(base_name(one.path)), lower(base_name(one.files[0].path))})
      if (name == form || name + std::string(kGguf) == form) return &one;
  return nullptr;
}

Result<std::vector<HfFile>> files_of(const Candidate& chosen) {
  if (chosen.lacks.empty()) return chosen.files;
  return error(Code::kCorrupt, fmt::format("the repository lacks the part {}", chosen.lacks));
}

std::string names_of(const std::vector<Candidate>& candidates) {
  std::vector<std::string> names;
  for (const Candidate& one : candidates) names.emplace_back(base_name(one.path));
  const bool cut = names.size() > kNamedMax;
  if (cut) names.resize(kNamedMax);
  return fmt::format("{}{}", fmt::join(names, ", "), cut ? ", ..." : "");
}

}  // namespace

Result<std::vector<HfFile>> parse_hf_files(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return error(Code::kCorrupt, "the list of files is no JSON array");
  std::vector<HfFile> files;
  for (const Json& one : json) {
    if (!one.is_object() || one.value("type", Json()) != "file") continue;
    const Json path = one.value("path", Json()), size = one.value("size", Json());
    if (!path.is_string() || !size.is_number_unsigned()) return error(Code::kCorrupt, "a file has no path or size");
    HfFile file{.path = valid_utf8(path.get<std::string>()), .size_bytes = size.get<uint64_t>(), .sha256 = {}};
    const Json lfs = one.value("lfs", Json());
    if (lfs.is_object()) {
      const Json oid = lfs.value("oid", Json()), lfs_size = lfs.value("size", Json());
      const auto digest = oid.is_string() ? parse_digest("sha256:" + oid.get<std::string>()) : std::nullopt;
      if (!digest) return error(Code::kCorrupt, "a large file has no sha256");
      file.sha256 = digest_hex(*digest);
      if (lfs_size.is_number_unsigned()) file.size_bytes = lfs_size.get<uint64_t>();
    }
    files.push_back(std::move(file));
  }
  return files;
}

Result<std::vector<HfFile>> choose_hf_files(const std::vector<HfFile>& files, std::string_view quant) {
  const std::vector<Candidate> candidates = candidates_of(files);
  if (candidates.empty()) return error(Code::kNotFound, "the repository has no GGUF model");
  const std::string wanted = lower(quant);
  if (wanted == "latest") {
    for (const std::string_view preferred : kPreferred)
      if (const Candidate* best = best_of(candidates, lower(preferred))) return files_of(*best);
    return files_of(candidates.front());
  }
  const Candidate* best = named(candidates, wanted);
  if (best == nullptr) best = best_of(candidates, wanted);
  if (best == nullptr)
    return error(Code::kNotFound, fmt::format("nothing called '{}'; there is: {}", quant, names_of(candidates)));
  return files_of(*best);
}

}  // namespace spillway
