// SPDX-License-Identifier: MIT
#include "model/gguf_metadata.h"

#include <fmt/format.h>
#include <ggml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/gguf_model.h"
#include "model/tensor_role.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFileHeaderBytes = 24;
constexpr uint64_t kPieceBytes = 256 * KiB;
// Beyond any real key or tensor name; chat templates and licenses are values, and may be long. ggml's reader compares
// each key with all before it: with 64 KiB each that took minutes.
constexpr uint64_t kNameBytesMax = 256;
constexpr uint32_t kDimensionsMax = 4;
// What is beyond these is no model: libllama keeps all of it in memory. The largest vocabularies have 300,000 tokens
// and 600,000 merges, in 20 MB; the largest models a few thousand tensors, or 14,000 where each expert has its own.
// ggml's reader compares each key, and the name of each tensor, with all before it: a million take an hour.
constexpr uint64_t kKeysMax = 1 << 13, kTensorsMax = 1 << 14, kElementsMax = 1 << 24, kTextsMax = 1 << 22;
constexpr uint64_t kMetadataBytesMax = 512 * MiB;
// Of an array, beside its bytes in the file, and of a tensor: what ggml's reader keeps.
constexpr uint64_t kTextObjectBytes = sizeof(std::string), kTensorObjectBytes = 512;
// That are kept as JSON, all arrays together: the largest vocabularies with their merges, types and scores.
constexpr uint64_t kElementsKeptMax = 1 << 21;

// The numbers of the format.
enum Type : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// Reads a file from front to back, a large piece at a time.
class Reader {
 public:
  explicit Reader(const File& file) : file_(file) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return file_.size_bytes() - at_; }
  // Of what is behind us, in the memory of whoever keeps all of it.
  uint64_t memory_bytes() const { return at_ + kTextObjectBytes * n_texts_; }
  void count_texts(uint64_t n) { n_texts_ += n; }

  Result<void> skip(uint64_t bytes) {
    if (bytes > left()) return cut_off();
    at_ += bytes;
    return {};
  }

  template <typename T>
  Result<T> number() {
    T value{};
    RETURN_IF_ERROR(read(reinterpret_cast<char*>(&value), sizeof value));
    return value;
  }

  // nullopt: longer than `bytes_max`, and passed over.
  Result<std::optional<std::string>> text_up_to(uint64_t bytes_max) {
    ASSIGN_OR_RETURN(const uint64_t bytes, number<uint64_t>());
    if (bytes > left()) return cut_off();
    if (bytes > bytes_max) {
      RETURN_IF_ERROR(skip(bytes));
      return std::optional<std::string>();
    }
    std::string text(bytes, '\0');
    RETURN_IF_ERROR(read(text.data(), bytes));
    return std::optional(valid_utf8(text));
  }
  Result<std::string> name() {
    ASSIGN_OR_RETURN(auto text, text_up_to(kNameBytesMax));
    if (!text) return damaged("a name that is no name");
    return std::move(*text);
  }

  Failure damaged(const std::string& what) const {
    return error(Code::kCorrupt,
                 fmt::format("{}: the GGUF metadata is damaged: {}; download the file again", file_.path(), what));
  }

 private:
  Failure cut_off() const { return damaged("it goes on behind the end of the file"); }

  Result<void> read(char* destination, uint64_t bytes) {
    if (bytes > left()) return cut_off();
    while (bytes > 0) {
      if (at_ < piece_at_ || at_ >= piece_at_ + piece_.size()) RETURN_IF_ERROR(load_piece());
      const uint64_t from = at_ - piece_at_, n = std::min(bytes, piece_.size() - from);
      std::memcpy(destination, piece_.data() + from, n);
      destination += n;
      at_ += n;
      bytes -= n;
    }
    return {};
  }

  Result<void> load_piece() {
    piece_at_ = at_;
    piece_.resize(std::min(kPieceBytes, left()));
    ASSIGN_OR_RETURN(const uint64_t got, file_.read_at(piece_at_, std::as_writable_bytes(std::span(piece_))));
    if (got == 0) return error(Code::kChanged, fmt::format("{}: the file became shorter", file_.path()));
    piece_.resize(got);
    return {};
  }

  const File& file_;
  uint64_t at_ = 0, piece_at_ = 0, n_texts_ = 0;
  std::vector<char> piece_;
};

// 0: not of a fixed size, or no type at all.
uint64_t type_bytes(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kU64:
    case kI64:
    case kF64:
      return 8;
    default:
      return 0;
  }
}

template <typename T>
Result<Json> json_number(Reader& reader) {
  ASSIGN_OR_RETURN(const T value, reader.number<T>());
  return Json(value);
}

// A float as the shortest number that is the same float: 1e-06, not 9.999999974752427e-07.
Result<Json> json_float(Reader& reader) {
  ASSIGN_OR_RETURN(const float value, reader.number<float>());
  return Json(std::isfinite(value) ? std::stod(fmt::format("{}", value)) : static_cast<double>(value));
}

// Discarded, where it is a text that is longer than `text_bytes_max`.
Result<Json> read_value(Reader& reader, uint32_t type, uint64_t text_bytes_max) {
  switch (type) {
    case kU8:
      return json_number<uint8_t>(reader);
    case kI8:
      return json_number<int8_t>(reader);
    case kU16:
      return json_number<uint16_t>(reader);
    case kI16:
      return json_number<int16_t>(reader);
    case kU32:
      return json_number<uint32_t>(reader);
    case kI32:
      return json_number<int32_t>(reader);
    case kF32:
      return json_float(reader);
    case kBool: {
      ASSIGN_OR_RETURN(const auto value, reader.number<uint8_t>());
      return Json(value != 0);
    }
    case kString: {
      ASSIGN_OR_RETURN(auto value, reader.text_up_to(text_bytes_max));
      return value ? Json(std::move(*value)) : Json(Json::value_t::discarded);
    }
    case kU64:
      return json_number<uint64_t>(reader);
    case kI64:
      return json_number<int64_t>(reader);
    case kF64:
      return json_number<double>(reader);
    default:
      return reader.damaged(fmt::format("a value of type {}", type));
  }
}

Result<void> skip_array(Reader& reader, uint32_t type, uint64_t count) {
  if (type != kString) return reader.skip(count * type_bytes(type));
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const uint64_t bytes, reader.number<uint64_t>());
    RETURN_IF_ERROR(reader.skip(bytes));
  }
  return {};
}

Failure too_many_bytes(const Reader& reader) {
  return reader.damaged(fmt::format("more than {} of keys", format_bytes(kMetadataBytesMax)));
}

// `elements_max` 0: it is only passed over. One that has more, or more bytes of texts, is empty.
Result<Json> read_array(Reader& reader, size_t elements_max, uint64_t text_bytes_max) {
  ASSIGN_OR_RETURN(const uint32_t type, reader.number<uint32_t>());
  ASSIGN_OR_RETURN(const uint64_t count, reader.number<uint64_t>());
  const uint64_t element_bytes_min = type == kString ? sizeof(uint64_t) : type_bytes(type);
  if (element_bytes_min == 0) return reader.damaged(fmt::format("an array of type {}", type));
  if (count > reader.left() / element_bytes_min || count > (type == kString ? kTextsMax : kElementsMax))
    return reader.damaged(fmt::format("an array of {} elements", count));
  if (type == kString) reader.count_texts(count);
  if (reader.memory_bytes() > kMetadataBytesMax) return too_many_bytes(reader);
  Json values = Json::array();
  if (count > elements_max) {
    RETURN_IF_ERROR(skip_array(reader, type, count));
    return values;
  }
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(Json value, read_value(reader, type, text_bytes_max));
    if (value.is_discarded()) {
      RETURN_IF_ERROR(skip_array(reader, type, count - i - 1));
      return Json::array();
    }
    if (type == kString)
      text_bytes_max -= std::min<uint64_t>(text_bytes_max, value.get_ref<const std::string&>().size());
    values.push_back(std::move(value));
  }
  return values;
}

std::string upper_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// "Q4_K" as files are named, not ggml's "q4_K".
std::string tensor_type(uint32_t type) {
  const char* name = type < GGML_TYPE_COUNT ? ggml_type_name(static_cast<ggml_type>(type)) : nullptr;
  return name == nullptr ? fmt::format("type {}", type) : upper_case(name);
}

Result<GgufTensorFacts> read_tensor(Reader& reader) {
  GgufTensorFacts tensor;
  ASSIGN_OR_RETURN(tensor.name, reader.name());
  ASSIGN_OR_RETURN(const uint32_t n_dims, reader.number<uint32_t>());
  if (n_dims > kDimensionsMax) return reader.damaged(fmt::format("a tensor of {} dimensions", n_dims));
  for (uint32_t d = 0; d < n_dims; ++d) {
    ASSIGN_OR_RETURN(const uint64_t n, reader.number<uint64_t>());
    tensor.shape.push_back(n);
  }
  ASSIGN_OR_RETURN(const uint32_t type, reader.number<uint32_t>());
  tensor.type = tensor_type(type);
  RETURN_IF_ERROR(reader.skip(sizeof(uint64_t)));  // its offset
  return tensor;
}

// Saturates: what claims more weights than there are numbers is shown as that many.
uint64_t n_params_of(const GgufTensorFacts& tensor) {
  uint64_t count = 1;
  for (const uint64_t n : tensor.shape)
    if (__builtin_mul_overflow(count, n, &count)) return UINT64_MAX;
  return count;
}

}  // namespace

std::string GgufMetadata::text(const std::string& key) const {
  const auto found = keys.find(key);
  return found != keys.end() && found->is_string() ? found->get<std::string>() : "";
}

uint64_t GgufMetadata::number(const std::string& key) const {
  const auto found = keys.find(key);
  if (found == keys.end() || !found->is_number_integer()) return 0;
  return found->is_number_unsigned() ? found->get<uint64_t>()
                                     : static_cast<uint64_t>(std::max<int64_t>(0, found->get<int64_t>()));
}

Result<GgufMetadata> read_gguf_metadata(const File& file, const GgufMetadataOptions& options) {
  // 1. The header.
  std::array<std::byte, kFileHeaderBytes> header{};
  ASSIGN_OR_RETURN(const uint64_t got, file.read_at(0, header));
  RETURN_IF_ERROR(check_gguf_header(file.path(), std::span(header).first(got), file.size_bytes()));
  Reader reader(file);
  RETURN_IF_ERROR(reader.skip(2 * sizeof(uint32_t)));
  GgufMetadata metadata{.keys = Json::object(), .tensors = {}};
  ASSIGN_OR_RETURN(metadata.n_tensors, reader.number<uint64_t>());
  ASSIGN_OR_RETURN(const uint64_t n_keys, reader.number<uint64_t>());

  // 2. The keys. A list while they are read: looking each up in an ordered object first would make many keys slow.
  auto& keys = metadata.keys.get_ref<Json::object_t&>();
  if (n_keys > kKeysMax) return reader.damaged(fmt::format("{} keys", n_keys));
  if (metadata.n_tensors > kTensorsMax) return reader.damaged(fmt::format("{} tensors", metadata.n_tensors));
  uint64_t text_bytes_left = options.text_bytes_max, elements_left = kElementsKeptMax;
  for (uint64_t i = 0; i < n_keys; ++i) {
    metadata.key_offsets.push_back(reader.at());
    ASSIGN_OR_RETURN(std::string key, reader.name());
    if (!options.stop_before.empty() && key.starts_with(options.stop_before)) {
      metadata.is_whole = false;
      return metadata;
    }
    ASSIGN_OR_RETURN(const uint32_t type, reader.number<uint32_t>());
    const bool keep = !options.wanted || options.wanted(key);
    const size_t asked_max = !keep ? 0 : key == options.whole_array ? SIZE_MAX : options.array_elements_max;
    const size_t elements_max = std::min<uint64_t>(asked_max, elements_left);
    const uint64_t before = reader.at(), text_bytes = keep ? text_bytes_left : 0;
    Result<Json> value =
        type == kArray ? read_array(reader, elements_max, text_bytes) : read_value(reader, type, text_bytes);
    if (!value) return Failure(std::move(value).error());
    if (reader.memory_bytes() > kMetadataBytesMax) return too_many_bytes(reader);
    if (!keep || value->is_discarded()) continue;
    if (type == kArray) elements_left -= value->size();
    if (type == kString || (type == kArray && !value->empty()))
      text_bytes_left -= std::min(text_bytes_left, reader.at() - before);
    static_cast<std::vector<Json::object_t::value_type>&>(keys).emplace_back(std::move(key), std::move(*value));
  }

  metadata.key_offsets.push_back(reader.at());
  metadata.memory_bytes = reader.memory_bytes() + kTensorObjectBytes * metadata.n_tensors;

  // 3. The tensors.
  for (uint64_t i = 0; i < metadata.n_tensors; ++i) {
    ASSIGN_OR_RETURN(GgufTensorFacts tensor, read_tensor(reader));
    if (__builtin_add_overflow(metadata.n_params, n_params_of(tensor), &metadata.n_params))
      metadata.n_params = UINT64_MAX;
    if (const int layer = layer_of_tensor(tensor.name); layer >= 0)
      metadata.layer_min = std::min(metadata.layer_min.value_or(UINT64_MAX), static_cast<uint64_t>(layer));
    if (options.tensors) metadata.tensors.push_back(std::move(tensor));
  }
  metadata.header_bytes = reader.at();
  return metadata;
}

Result<void> GgufTotals::add(const std::string& path, const GgufMetadata& metadata) {
  n_tensors_ += metadata.n_tensors;
  memory_bytes_ += metadata.memory_bytes;
  const uint64_t memory_bytes_max = kMetadataBytesMax + kTensorObjectBytes * kTensorsMax;
  if (n_tensors_ <= kTensorsMax && memory_bytes_ <= memory_bytes_max) return {};
  return error(Code::kCorrupt, fmt::format("{}: with it the model's parts have {} tensors, and metadata of {}: more "
                                           "than any model's; download it again",
                                           path, n_tensors_, format_bytes(memory_bytes_)));
}

std::optional<GgufPartName> gguf_part_name(std::string_view path) {
  constexpr std::string_view kShape = "-#####-of-#####.gguf";
  if (path.size() < kShape.size()) return std::nullopt;
  const std::string_view ending = path.substr(path.size() - kShape.size());
  for (size_t i = 0; i < kShape.size(); ++i) {
    const auto c = static_cast<unsigned char>(ending[i]);
    if (kShape[i] == '#' ? std::isdigit(c) == 0 : std::tolower(c) != kShape[i]) return std::nullopt;
  }
  const GgufPartName name{.part = std::stoul(std::string(ending.substr(1, 5))),
                          .count = std::stoul(std::string(ending.substr(10, 5))),
                          .stem_bytes = path.size() - kShape.size()};
  if (name.part < 1 || name.part > name.count || name.count > kGgufPartsMax) return std::nullopt;
  return name;
}

std::string gguf_part_path(const std::string& path, const GgufPartName& name, size_t part) {
  constexpr size_t kNumberBytes = std::string_view("-#####").size();
  return fmt::format("{}-{:05}{}", std::string_view(path).substr(0, name.stem_bytes), part,
                     std::string_view(path).substr(name.stem_bytes + kNumberBytes));
}

GgufParts gguf_parts(const std::string& path) {
  const auto name = gguf_part_name(path);
  if (!name) return {.paths = {path}, .named = 0};
  GgufParts parts{.paths = {}, .named = name->part - 1};
  parts.paths.reserve(name->count);
  for (size_t i = 1; i <= name->count; ++i) parts.paths.push_back(gguf_part_path(path, *name, i));
  return parts;
}

}  // namespace spillway
