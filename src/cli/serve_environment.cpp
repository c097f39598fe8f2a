// SPDX-License-Identifier: MIT
#include "cli/serve_environment.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <string_view>

#include "serve/json_input.h"

namespace spillway {
namespace {

using Get = std::function<const char*(const char*)>;

// As people paste them: quotes and blanks around a value are not meant.
std::string value_of(const Get& get, const char* name) {
  const char* text = get(name);
  std::string_view value = text == nullptr ? "" : text;
  constexpr std::string_view kAround = " \t\r\n\"'";
  const size_t begin = value.find_first_not_of(kAround);
  if (begin == std::string_view::npos) return "";
  return std::string(value.substr(begin, value.find_last_not_of(kAround) + 1 - begin));
}

tl::unexpected<Status> wrong(const char* name, std::string_view value, std::string_view right) {
  return error(Code::kInvalidArgument, fmt::format("{}='{}': {}", name, value.substr(0, 80), right));
}

Result<std::optional<uint64_t>> number_of(const Get& get, const char* name, uint64_t max) {
  const std::string value = value_of(get, name);
  if (value.empty()) return std::nullopt;
  uint64_t number = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (failed != std::errc() || end != value.data() + value.size() || number > max)
    return wrong(name, value, fmt::format("is no number from 0 to {}", max));
  return number;
}

// 0 leaves it to the server, as nothing does.
template <typename T>
Result<void> take_positive(const Get& get, const char* name, uint64_t max, std::optional<T>& to) {
  ASSIGN_OR_RETURN(const auto number, number_of(get, name, max));
  if (number && *number > 0) to = static_cast<T>(*number);
  return {};
}

Result<void> take_host(const Get& get, ServeEnvironment& out) {
  constexpr const char* kName = "OLLAMA_HOST";
  const std::string value = value_of(get, kName);
  if (value.empty()) return {};
  std::string_view rest = value;
  const size_t scheme = rest.find("://");
  const std::string_view scheme_name = scheme == std::string_view::npos ? std::string_view() : rest.substr(0, scheme);
  if (scheme != std::string_view::npos) rest.remove_prefix(scheme + 3);
  if (scheme_name == "https")
    return wrong(kName, value, "this server speaks http; put a proxy in front of it for https");
  rest = rest.substr(0, rest.find('/'));
  std::string_view port;
  if (rest.starts_with('[')) {
    const size_t close = rest.find(']');
    if (close == std::string_view::npos) return wrong(kName, value, "no ] ends the address");
    port = rest.substr(close + 1);
    rest = rest.substr(1, close - 1);
  } else if (rest.find(':') == rest.rfind(':') && rest.find(':') != std::string_view::npos) {
    port = rest.substr(rest.find(':'));
    rest = rest.substr(0, rest.find(':'));
  }  // else: no port, or the address of version 6 without brackets
  if (!rest.empty()) out.host = std::string(rest);
  if (port.starts_with(':')) port.remove_prefix(1);
  if (scheme_name == "http" && port.empty()) out.port = 80;
  if (port.empty()) return {};
  int number = 0;
  const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (failed != std::errc() || end != port.data() + port.size() || number < 0 || number > 65535)
    return wrong(kName, value, "the port is no number from 0 to 65535");
  out.port = number;
  return {};
}

// A number is seconds here, unlike in a request.
Result<void> take_keep_alive(const Get& get, ServeEnvironment& out) {
  constexpr const char* kName = "OLLAMA_KEEP_ALIVE";
  const std::string value = value_of(get, kName);
  if (value.empty()) return {};
  const bool bare = value.find_first_not_of("-0123456789.") == std::string::npos;
  const auto seconds = parse_duration_s(bare ? value + "s" : value);
  if (!seconds) return wrong(kName, value, "is no time: 5m, 1h30m, 300 (seconds), -1 (for ever)");
  out.keep_alive_s = *seconds < 0 ? std::numeric_limits<double>::infinity() : *seconds;
  return {};
}

}  // namespace

Result<ServeEnvironment> read_serve_environment(const Get& get) {
  ServeEnvironment out;
  RETURN_IF_ERROR(take_host(get, out));
  RETURN_IF_ERROR(take_keep_alive(get, out));
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_CONTEXT_LENGTH", 1 << 24, out.n_ctx));
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_NUM_PARALLEL", 256, out.n_parallel));
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_MAX_QUEUE", 1 << 20, out.queue_max));
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_MAX_LOADED_MODELS", 64, out.models_max));
  out.kv_cache_type = value_of(get, "OLLAMA_KV_CACHE_TYPE");
  return out;
}

}  // namespace spillway
