// SPDX-License-Identifier: MIT
#include "model/gguf_model.h"

#include <fmt/format.h>
#include <gguf.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "base/saturating_sub.h"
#include "model/ggml_log.h"
#include "model/gguf_metadata.h"
#include "model/metadata_room.h"
#include "model/tensor_role.h"
#include "os/process_setup.h"

namespace spillway {
namespace {

struct GgufDeleter {
  void operator()(gguf_context* context) const { gguf_free(context); }
};
using GgufPtr = std::unique_ptr<gguf_context, GgufDeleter>;

// The smallest entries the format allows: a key of one byte with a one-byte value; a tensor with a one-byte name.
constexpr uint64_t kHeaderBytes = 24;
constexpr uint64_t kKeyValueBytesMin = 8 + 1 + 4 + 1;
constexpr uint64_t kTensorBytesMin = 8 + 1 + 4 + 8 + 4 + 8;

uint64_t read_u64(std::span<const std::byte> bytes, size_t at) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// In a layer, and in all tensors of all layers: no model has as many. Whatever plans or streams has a row for each.
constexpr uint64_t kExpertsMax = 1u << 16, kSlicesMax = 1u << 20;

// Integers of any width; 0 when the key is missing or not a single integer. Arrays (per-layer values) give their
// maximum.
uint64_t find_uint(const gguf_context* gguf, const std::string& key) {
  const int64_t id = gguf_find_key(gguf, key.c_str());
  if (id < 0) return 0;
  switch (gguf_get_kv_type(gguf, id)) {
    case GGUF_TYPE_UINT32:
      return gguf_get_val_u32(gguf, id);
    case GGUF_TYPE_INT32:
      return static_cast<uint64_t>(std::max(0, gguf_get_val_i32(gguf, id)));
    case GGUF_TYPE_UINT64:
      return gguf_get_val_u64(gguf, id);
    case GGUF_TYPE_UINT16:
      return gguf_get_val_u16(gguf, id);
    case GGUF_TYPE_ARRAY: {
      const gguf_type type = gguf_get_arr_type(gguf, id);
      if (type != GGUF_TYPE_UINT32 && type != GGUF_TYPE_INT32) return 0;
      const auto* values = static_cast<const uint32_t*>(gguf_get_arr_data(gguf, id));
      const size_t count = gguf_get_arr_n(gguf, id);
      return count == 0 ? 0 : *std::max_element(values, values + count);
    }
    default:
      return 0;
  }
}

// Per-layer values; a longer array is something else (a vocabulary).
constexpr size_t kNumbersMax = 4096;
// All of them together: a few values of each layer.
constexpr size_t kNumbersOfAllMax = 1 << 18;

template <typename T>
std::vector<int64_t> numbers_of(const void* data, size_t count) {
  const T* values = static_cast<const T*>(data);
  return {values, values + count};
}

// The value of key `id` as whole numbers; empty when it holds none.
std::vector<int64_t> numbers_at(const gguf_context* gguf, int64_t id) {
  const gguf_type kind = gguf_get_kv_type(gguf, id);
  const bool array = kind == GGUF_TYPE_ARRAY;
  const gguf_type type = array ? gguf_get_arr_type(gguf, id) : kind;
  const size_t count = array ? gguf_get_arr_n(gguf, id) : 1;
  if (count > kNumbersMax || type == GGUF_TYPE_STRING || type == GGUF_TYPE_ARRAY) return {};
  const void* data = array ? gguf_get_arr_data(gguf, id) : gguf_get_val_data(gguf, id);
  switch (type) {
    case GGUF_TYPE_UINT8:
    case GGUF_TYPE_BOOL:
      return numbers_of<uint8_t>(data, count);
    case GGUF_TYPE_INT8:
      return numbers_of<int8_t>(data, count);
    case GGUF_TYPE_UINT16:
      return numbers_of<uint16_t>(data, count);
    case GGUF_TYPE_INT16:
      return numbers_of<int16_t>(data, count);
    case GGUF_TYPE_UINT32:
      return numbers_of<uint32_t>(data, count);
    case GGUF_TYPE_INT32:
      return numbers_of<int32_t>(data, count);
    case GGUF_TYPE_UINT64:
      return numbers_of<uint64_t>(data, count);
    case GGUF_TYPE_INT64:
      return numbers_of<int64_t>(data, count);
    default:
      return {};
  }
}

std::string find_string(const gguf_context* gguf, const std::string& key) {
  const int64_t id = gguf_find_key(gguf, key.c_str());
  return id >= 0 && gguf_get_kv_type(gguf, id) == GGUF_TYPE_STRING ? gguf_get_val_str(gguf, id) : "";
}

// The file for ggml's parser, which asks for every string of a vocabulary on its own: read in large pieces.
class Source {
 public:
  explicit Source(const File& file) : file_(file) {}
  const std::optional<Status>& failure() const { return failure_; }  // of the first read that failed

  size_t read(uint64_t offset, std::span<std::byte> output) {
    size_t done = 0;
    while (done < output.size()) {
      const uint64_t at = offset + done;
      if (at < begin_ || at - begin_ >= held_) {
        piece_.resize(kPieceBytes);
        auto result = file_.read_at(at, piece_);
        if (!result && !failure_) failure_ = result.error();
        begin_ = at;
        held_ = result.value_or(0);
        if (held_ == 0) break;
      }
      const size_t n = std::min(output.size() - done, static_cast<size_t>(held_ - (at - begin_)));
      std::memcpy(output.data() + done, piece_.data() + (at - begin_), n);
      done += n;
    }
    return done;
  }

 private:
  static constexpr size_t kPieceBytes = 1 << 20;

  const File& file_;
  std::vector<std::byte> piece_;
  uint64_t begin_ = 0, held_ = 0;
  std::optional<Status> failure_;
};

struct ParsedFile {
  MetadataRoom room;  // that `gguf` takes
  GgufPtr gguf;

  const gguf_context* get() const { return gguf.get(); }
};

// Header first, in our own words; then whether the keys are as many and as large as a model's are, also with those of
// the model's other parts, since ggml keeps all of them in memory; then ggml's parser.
Result<ParsedFile> parse_metadata(const File& file, GgufTotals& totals) {
  std::array<std::byte, kHeaderBytes> header{};
  ASSIGN_OR_RETURN(const uint64_t got, file.read_at(0, header));
  RETURN_IF_ERROR(check_gguf_header(file.path(), std::span(header).first(got), file.size_bytes()));

  ASSIGN_OR_RETURN(const GgufMetadata metadata,
                   read_gguf_metadata(file, {.wanted = [](std::string_view) { return false; }}));
  RETURN_IF_ERROR(totals.add(file.path(), metadata));

  MetadataRoom room(MetadataRoom::Use::kRead, metadata.memory_bytes);
  Source source(file);
  const auto read = [](void* userdata, void* output, uint64_t offset, size_t bytes) -> size_t {
    return static_cast<Source*>(userdata)->read(offset, {static_cast<std::byte*>(output), bytes});
  };
  GgmlErrorCapture log;
  GgufPtr gguf;
  try {
    gguf.reset(gguf_init_from_callback(read, &source, 0, file.size_bytes(), {.no_alloc = true, .ctx = nullptr}));
  } catch (const std::bad_alloc&) {
    return error(Code::kOutOfBudget, fmt::format("{}: no memory for its metadata", file.path()));
  }
  if (source.failure()) return Failure(*source.failure());
  if (gguf == nullptr) {
    const std::string& why = log.first_error();
    return error(Code::kCorrupt, fmt::format("{}: the GGUF metadata is damaged or cut off{}{}; download the file again",
                                             file.path(), why.empty() ? "" : ": ", why));
  }
  return ParsedFile{.room = std::move(room), .gguf = std::move(gguf)};
}

TensorInfo tensor_info(const gguf_context* gguf, int64_t id, uint32_t file) {
  TensorInfo tensor;
  tensor.name = gguf_get_tensor_name(gguf, id);
  tensor.type = ggml_type_name(gguf_get_tensor_type(gguf, id));
  const int64_t* ne = gguf_get_tensor_ne(gguf, id);
  for (size_t d = 0; d < tensor.shape.size(); ++d) tensor.shape[d] = static_cast<uint64_t>(ne[d]);
  tensor.file = file;
  tensor.range = {gguf_get_data_offset(gguf) + gguf_get_tensor_offset(gguf, id), gguf_get_tensor_size(gguf, id)};
  tensor.layer = layer_of_tensor(tensor.name);
  tensor.role = role_of_tensor(tensor.name);
  // As many as no model has are no experts: tables have a row for each slice.
  const bool sliced = tensor.role == TensorRole::kExperts && tensor.shape[2] > 1 && tensor.shape[2] <= kExpertsMax &&
                      tensor.shape[3] == 1;
  if (sliced && tensor.range.bytes % tensor.shape[2] == 0) tensor.slices = static_cast<uint32_t>(tensor.shape[2]);
  return tensor;
}

// Every tensor inside the file and none over another: what lets everybody else add offsets without looking. None is
// empty: of one that is, ggml's reader takes any shape, whose other numbers nobody else could multiply.
Result<void> check_ranges(const File& file, std::vector<TensorInfo> tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.range.offset < b.range.offset; });
  for (size_t i = 0; i < tensors.size(); ++i) {
    const ByteRange& range = tensors[i].range;
    if (range.bytes == 0)
      return error(Code::kCorrupt,
                   fmt::format("{}: the tensor '{}' has no values; the file is damaged, download it again", file.path(),
                               one_line(tensors[i].name)));
    if (range.offset > file.size_bytes() || range.bytes > file.size_bytes() - range.offset)
      return error(
          Code::kCorrupt,
          fmt::format("{}: the file ends inside tensor '{}' ({} bytes of {} missing); download it again", file.path(),
                      one_line(tensors[i].name), saturating_sub(range.end(), file.size_bytes()), range.bytes));
    if (i > 0 && tensors[i - 1].range.end() > range.offset)
      return error(Code::kCorrupt,
                   fmt::format("{}: tensors '{}' and '{}' overlap; the file is damaged, download it again", file.path(),
                               one_line(tensors[i - 1].name), one_line(tensors[i].name)));
  }
  return {};
}

Result<void> add_file(GgufModel& model, std::unique_ptr<File> file, const gguf_context* gguf) {
  const auto index = static_cast<uint32_t>(model.files.size());
  const size_t first = model.tensors.size();
  for (int64_t id = 0; id < gguf_get_n_tensors(gguf); ++id) model.tensors.push_back(tensor_info(gguf, id, index));
  RETURN_IF_ERROR(check_ranges(*file, {model.tensors.begin() + static_cast<ptrdiff_t>(first), model.tensors.end()}));
  model.files.push_back(std::move(file));
  return {};
}

Result<void> take_metadata(GgufModel& model, const gguf_context* gguf, const std::string& path) {
  model.architecture = one_line(find_string(gguf, "general.architecture"));
  model.name = one_line(find_string(gguf, "general.name"));
  const auto arch_uint = [&](const char* key) { return find_uint(gguf, model.architecture + "." + key); };
  model.n_layer = arch_uint("block_count");
  model.n_embd = arch_uint("embedding_length");
  model.n_ctx_train = arch_uint("context_length");
  model.n_expert = arch_uint("expert_count");
  model.n_expert_used = arch_uint("expert_used_count");
  const std::string prefix = model.architecture + ".";
  size_t n_numbers = 0;
  for (int64_t id = 0; id < gguf_get_n_kv(gguf); ++id) {
    const std::string key = gguf_get_key(gguf, id);
    if (!key.starts_with(prefix)) continue;
    std::vector<int64_t> numbers = numbers_at(gguf, id);
    if ((n_numbers += numbers.size()) > kNumbersOfAllMax)
      return error(Code::kCorrupt, fmt::format("{}: has more than {} numbers of its architecture; download it again",
                                               path, kNumbersOfAllMax));
    if (!numbers.empty()) model.numbers[key.substr(prefix.size())] = std::move(numbers);
  }
  const std::string tokenizer = find_string(gguf, "tokenizer.ggml.model");
  model.has_tokenizer = !tokenizer.empty() && tokenizer != "none" && tokenizer != "no_vocab";
  return {};
}

void finish(GgufModel& model) {
  // libllama skips what only drafts further tokens: whole layers, the last ones.
  const int64_t n_drafting = std::clamp<int64_t>(model.number("nextn_predict_layers", 0), 0,
                                                 static_cast<int64_t>(std::min<uint64_t>(model.n_layer, INT32_MAX)));
  const int64_t n_computing = static_cast<int64_t>(std::min<uint64_t>(model.n_layer, INT32_MAX)) - n_drafting;
  for (TensorInfo& tensor : model.tensors) {
    tensor.unused = n_drafting > 0 && tensor.layer >= n_computing;
    uint64_t count = 1;
    for (uint64_t n : tensor.shape) count *= n;
    model.n_params += count;
    if (tensor.name == "output.weight") model.has_output = true;
    if (tensor.name == "token_embd.weight") model.n_vocab = tensor.shape[1];
  }
}

// Within one file the parser sees to it.
Result<void> check_names(const GgufModel& model) {
  if (model.files.size() == 1) return {};
  std::unordered_map<std::string_view, uint32_t> file_of;
  for (const TensorInfo& tensor : model.tensors) {
    const auto [other, is_new] = file_of.emplace(tensor.name, tensor.file);
    if (!is_new)
      return error(Code::kCorrupt,
                   fmt::format("{}: holds the tensor {}, as {} does: they are not of one model; download "
                               "them again",
                               model.files[tensor.file]->path(), tensor.name, model.files[other->second]->path()));
  }
  return {};
}

// Plans and tables are as large as these say.
Result<void> check_counts(const GgufModel& model, const std::string& path) {
  const auto wrong = [&](const std::string& claim) {
    return error(Code::kCorrupt, fmt::format("{}: {}: its metadata is damaged; download it again", path, claim));
  };
  if (model.n_layer > model.tensors.size())
    return wrong(fmt::format("claims {} layers and holds {} tensors", model.n_layer, model.tensors.size()));
  if (model.n_expert > kExpertsMax)
    return wrong(fmt::format("claims {} experts in a layer, and {} are the most", model.n_expert, kExpertsMax));
  if (model.n_expert_used > model.n_expert)
    return wrong(fmt::format("claims to use {} experts in a layer that has {}", model.n_expert_used, model.n_expert));
  uint64_t n_slices = 0;
  for (const TensorInfo& tensor : model.tensors) n_slices += tensor.slices > 1 ? tensor.slices : 0;
  if (n_slices > kSlicesMax)
    return wrong(fmt::format("claims {} experts in all of its tensors, and {} are the most", n_slices, kSlicesMax));
  return {};
}

// The paths of all parts, from the name of the first.
Result<std::vector<std::string>> split_paths(const std::string& path, uint64_t count) {
  GgufParts parts = gguf_parts(path);
  if (parts.paths.size() != count)
    return error(Code::kInvalidArgument,
                 fmt::format("{}: is one of {} parts but is not named NAME-00001-of-{:05}.gguf", path, count, count));
  if (parts.named != 0)
    return error(Code::kInvalidArgument,
                 fmt::format("{}: is a later part of a split model; name the first: {}", path, parts.paths[0]));
  return std::move(parts.paths);
}

// Whether the file says of itself what its name says: part `index`, from 0, of `count`.
Result<void> check_part(const std::string& path, const gguf_context* gguf, uint64_t index, uint64_t count) {
  const uint64_t own_index = find_uint(gguf, "split.no"), own_count = find_uint(gguf, "split.count");
  if (own_index == index && own_count == count) return {};
  const std::string own = own_count > 0 ? fmt::format("part {} of {}", own_index + 1, own_count) : "no part of a split";
  return error(Code::kCorrupt,
               fmt::format("{}: is {} by its content; by its name it is part {} of {}: download it again", path, own,
                           index + 1, count));
}

}  // namespace

Result<void> check_gguf_header(const std::string& path, std::span<const std::byte> first_bytes, uint64_t file_bytes) {
  if (first_bytes.empty()) return error(Code::kCorrupt, fmt::format("{}: is empty; download it again", path));
  if (first_bytes.size() < 4 || std::memcmp(first_bytes.data(), "GGUF", 4) != 0)
    return error(Code::kCorrupt, fmt::format("{}: is not a GGUF file; get the model as .gguf or convert it", path));
  if (first_bytes.size() < kHeaderBytes)
    return error(Code::kCorrupt, fmt::format("{}: is cut off after {} bytes; download it again", path, file_bytes));
  uint32_t version = 0;
  std::memcpy(&version, first_bytes.data() + 4, sizeof version);
  // Versions are small numbers: one with an empty low half was written by a machine of the other byte order.
  if (version != 0 && (version & 0xffff) == 0)
    return error(Code::kUnsupported, fmt::format("{}: is a big-endian GGUF; convert it to little-endian", path));
  if (version < 2 || version > GGUF_VERSION)
    return error(Code::kUnsupported,
                 fmt::format("{}: GGUF version {} is not supported (2 to {} are)", path, version, GGUF_VERSION));
  const uint64_t n_tensors = read_u64(first_bytes, 8);
  const uint64_t n_kv = read_u64(first_bytes, 16);
  if (n_kv > file_bytes / kKeyValueBytesMin || n_tensors > file_bytes / kTensorBytesMin)
    return error(Code::kCorrupt, fmt::format("{}: claims {} tensors and {} keys, more than its {} bytes can hold; "
                                             "download it again",
                                             path, n_tensors, n_kv, file_bytes));
  return {};
}

int64_t GgufModel::number(const std::string& key, int64_t otherwise) const {
  const auto found = numbers.find(key);
  return found == numbers.end() ? otherwise : found->second.front();
}

int64_t GgufModel::number_of_layer(const std::string& key, size_t layer, int64_t otherwise) const {
  const auto found = numbers.find(key);
  if (found == numbers.end()) return otherwise;
  if (found->second.size() == 1) return found->second.front();
  return layer < found->second.size() ? found->second[layer] : otherwise;
}

uint64_t GgufModel::weight_bytes() const {
  uint64_t sum = 0;
  for (const TensorInfo& tensor : tensors)
    if (!tensor.unused) sum += tensor.range.bytes;
  return sum;
}

uint64_t GgufModel::unused_bytes() const {
  uint64_t sum = 0;
  for (const TensorInfo& tensor : tensors)
    if (tensor.unused) sum += tensor.range.bytes;
  return sum;
}

std::vector<std::string> GgufModel::paths() const {
  std::vector<std::string> paths;
  for (const auto& file : files) paths.push_back(file->path());
  return paths;
}

Result<void> check_gguf_file(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, open_file(path, {.direct = false}));
  GgufTotals totals;
  ASSIGN_OR_RETURN(const ParsedFile parsed, parse_metadata(*file, totals));
  GgufModel alone;
  return add_file(alone, std::move(file), parsed.get());
}

Result<GgufModel> open_gguf_model(const std::string& path, const OpenOptions& options) {
  return open_gguf_model(path, [&](const std::string& one) { return open_file(one, options); });
}

Result<GgufModel> open_gguf_model(const std::string& path, const FileOpener& open) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> first, open(path));
  GgufTotals totals;
  GgufModel model;
  std::optional<ParsedFile> parsed;
  ASSIGN_OR_RETURN(parsed, parse_metadata(*first, totals));
  const gguf_context* const gguf = parsed->get();
  RETURN_IF_ERROR(take_metadata(model, gguf, path));
  // Before anything is missed in the metadata: only the first part of a split carries all of it.
  const uint64_t n_parts = find_uint(gguf, "split.count");
  std::vector<std::string> paths{path};
  if (n_parts > 1) {
    ASSIGN_OR_RETURN(paths, split_paths(path, n_parts));
  }
  if (model.architecture.empty())
    return error(Code::kCorrupt, fmt::format("{}: names no architecture; it is not a language model", path));
  // Each stays open, by two descriptors: others want some, too.
  constexpr uint64_t kShareOfFiles = 8;
  if (const uint64_t files_max = open_files_max() / kShareOfFiles; paths.size() > 1 && paths.size() > files_max)
    return error(Code::kIo, fmt::format("{}: is of {} parts, and {} are what this system leaves for one model "
                                        "(ulimit -n)",
                                        path, paths.size(), files_max));
  if (n_parts > 1) RETURN_IF_ERROR(check_part(path, gguf, 0, n_parts));
  const uint64_t n_tensors = find_uint(gguf, "split.tensors.count");  // of all parts; 0: not said
  RETURN_IF_ERROR(add_file(model, std::move(first), gguf));
  parsed.reset();  // and with it its room: the next part wants some
  for (size_t i = 1; i < paths.size(); ++i) {
    auto part = open(paths[i]);
    if (!part && part.error().code() == Code::kNotFound)
      return error(Code::kNotFound, fmt::format("{}: part {} of {} is missing: {}", path, i + 1, n_parts, paths[i]));
    if (!part) return Failure(part.error());
    ASSIGN_OR_RETURN(const ParsedFile other, parse_metadata(**part, totals));
    RETURN_IF_ERROR(check_part(paths[i], other.get(), i, n_parts));
    RETURN_IF_ERROR(add_file(model, std::move(*part), other.get()));
  }
  if (n_parts > 1 && n_tensors > 0 && model.tensors.size() != n_tensors)
    return error(Code::kCorrupt,
                 fmt::format("{}: its {} parts hold {} tensors together, {} are said to be there: they are not of one "
                             "model; download them again",
                             path, n_parts, model.tensors.size(), n_tensors));
  RETURN_IF_ERROR(check_names(model));
  if (model.tensors.empty())
    return error(Code::kCorrupt, fmt::format("{}: holds no tensors (a vocabulary only?)", path));
  RETURN_IF_ERROR(check_counts(model, path));
  finish(model);
  return model;
}

}  // namespace spillway
