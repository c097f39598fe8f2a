// SPDX-License-Identifier: MIT
#include "model/gguf_kind.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace spillway {
namespace {

using Row = std::pair<std::string_view, GgufKind>;

// Values of general.type, as llama.cpp's converters write them.
constexpr std::array<Row, 5> kTypes = {{{"adapter", GgufKind::kAdapter},
                                        {"mmproj", GgufKind::kProjector},
                                        {"imatrix", GgufKind::kImportance},
                                        {"vocab", GgufKind::kVocabulary},
                                        {"controlvector", GgufKind::kControlVector}}};

// Architectures that are no language model on their own.
constexpr std::array<Row, 5> kArchitectures = {{{"clip", GgufKind::kProjector},
                                                {"controlvector", GgufKind::kControlVector},
                                                {"eagle3", GgufKind::kDrafter},
                                                {"dflash", GgufKind::kDrafter},
                                                {"gemma4-assistant", GgufKind::kDrafter}}};

template <size_t N>
GgufKind look_up(const std::array<Row, N>& rows, const std::string& text) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.first == text; });
  return found == rows.end() ? GgufKind::kModel : found->second;
}

}  // namespace

const char* kind_phrase(GgufKind kind) {
  switch (kind) {
    case GgufKind::kModel:
      return "a model";
    case GgufKind::kDrafter:
      return "a drafter for another model";
    case GgufKind::kProjector:
      return "a projector of images or sound";
    case GgufKind::kAdapter:
      return "a LoRA adapter";
    case GgufKind::kControlVector:
      return "a control vector";
    case GgufKind::kImportance:
      return "an importance matrix";
    case GgufKind::kVocabulary:
      return "a vocabulary without weights";
  }
  return "unknown";
}

GgufKind kind_of_keys(const GgufMetadata& metadata) {
  const GgufKind by_type = look_up(kTypes, metadata.text("general.type"));
  if (by_type != GgufKind::kModel) return by_type;
  // Older files do not say their type.
  if (metadata.keys.contains("adapter.type")) return GgufKind::kAdapter;
  return look_up(kArchitectures, metadata.text("general.architecture"));
}

GgufKind kind_of(const GgufMetadata& metadata) {
  const GgufKind by_keys = kind_of_keys(metadata);
  if (by_keys != GgufKind::kModel) return by_keys;
  const std::string architecture = metadata.text("general.architecture");
  const bool is_split = metadata.number("split.count") > 1;
  if (!is_split && metadata.n_tensors == 0) return GgufKind::kVocabulary;
  // The layers that guess further tokens, cut out of the model whose architecture they name.
  const bool has_guessing_layers = metadata.number(architecture + ".nextn_predict_layers") > 0;
  if (has_guessing_layers && metadata.layer_min.value_or(0) > 0) return GgufKind::kDrafter;
  return GgufKind::kModel;
}

}  // namespace spillway
