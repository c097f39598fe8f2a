// SPDX-License-Identifier: MIT
#include "make_model/model_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "make_model/tokenizer.h"

namespace spillway::make_model {
namespace {

struct ArchTraits {
  Arch arch;
  const char* name;
  enum { kDense, kMoe, kEither } experts;
};

constexpr std::array kArchs = {
    ArchTraits{Arch::kLlama, "llama", ArchTraits::kEither},
    ArchTraits{Arch::kQwen2, "qwen2", ArchTraits::kDense},
    ArchTraits{Arch::kQwen2Moe, "qwen2moe", ArchTraits::kMoe},
    ArchTraits{Arch::kQwen3Moe, "qwen3moe", ArchTraits::kMoe},
    ArchTraits{Arch::kGemma3, "gemma3", ArchTraits::kDense},
    ArchTraits{Arch::kGptOss, "gpt-oss", ArchTraits::kMoe},
    ArchTraits{Arch::kGlm4Moe, "glm4moe", ArchTraits::kMoe},
    ArchTraits{Arch::kGemma4, "gemma4", ArchTraits::kEither},
};

const ArchTraits& traits(Arch arch) { return kArchs[static_cast<size_t>(arch)]; }

// libllama's limits (LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS): beyond them it aborts instead of reporting.
constexpr int64_t kLayersMax = 512;
constexpr int64_t kExpertsMax = 512;

}  // namespace

const char* arch_name(Arch arch) { return traits(arch).name; }

std::vector<std::string> arch_names() {
  std::vector<std::string> names;
  names.reserve(kArchs.size());
  for (const ArchTraits& candidate : kArchs) names.emplace_back(candidate.name);
  return names;
}

Expected<Arch> parse_arch(std::string_view name) {
  for (const ArchTraits& candidate : kArchs) {
    if (name == candidate.name) return candidate.arch;
  }
  return failure(fmt::format("--arch {}: not one of {}", name, fmt::join(arch_names(), ", ")));
}

Expected<uint32_t> pooling_number(std::string_view name) {
  constexpr std::string_view kNames[] = {"", "mean", "cls", "last", "rank"};
  for (uint32_t number = 0; number < std::size(kNames); ++number)
    if (name == kNames[number]) return number;
  return failure(fmt::format("--pooling {}: not one of mean, cls, last, rank", name));
}

Expected<void> validate(const ModelSpec& spec) {
  const struct {
    const char* option;
    int64_t value, min, max;
  } ranges[] = {
      {"--layers", spec.layers, 1, kLayersMax},
      {"--embd", spec.embd, 32, 1 << 20},
      {"--ff", spec.ff, 32, 1 << 22},
      {"--heads", spec.heads, 1, 4096},
      {"--kv-heads", spec.kv_heads, 1, spec.heads},
      {"--head-dim", spec.head_size(), 8, 4096},
      {"--vocab", spec.vocab, spec.tokenizer ? kVocabMin : 8, 1 << 24},
      {"--experts", spec.experts, 0, kExpertsMax},
      {"--expert-ff", spec.expert_width(), 32, 1 << 22},
      {"--shared-ff", spec.shared_ff, 0, 1 << 22},
      {"--draft-layers", spec.draft_layers, 0, 8},
      {"--context-length", spec.context_length, 16, 1 << 30},
      {"--window", spec.window, 0, 1 << 30},
  };
  for (const auto& range : ranges) {
    if (range.value < range.min || range.value > range.max) {
      return failure(fmt::format("{} {}: must be {} to {}", range.option, range.value, range.min, range.max));
    }
  }
  if (const auto pooling = pooling_number(spec.pooling); !pooling) return failure(pooling.error());
  if (spec.heads % spec.kv_heads != 0) {
    return failure(fmt::format("--heads {} is not a multiple of --kv-heads {}", spec.heads, spec.kv_heads));
  }
  if (spec.head_dim == 0 && spec.embd % spec.heads != 0) {
    return failure(fmt::format("--embd {} is not a multiple of --heads {}; give --head-dim", spec.embd, spec.heads));
  }
  if (spec.head_size() % 2 != 0) return failure(fmt::format("--head-dim {}: rotary heads are even", spec.head_size()));
  // These two take the width of the heads from --embd, whatever key_length says.
  if ((spec.arch == Arch::kQwen2 || spec.arch == Arch::kQwen2Moe) && spec.head_size() * spec.heads != spec.embd) {
    return failure(fmt::format("{}: --heads times --head-dim must be --embd", arch_name(spec.arch)));
  }
  if (spec.is_moe() && traits(spec.arch).experts == ArchTraits::kDense) {
    return failure(fmt::format("{} has no experts; leave --experts out", arch_name(spec.arch)));
  }
  if (!spec.is_moe() && traits(spec.arch).experts == ArchTraits::kMoe) {
    return failure(fmt::format("{} needs --experts", arch_name(spec.arch)));
  }
  if (spec.draft_layers > 0 && spec.arch != Arch::kGlm4Moe) {
    return failure(fmt::format("{} has no layers that draft tokens; leave --draft-layers out", arch_name(spec.arch)));
  }
  if (spec.is_moe() && (spec.experts_used < 1 || spec.experts_used > spec.experts)) {
    return failure(fmt::format("--experts-used {}: must be 1 to {}", spec.experts_used, spec.experts));
  }
  return {};
}

}  // namespace spillway::make_model
