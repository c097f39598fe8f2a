// SPDX-License-Identifier: MIT
#include "model/projector_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/bytes.h"
#include "model/ggml_log.h"
#include "model/gguf_kind.h"

namespace spillway {
namespace {

constexpr uint64_t kTensorAlignmentBytes = 64;
// Each weight's descriptor, and the graph's: a few hundred tensors.
constexpr uint64_t kProjectorFixedBytes = 4 * MiB;
// An encoder of images of any size is made ready for 46 x 46 tokens of 2 x 2 patches.
constexpr uint64_t kPatchesOfAnySize = uint64_t{46} * 46 * 4;
constexpr uint64_t kPatchesMax = 1 << 16, kProjectorWidthMax = 1 << 17;
constexpr uint64_t kPatchMax = 64;  // known ones have 14, 16 and 32

// Sizes that images are made: widths and heights by turns.
constexpr const char* kGrid = "clip.vision.image_grid_pinpoints";

bool is_set(const GgufMetadata& metadata, const char* key) {
  const auto found = metadata.keys.find(key);
  return found != metadata.keys.end() && found->is_boolean() && found->get<bool>();
}

// Those whose images keep their shape; the others' are squares of clip.vision.image_size.
bool takes_any_size(const GgufMetadata& metadata, const std::string& type) {
  return type.starts_with("qwen") || type == "pixtral" || type == "lightonocr" || type == "kimivl" ||
         type == "kimik25" || type.starts_with("glm4v") || type.starts_with("youtuvl") || type.starts_with("lfm2") ||
         metadata.keys.contains("clip.vision.image_max_pixels");
}

// Buffers of one pass, of libllama's kinds: for each patch the widest activation and four others (measured with
// generated ones of the shapes of CLIP, SigLIP and Qwen's: 31 to 33 kB a patch, this says 33 to 41), what products
// convert their input to, and the picture itself.
uint64_t projector_compute_bytes(const GgufMetadata& metadata, const std::string& type) {
  const auto number = [&](const char* key, uint64_t max) {
    return std::min(metadata.number(std::string("clip.vision.") + key), max);
  };
  const uint64_t patch = std::max<uint64_t>(number("patch_size", 1024), 1);
  const uint64_t side = number("image_size", 1 << 14) / patch + 1;
  const uint64_t n_patches =
      std::min(takes_any_size(metadata, type) ? std::max(kPatchesOfAnySize, side * side) : side * side, kPatchesMax);
  const uint64_t n_embd = number("embedding_length", kProjectorWidthMax),
                 n_ff = number("feed_forward_length", kProjectorWidthMax);
  const uint64_t floats = n_ff + 4 * n_embd + 6 * patch * patch;
  return n_patches * (floats * sizeof(float) + 2 * std::max(n_ff, n_embd));
}

// Of kinds that look a patch's position up by its number, each has to have one: ggml ends the process where it does
// not.
Result<void> check_positions(const std::string& path, const GgufModel& file, const GgufMetadata& metadata,
                             const std::string& type) {
  constexpr std::array<std::string_view, 6> kLookedUp = {"mlp", "ldp", "ldpv2", "gemma3", "internvl", "janus_pro"};
  if (std::find(kLookedUp.begin(), kLookedUp.end(), type) == kLookedUp.end()) return {};
  const uint64_t patch = metadata.number("clip.vision.patch_size"), size = metadata.number("clip.vision.image_size");
  const uint64_t side = patch == 0 ? UINT32_MAX : std::min<uint64_t>(size / patch, UINT32_MAX);
  for (const TensorInfo& tensor : file.tensors)
    if (tensor.name == "v.position_embd.weight" && tensor.shape[1] < side * side)
      return error(Code::kCorrupt, fmt::format("{}: has positions for {} patches, and images of {}", path,
                                               tensor.shape[1], side * side));
  return {};
}

// libmtmd takes some for optional, and touches them all the same: a file without them would end the process.
Result<void> check_ends(const std::string& path, const GgufModel& file, const std::string& type) {
  constexpr std::array<std::string_view, 10> kOfPatches = {"mlp",   "ldp",      "ldpv2",   "gemma3", "internvl",
                                                           "janus", "idefics3", "pixtral", "kimivl", "llama4"};
  const bool of_patches = type.starts_with("qwen") || std::any_of(kOfPatches.begin(), kOfPatches.end(), [&](auto kind) {
                            return type == kind || type.starts_with(std::string(kind) + "_");
                          });
  std::vector<const char*> needed;
  if (of_patches) needed.push_back("v.patch_embd.weight");
  if (type.starts_with("qwen2")) needed.push_back("v.patch_embd.weight.1");
  if (type == "mlp")
    for (const char* name : {"v.position_embd.weight", "mm.0.weight", "mm.0.bias", "mm.2.weight", "mm.2.bias"})
      needed.push_back(name);
  for (const char* name : needed)
    if (std::none_of(file.tensors.begin(), file.tensors.end(),
                     [&](const TensorInfo& tensor) { return tensor.name == name; }))
      return error(Code::kCorrupt,
                   fmt::format("{}: is a projector of type '{}' without its tensor {}", path, type, name));
  return {};
}

// libmtmd writes the positions of these kinds two by two, whatever the file says: beyond their end where that is odd.
Result<void> check_merge(const std::string& path, const GgufMetadata& metadata, const std::string& type) {
  constexpr const char* kMerge = "clip.vision.spatial_merge_size";
  if (!type.starts_with("qwen") || !metadata.keys.contains(kMerge) || metadata.number(kMerge) == 2) return {};
  return error(Code::kCorrupt, fmt::format("{}: a projector of type '{}' merges 2 x 2 patches, and its {} is another",
                                           path, type, kMerge));
}

// An image that is made ready for is so many patches wide, whatever their size: gigabytes, if that is believed.
Result<void> check_patch(const std::string& path, const GgufModel& file, const GgufMetadata& metadata) {
  const uint64_t patch = metadata.number("clip.vision.patch_size");
  for (const TensorInfo& tensor : file.tensors)
    if (tensor.name == "v.patch_embd.weight" && tensor.shape[2] == 3 && patch != tensor.shape[0])
      return error(Code::kCorrupt, fmt::format("{}: its patches are {} x {}, and its patch_size is {}", path,
                                               tensor.shape[0], tensor.shape[1], patch));
  if (patch <= kPatchMax) return {};
  return error(Code::kCorrupt, fmt::format("{}: its patch_size is {}; {} is the most here", path, patch, kPatchMax));
}

// What an image is made as large as, whatever its own size: more than an image may take is refused.
Result<void> check_sizes(const std::string& path, const GgufMetadata& metadata, const std::string& type) {
  constexpr uint64_t kPointBytes = 3 * sizeof(float), kPointsMax = kImageWorkBytes / kPointBytes;
  uint64_t most = metadata.number("clip.vision.image_min_pixels");
  const auto note = [&](uint64_t width, uint64_t height) {
    most = std::max(most, std::min<uint64_t>(width, UINT32_MAX) * std::min<uint64_t>(height, UINT32_MAX));
  };
  for (const char* key : {"clip.vision.image_size", "clip.vision.preproc_image_size"})
    if (!takes_any_size(metadata, type)) note(metadata.number(key), metadata.number(key));
  if (const auto grid = metadata.keys.find(kGrid); grid != metadata.keys.end() && grid->is_array()) {
    const auto side = [&](size_t i) -> uint64_t {
      const auto& number = (*grid)[i];
      return number.is_number_integer() ? static_cast<uint64_t>(std::max<int64_t>(number.get<int64_t>(), 0)) : 0;
    };
    for (size_t i = 0; i + 1 < grid->size(); i += 2) note(side(i), side(i + 1));
  }
  if (most <= kPointsMax) return {};
  return error(Code::kCorrupt,
               fmt::format("{}: makes images of {} points; {} are the most here", path, most, kPointsMax));
}

// Of a transformer's block: "attn_q.weight" of "v.blk.3.attn_q.weight". Empty: of something else.
std::string_view part_of_block(std::string_view name, uint64_t& block) {
  constexpr std::string_view kBegin = "v.blk.";
  if (!name.starts_with(kBegin)) return "";
  name.remove_prefix(kBegin.size());
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), block);
  // libmtmd asks for block "1"; one that is called "01" is nobody's.
  if (code != std::errc() || (*name.data() == '0' && end - name.data() > 1)) return "";
  name.remove_prefix(static_cast<size_t>(end - name.data()));
  for (const std::string_view kind : {".attn_", ".ffn_", ".ln1.", ".ln2."})
    if (name.starts_with(kind)) return name.substr(1);
  return "";
}

// libmtmd takes most tensors of a block for optional, whatever the kind; where it then builds the block without asking,
// the process ends. Blocks of one transformer have the same ones.
Result<void> check_blocks(const std::string& path, const GgufModel& file, const GgufMetadata& metadata,
                          const std::string& type) {
  constexpr const char* kCount = "clip.vision.block_count";
  const uint64_t n_blocks = metadata.number(kCount);
  if (metadata.keys.contains(kCount) && n_blocks == 0) return error(Code::kCorrupt, path + ": has no blocks");
  std::map<std::string, uint64_t, std::less<>> n_of;  // part -> blocks that have it
  for (const TensorInfo& tensor : file.tensors) {
    uint64_t block = 0;
    const std::string_view part = part_of_block(tensor.name, block);
    if (!part.empty() && block < n_blocks) ++n_of[std::string(part)];
  }
  if (type.starts_with("qwen2") && !n_of.empty())  // these it adds in any case
    for (const char* part : {"attn_q.bias", "attn_k.bias", "attn_v.bias"}) n_of.try_emplace(part, 0);
  for (const auto& [part, n] : n_of)
    if (n != n_blocks)
      return error(Code::kCorrupt, fmt::format("{}: {} of its {} blocks have a tensor {}; each has to", path, n,
                                               n_blocks, one_line(part)));
  return {};
}

// What ggml ends the process at while an image is computed.
Result<void> check_epsilon(const std::string& path, const GgufMetadata& metadata) {
  const auto epsilon = metadata.keys.find("clip.vision.attention.layer_norm_epsilon");
  if (epsilon == metadata.keys.end()) return {};
  if (epsilon->is_number() && epsilon->get<double>() >= 0 && epsilon->get<double>() <= 1) return {};
  return error(Code::kCorrupt, path + ": its layer_norm_epsilon is no number between 0 and 1");
}

Result<void> check_kind(const std::string& path, const GgufMetadata& metadata) {
  const GgufKind kind = kind_of_keys(metadata);
  if (kind == GgufKind::kProjector) return {};
  return error(Code::kInvalidArgument, fmt::format("{}: is {}, not a projector of images", path, kind_phrase(kind)));
}

}  // namespace

bool is_vision_projector(const GgufMetadata& metadata) {
  return kind_of_keys(metadata) == GgufKind::kProjector && is_set(metadata, "clip.has_vision_encoder");
}

Result<void> check_is_projector(const std::string& path) {
  ASSIGN_OR_RETURN(const GgufModel file, open_gguf_model(path, {.direct = false}));
  ASSIGN_OR_RETURN(const GgufMetadata metadata, read_gguf_metadata(*file.files.front(), {}));
  return check_kind(path, metadata);
}

Result<ProjectorFile> projector_of_gguf(const std::string& path, const GgufModel& file, const GgufMetadata& metadata) {
  RETURN_IF_ERROR(check_kind(path, metadata));
  if (!is_vision_projector(metadata))
    return error(Code::kUnsupported, path + ": is a projector that does not see; only images are taken");
  ProjectorFile projector{.path = path, .identity = {}, .type = {}};
  projector.type = metadata.text("clip.projector_type");
  if (projector.type.empty()) projector.type = metadata.text("clip.vision.projector_type");
  projector.type = one_line(projector.type);
  RETURN_IF_ERROR(check_ends(path, file, projector.type));
  RETURN_IF_ERROR(check_patch(path, file, metadata));
  RETURN_IF_ERROR(check_positions(path, file, metadata, projector.type));
  RETURN_IF_ERROR(check_merge(path, metadata, projector.type));
  RETURN_IF_ERROR(check_sizes(path, metadata, projector.type));
  RETURN_IF_ERROR(check_blocks(path, file, metadata, projector.type));
  RETURN_IF_ERROR(check_epsilon(path, metadata));
  projector.weight_bytes = kProjectorFixedBytes;
  for (const TensorInfo& tensor : file.tensors)
    projector.weight_bytes += round_up(tensor.range.bytes, kTensorAlignmentBytes);
  projector.compute_bytes = projector_compute_bytes(metadata, projector.type);
  return projector;
}

Result<ProjectorFile> open_projector_file(const std::string& path) {
  ASSIGN_OR_RETURN(const GgufModel file, open_gguf_model(path, {.direct = false}));
  ASSIGN_OR_RETURN(const GgufMetadata metadata, read_gguf_metadata(*file.files.front(), {.whole_array = kGrid}));
  ASSIGN_OR_RETURN(ProjectorFile projector, projector_of_gguf(path, file, metadata));
  projector.identity = identity_key(file.files.front()->identity());
  return projector;
}

uint64_t projector_width(const GgufMetadata& metadata) {
  struct Last {
    std::string_view type, tensor;  // the matrix whose results are the tokens
    size_t side = 1;                // of its shape, that of the results
  };
  constexpr std::array<Last, 10> kLast = {{{"mlp", "mm.2.weight"},
                                           {"pixtral", "mm.2.weight"},
                                           {"lightonocr", "mm.2.weight"},
                                           {"kimivl", "mm.2.weight"},
                                           {"qwen2vl_merger", "mm.2.weight"},
                                           {"qwen2.5vl_merger", "mm.2.weight"},
                                           {"internvl", "mm.3.weight"},
                                           {"idefics3", "mm.model.fc.weight"},
                                           {"llama4", "mm.model.fc.weight"},
                                           {"gemma3", "mm.input_projection.weight", 0}}};  // the other way round
  std::string type = metadata.text("clip.projector_type");
  if (type.empty()) type = metadata.text("clip.vision.projector_type");
  const auto last = std::find_if(kLast.begin(), kLast.end(), [&](const Last& one) { return one.type == type; });
  if (last == kLast.end()) return 0;
  for (const GgufTensorFacts& tensor : metadata.tensors)
    if (tensor.name == last->tensor) return tensor.shape.size() > last->side ? tensor.shape[last->side] : 0;
  return 0;
}

bool may_fit_model(const std::string& path, uint64_t n_embd) {
  const auto file = open_file(path, {.direct = false});
  if (!file) return false;
  const auto metadata = read_gguf_metadata(**file, {.tensors = true});
  if (!metadata) return false;
  const uint64_t width = projector_width(*metadata);
  return width == 0 || n_embd == 0 || width == n_embd;
}

}  // namespace spillway
