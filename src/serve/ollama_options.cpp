// SPDX-License-Identifier: MIT
#include "serve/ollama_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

namespace spillway {
namespace {

template <typename T>
using Named = std::pair<const char*, std::optional<T> CallOptions::*>;

constexpr std::array<Named<double>, 7> kFloats = {{{"temperature", &CallOptions::temperature},
                                                   {"top_p", &CallOptions::top_p},
                                                   {"min_p", &CallOptions::min_p},
                                                   {"typical_p", &CallOptions::typical_p},
                                                   {"repeat_penalty", &CallOptions::repeat_penalty},
                                                   {"presence_penalty", &CallOptions::presence_penalty},
                                                   {"frequency_penalty", &CallOptions::frequency_penalty}}};
constexpr std::array<Named<int64_t>, 6> kIntegers = {{{"top_k", &CallOptions::top_k},
                                                      {"repeat_last_n", &CallOptions::repeat_last_n},
                                                      {"seed", &CallOptions::seed},
                                                      {"num_predict", &CallOptions::num_predict},
                                                      {"num_ctx", &CallOptions::num_ctx},
                                                      {"num_keep", &CallOptions::num_keep}}};
// Of Ollama now or once; here the planner decides, or nobody.
constexpr std::array kIgnored = {"num_batch",
                                 "num_gpu",
                                 "main_gpu",
                                 "use_mmap",
                                 "num_thread",
                                 "numa",
                                 "low_vram",
                                 "f16_kv",
                                 "logits_all",
                                 "vocab_only",
                                 "use_mlock",
                                 "mirostat",
                                 "tfs_z",
                                 "mirostat_eta",
                                 "mirostat_tau",
                                 "num_gqa",
                                 "penalize_newline",
                                 "draft_num_predict",
                                 "rope_frequency_base",
                                 "rope_frequency_scale"};

Result<std::optional<std::vector<std::string>>> read_stop(const Json& json) {
  const Json* stop = find_field(json, "stop");
  if (stop == nullptr) return std::nullopt;
  if (!stop->is_array()) return invalid("option \"stop\" must be of type array");
  std::vector<std::string> texts;
  for (const Json& text : *stop) {
    if (!text.is_string()) return invalid("option \"stop\" must be an array of strings");
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

}  // namespace

Result<CallOptions> parse_ollama_options(const Json& json) {
  if (!json.is_object()) return invalid("'options' must be of type object");
  CallOptions options;
  for (const auto& [name, to] : kFloats) {
    const auto value = number_field(json, name);
    if (!value) return invalid(fmt::format("option \"{}\" must be of type float32", name));
    options.*to = *value;
  }
  for (const auto& [name, to] : kIntegers) {
    const auto value = integer_field(json, name);
    if (!value) return invalid(fmt::format("option \"{}\" must be of type integer", name));
    options.*to = *value;
  }
  // To Ollama 0 is no limit, as whatever is below it.
  if (options.num_predict == 0) options.num_predict = -1;
  ASSIGN_OR_RETURN(options.stop, read_stop(json));
  return options;
}

CallOptions stored_options(const Json& parameters) {
  CallOptions options;
  if (!parameters.is_object()) return options;
  for (const auto& [name, value] : parameters.items()) {
    // A single stop string is stored as it is by some.
    const bool lone_stop = name == "stop" && value.is_string();
    const auto one = parse_ollama_options(Json{{name, lone_stop ? Json::array({value}) : value}});
    if (one) options = merge_options(std::move(options), *one);
  }
  return options;
}

uint32_t sampler_seed(int64_t seed) {
  const uint32_t new_each_time = SamplingOptions{}.seed;
  constexpr uint32_t kInstead = 0x7FFFFFFF;  // far from its neighbours, which other answers of the same request have
  const auto low = static_cast<uint32_t>(seed);
  return low == new_each_time ? kInstead : low;
}

std::vector<std::string> used_option_names() {
  std::vector<std::string> names = {"stop"};
  for (const auto& option : kIntegers) names.emplace_back(option.first);
  for (const auto& option : kFloats) names.emplace_back(option.first);
  return names;
}

std::vector<std::string> unused_option_names(const Json& parameters) {
  const std::vector<std::string> used = used_option_names();
  std::vector<std::string> unused;
  for (const auto& [name, value] : parameters.items())
    if (!value.is_null() && std::find(used.begin(), used.end(), name) == used.end()) unused.push_back(name);
  return unused;
}

Result<void> check_option_names(const Json& parameters) {
  const std::vector<std::string> names = used_option_names();
  for (const auto& [name, value] : parameters.items())
    if (std::find(names.begin(), names.end(), name) == names.end() &&
        std::find(kIgnored.begin(), kIgnored.end(), name) == kIgnored.end())
      return invalid(
          fmt::format("there is no parameter '{}'; there are {}", name.substr(0, 60), fmt::join(names, ", ")));
  return {};
}

}  // namespace spillway
