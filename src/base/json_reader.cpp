// SPDX-License-Identifier: MIT
#include "base/json_reader.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// Values wait on a stack until what holds them ends, and are moved into it then, once: an object that grows would copy
// what it holds, since its keys are constant.
class Builder {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  Json take() { return std::move(values_.back()); }
  const std::optional<std::string>& problem() const { return problem_; }

  // ---- called by nlohmann's parser, in the order of the text

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const Json::string_t&) { return add(value); }
  bool string(Json::string_t& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }
  bool key(Json::string_t& name) {
    keys_.push_back(std::move(name));
    return true;
  }
  bool start_object(size_t) { return open(); }
  bool start_array(size_t) { return open(); }

  bool end_array() {
    const Frame frame = close();
    Json::array_t list;
    list.reserve(values_.size() - frame.values);
    for (size_t i = frame.values; i < values_.size(); ++i) list.push_back(std::move(values_[i]));
    values_.resize(frame.values);
    values_.emplace_back(std::move(list));
    return true;
  }

  bool end_object() {
    const Frame frame = close();
    const size_t n = values_.size() - frame.values;
    Json::object_t object;
    object.reserve(n);
    Places places;
    for (size_t i = 0; i < n; ++i) {
      std::string& name = keys_[frame.keys + i];
      const auto known = find(object, places, name);
      if (known != npos) {
        object.begin()[static_cast<std::ptrdiff_t>(known)].second = std::move(values_[frame.values + i]);
        continue;
      }
      object.emplace_back(std::move(name), std::move(values_[frame.values + i]));
      // Below, a look at each is quicker than a table.
      if (n > kFew) places.emplace(object.back().first, object.size() - 1);
    }
    values_.resize(frame.values);
    keys_.resize(frame.keys);
    values_.emplace_back(std::move(object));
    return true;
  }

  bool parse_error(size_t, const std::string&, const Json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ...": without the library's own name for it.
    std::string_view why = e.what();
    if (const size_t end = why.find("] "); end != std::string_view::npos) why.remove_prefix(end + 2);
    problem_ = fmt::format("invalid JSON: {}", valid_utf8(why.substr(0, 200)));
    return false;
  }

 private:
  static constexpr size_t npos = static_cast<size_t>(-1);
  static constexpr size_t kFew = 16;
  // By name; the names stay in place while it is in use. No table of hashes: who knows the function writes names that
  // all have one (std::hash has no secret), and 200,000 of those took minutes.
  using Places = std::map<std::string_view, size_t>;
  struct Frame {
    size_t values, keys;
  };

  static size_t find(const Json::object_t& object, const Places& places, const std::string& name) {
    if (!places.empty()) {
      const auto known = places.find(name);
      return known != places.end() ? known->second : npos;
    }
    for (size_t i = 0; i < object.size(); ++i)
      if (object.begin()[static_cast<std::ptrdiff_t>(i)].first == name) return i;
    return npos;
  }

  template <typename Value>
  bool add(Value&& value) {
    if (!count()) return false;
    values_.emplace_back(std::forward<Value>(value));
    return true;
  }
  bool open() {
    if (frames_.size() >= limits_.depth_max) {
      problem_ = "the JSON is nested too deeply";
      return false;
    }
    if (!count()) return false;
    frames_.push_back({values_.size(), keys_.size()});
    return true;
  }
  Frame close() {
    const Frame frame = frames_.back();
    frames_.pop_back();
    return frame;
  }
  bool count() {
    if (++n_values_ <= limits_.values_max) return true;
    problem_ = fmt::format("the JSON has more than {} values", limits_.values_max);
    return false;
  }

  const JsonLimits limits_;
  std::vector<Json> values_;
  std::vector<std::string> keys_;  // of the objects that are open
  std::vector<Frame> frames_;
  size_t n_values_ = 0;
  std::optional<std::string> problem_;
};

}  // namespace

Result<nlohmann::ordered_json> read_json(std::string_view text, const JsonLimits& limits) {
  Builder builder(limits);
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return builder.take();
  return error(Code::kInvalidArgument, builder.problem().value_or("invalid JSON"));
}

Json json_or_null(std::string_view text) {
  auto json = read_json(text);
  return json ? std::move(*json) : Json();
}

}  // namespace spillway
