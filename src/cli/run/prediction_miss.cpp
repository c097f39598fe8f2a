// SPDX-License-Identifier: MIT
#include "cli/run/prediction_miss.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace spillway {
namespace {

constexpr double kFactor = 2;
// The first tokens of an answer find the cache as the prompt left it.
constexpr size_t kTokensMin = 8;
// What was over sooner says more about clocks and caches.
constexpr double kSecondsMin = 2;
// From here on one figure explains a factor of two of another.
constexpr double kManyMoreBytes = 1.5, kMostOfTheTime = 0.5, kManyFaults = 10;

std::string bytes_per_token(double bytes) { return format_bytes(static_cast<uint64_t>(bytes)); }

std::string why_slower(const Placement& placement, const RunStats& stats) {
  const double read_bytes = stats.bytes_read_per_token.value_or(0);
  if (stats.shrinks > 0)
    return fmt::format("other programs took memory, and the pool gave way {} times", stats.shrinks);
  if (stats.ungated > 0)
    return fmt::format("{} operations read weights past the pool, through the kernel's page cache", stats.ungated);
  if (placement.mode == Mode::kStream && read_bytes > kManyMoreBytes * placement.bytes_read_per_token)
    return fmt::format("{} were read per token instead of {}: this text uses other weights than earlier ones did",
                       bytes_per_token(read_bytes), bytes_per_token(placement.bytes_read_per_token));
  if (stats.disk_wait_fraction.value_or(0) > kMostOfTheTime)
    return "most of the time went by waiting for the disk: it was slower than when it was measured, or others used it";
  if (stats.major_faults_per_token.value_or(0) > kManyFaults)
    return placement.mode == Mode::kMmap ? "the page cache did not hold what it was expected to"
                                         : "memory was short, and the kernel took pages away";
  return "computing took longer than when the processor was measured: others use it, or the context is long";
}

std::string why_faster(const Placement& placement, const RunStats& stats) {
  const double read_bytes = stats.bytes_read_per_token.value_or(0);
  if (placement.mode == Mode::kMmap) return "the page cache held more of the model than was expected";
  if (placement.mode == Mode::kStream && placement.bytes_read_per_token > kManyMoreBytes * read_bytes)
    return fmt::format("{} were read per token instead of {}: this text stays with few weights",
                       bytes_per_token(read_bytes), bytes_per_token(placement.bytes_read_per_token));
  return "processor or disk were busy when they were measured; the next load takes what this run showed into account";
}

}  // namespace

std::optional<std::string> prediction_miss(const Placement& placement, const RunStats& stats) {
  if (!stats.predicted_tok_per_s || !stats.decode_tok_per_s || stats.decode_tokens < kTokensMin) return std::nullopt;
  const double predicted = *stats.predicted_tok_per_s, reached = *stats.decode_tok_per_s;
  if (predicted <= 0 || reached <= 0 || static_cast<double>(stats.decode_tokens) < kSecondsMin * reached)
    return std::nullopt;
  const bool slower = reached * kFactor<predicted, faster = reached> predicted * kFactor;
  if (!slower && !faster) return std::nullopt;
  return fmt::format("predicted {:.3g} tok/s, reached {:.3g}: {}", predicted, reached,
                     slower ? why_slower(placement, stats) : why_faster(placement, stats));
}

}  // namespace spillway
