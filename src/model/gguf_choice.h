// SPDX-License-Identifier: MIT
// Which files of a repository, or of a folder laid out like one, are one model, and which of the models somebody means.
// Names propose; what a file is, its header says (model/gguf_kind.h). Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/gguf_kind.h"

namespace spillway {

// A GGUF file, or all parts of a split one.
struct GgufCandidate {
  std::string stem;           // the path, less the part's number and ".gguf"
  std::vector<size_t> files;  // in order of the parts; indices into the list of paths
  std::string path;           // of the first
  std::string missing_part;   // the first that the list does not have; empty: none

  // What names are compared by, so that each is looked at once: `path` in small letters, and is_named_beside() of it.
  std::string small_path = {};
  bool is_beside = false;
  std::string_view small_stem() const { return std::string_view(small_path).substr(0, stem.size()); }

  std::string name() const;  // the last part of `path`
};

// In the order of `paths`.
std::vector<GgufCandidate> gguf_candidates(const std::vector<std::string>& paths);

// "Q4_K_M", "UD-IQ2_XXS", "MXFP4", "BF16": as the file's name says it, else its folder's, in upper case; may be empty.
std::string quantization_in_name(std::string_view path);

// Whether its name says that it stands beside a model: "mmproj", "imatrix", "drafter", ... as a word of the path.
bool is_named_beside(std::string_view path);

// What the header of a candidate's first file says it is.
using KindReader = std::function<Result<GgufKind>(const GgufCandidate& candidate)>;

// The model that `wanted` means: a quantization ("Q4_K_M", of any case), the name or path of a file, or "latest": then
// Q4_K_M, or what is closest to it. Gives its index. Headers are read of as few candidates as possible.
//   NotFound      nothing is called that, and the message names what there is
//   Unsupported   what is called that is no model: a projector, a drafter, ...
//   Corrupt       a part is missing               errors of `read_kind`
Result<size_t> choose_gguf(const std::vector<GgufCandidate>& candidates, std::string_view wanted,
                           const KindReader& read_kind);

// What to ask for to get that candidate and no other one: its quantization where that is enough, else its path.
std::string wanted_for(const std::vector<GgufCandidate>& candidates, size_t index);

}  // namespace spillway
