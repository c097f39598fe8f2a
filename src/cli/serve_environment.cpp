// SPDX-License-Identifier: MIT
#include "cli/serve_environment.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>
#include <string_view>

#include "serve/json_input.h"

namespace spillway {
namespace {

using Get = std::function<const char*(const char*)>;

constexpr std::string_view kNoTime = "is no time: 5m, 1h30m, 300 (seconds), -1 (for ever)";

// As people paste them: quotes and blanks around a value are not meant.
std::string_view without_quotes(std::string_view value) {
  constexpr std::string_view kAround = " \t\r\n\"'";
  const size_t begin = value.find_first_not_of(kAround);
  if (begin == std::string_view::npos) return "";
  return value.substr(begin, value.find_last_not_of(kAround) + 1 - begin);
}

std::string value_of(const Get& get, const char* name) {
  const char* text = get(name);
  return std::string(without_quotes(text == nullptr ? "" : text));
}

// What is no word for yes or no counts as yes, as it does in Ollama.
bool is_yes(std::string_view value) {
  constexpr std::array<std::string_view, 7> kNo = {"", "0", "f", "F", "false", "FALSE", "False"};
  return std::find(kNo.begin(), kNo.end(), value) == kNo.end();
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

Failure wrong(const char* name, std::string_view value, std::string_view right) {
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

Result<void> take_keep_alive(const Get& get, ServeEnvironment& out) {
  constexpr const char* kName = "OLLAMA_KEEP_ALIVE";
  const std::string value = value_of(get, kName);
  if (value.empty()) return {};
  const auto seconds = parse_keep_alive_s(value);
  if (!seconds) return wrong(kName, value, kNoTime);
  out.keep_alive_s = *seconds;
  return {};
}

void take_origins(const Get& get, ServeEnvironment& out) {
  const std::string value = value_of(get, "OLLAMA_ORIGINS");
  for (std::string_view rest = value; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    if (const std::string_view origin = without_quotes(rest.substr(0, comma)); !origin.empty())
      out.origins.emplace_back(origin);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
}

// When a variable asks for what is not done here.
enum class Asks { kNever, kIfSet, kIfYes, kIfNo };
struct Variable {
  std::string_view name;
  Asks asks;
  std::string_view instead;
};

// Applied, or of no effect on a server, where it asks never.
constexpr std::array kVariables = {
    Variable{"OLLAMA_API_KEY", Asks::kNever, ""},
    Variable{"OLLAMA_AUTH", Asks::kIfYes, "--api-key asks for a key"},
    Variable{"OLLAMA_CONTEXT_LENGTH", Asks::kNever, ""},
    Variable{"OLLAMA_DEBUG", Asks::kNever, ""},
    Variable{"OLLAMA_DEBUG_LOG_REQUESTS", Asks::kIfYes, "requests are not written to files"},
    Variable{"OLLAMA_EDITOR", Asks::kNever, ""},
    Variable{"OLLAMA_FLASH_ATTENTION", Asks::kNever, ""},
    Variable{"OLLAMA_GO_TEMPLATE", Asks::kIfNo, "a model's TEMPLATE is used where it has one"},
    Variable{"OLLAMA_GPU_OVERHEAD", Asks::kIfYes, "--gpu-memory says how much of each GPU the plan may use"},
    Variable{"OLLAMA_HOST", Asks::kNever, ""},
    Variable{"OLLAMA_IGPU_ENABLE", Asks::kIfSet, "--device names the GPUs to use"},
    Variable{"OLLAMA_KEEP_ALIVE", Asks::kNever, ""},
    Variable{"OLLAMA_KV_CACHE_TYPE", Asks::kNever, ""},
    Variable{"OLLAMA_LLM_LIBRARY", Asks::kIfSet, "--device names the GPUs to use"},
    Variable{"OLLAMA_LOAD_TIMEOUT", Asks::kIfSet, "a load may take as long as it takes"},
    Variable{"OLLAMA_MAX_LOADED_MODELS", Asks::kNever, ""},
    Variable{"OLLAMA_MAX_QUEUE", Asks::kNever, ""},
    Variable{"OLLAMA_MAX_TRANSFER_STREAMS", Asks::kIfSet, "safetensors are not pulled here"},
    Variable{"OLLAMA_MODELS", Asks::kNever, ""},
    Variable{"OLLAMA_NOHISTORY", Asks::kNever, ""},
    Variable{"OLLAMA_NOPRUNE", Asks::kNever, ""},   // no model's blob is removed at a start
    Variable{"OLLAMA_NO_CLOUD", Asks::kNever, ""},  // nothing is sent to anybody's cloud
    Variable{"OLLAMA_NUM_PARALLEL", Asks::kNever, ""},
    Variable{"OLLAMA_ORIGINS", Asks::kNever, ""},
    Variable{"OLLAMA_REMOTES", Asks::kIfSet, "models run on this machine alone"},
    Variable{"OLLAMA_SCHED_SPREAD", Asks::kIfYes, "the plan places layers on all GPUs that it may use"},
    Variable{"OLLAMA_VULKAN", Asks::kIfNo, "--device names the GPUs to use"},
    Variable{"LLAMA_ARG_FIT", Asks::kIfNo, "the plan fits each model into --ram and --gpu-memory"},
    Variable{"LLAMA_ARG_FIT_TARGET", Asks::kIfSet, "--gpu-memory says how much of each GPU the plan may use"},
};

bool asks(Asks how, std::string_view value) {
  if (how == Asks::kNever || value.empty()) return false;
  return how == Asks::kIfSet || is_yes(value) == (how == Asks::kIfYes);
}

Result<void> take_cache(const Get& get, ServeEnvironment& out) {
  constexpr const char* kType = "OLLAMA_KV_CACHE_TYPE";
  if (const std::string flash = value_of(get, "OLLAMA_FLASH_ATTENTION"); !flash.empty())
    out.flash_attention = is_yes(flash) ? FlashAttention::kOn : FlashAttention::kOff;
  const std::string type = lower(value_of(get, kType));
  if (type.empty()) return {};
  if (std::find(kCacheTypeNames.begin(), kCacheTypeNames.end(), type) == kCacheTypeNames.end())
    return wrong(kType, type, fmt::format("is none of {}", fmt::join(kCacheTypeNames, ", ")));
  out.kv_cache_type = type;
  return {};
}

}  // namespace

std::vector<std::string> unapplied_variables(const char* const* environment) {
  std::vector<std::string> sentences;
  for (; *environment != nullptr; ++environment) {
    const std::string_view entry = *environment;
    const std::string_view name = entry.substr(0, entry.find('='));
    const std::string_view value = without_quotes(entry.substr(std::min(name.size() + 1, entry.size())));
    const auto known =
        std::find_if(kVariables.begin(), kVariables.end(), [&](const Variable& one) { return one.name == name; });
    if (known != kVariables.end() && asks(known->asks, value))
      sentences.push_back(fmt::format("{} is not applied: {}", name, known->instead));
    else if (known == kVariables.end() && name.starts_with("OLLAMA_") && !value.empty())
      sentences.push_back(fmt::format("{} is not applied: nothing here reads it", name));
  }
  std::sort(sentences.begin(), sentences.end());
  return sentences;
}

Result<double> parse_keep_alive_s(const std::string& text) {
  const bool bare = text.find_first_not_of("-0123456789.") == std::string::npos;
  const auto seconds = parse_duration_s(bare ? text + "s" : text);
  if (!seconds) return error(Code::kInvalidArgument, fmt::format("'{}' {}", text.substr(0, 80), kNoTime));
  return *seconds < 0 ? std::numeric_limits<double>::infinity() : *seconds;
}

Result<std::optional<uint32_t>> read_context_environment(const Get& get) {
  std::optional<uint32_t> n_ctx;
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_CONTEXT_LENGTH", 1 << 24, n_ctx));
  return n_ctx;
}

Result<ServeEnvironment> read_serve_environment(const Get& get) {
  ServeEnvironment out;
  RETURN_IF_ERROR(take_host(get, out));
  RETURN_IF_ERROR(take_keep_alive(get, out));
  ASSIGN_OR_RETURN(out.n_ctx, read_context_environment(get));
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_NUM_PARALLEL", 256, out.n_parallel));
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_MAX_QUEUE", 1 << 20, out.queue_max));
  RETURN_IF_ERROR(take_positive(get, "OLLAMA_MAX_LOADED_MODELS", 64, out.models_max));
  take_origins(get, out);
  out.debug = is_yes(value_of(get, "OLLAMA_DEBUG"));
  RETURN_IF_ERROR(take_cache(get, out));
  return out;
}

}  // namespace spillway
