// SPDX-License-Identifier: MIT
// spillway-inflate: the command line.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "inflate/exact_encoding.h"
#include "inflate/growth.h"
#include "inflate/inflate.h"
#include "inflate/small_model.h"
#include "make_model/progress_bar.h"

namespace spillway::inflate {
namespace {

constexpr int kExitFailed = 1, kExitUsage = 2, kExitInterrupted = 130;

constexpr const char* kExamples = R"(Examples:
  spillway-inflate brook.gguf big.gguf --size 6GiB
  spillway-inflate brook.gguf big.gguf --size 6GiB --experts 64                   tokens choose 2 of 64
  spillway-inflate brook.gguf big.gguf --size 6GiB --experts 64 --experts-used 8  8 of 64: each expert in 4 parts
  spillway-inflate brook.gguf big.gguf --size 2GiB --type q8_0 --layers 12
  spillway-inflate brook.gguf big.gguf --size 4GiB --dense                        nearly all is used by every token
  spillway-inflate brook.gguf big.gguf --size 40GiB --dry-run --json
The large model says what the small one says: both give the same text under greedy decoding. What is added does not reach
the output, and reading any of it, or of the rest, from a wrong place breaks the text. Formats that would have to round
the small model's numbers are refused. The same options and seed give the same bytes. The file appears under its name
only when it is complete (BIG.partial until then).)";

std::atomic<bool> is_interrupted{false};

struct CommandLine {
  std::string small, big, size, type;
  std::optional<int64_t> experts, experts_used, layers, embd;
  uint64_t seed = 1;
  bool is_dense = false, is_json = false, is_dry_run = false;
};

void declare_options(CLI::App& app, CommandLine& line) {
  std::vector<std::string> types;
  for (const ggml_type type : exact_types()) types.emplace_back(ggml_type_name(type));
  app.add_option("SMALL", line.small, fmt::format("Model to make larger: {}", fmt::join(supported_archs(), ", ")))
      ->required();
  app.add_option("BIG", line.big, "File to write")->required();
  app.add_option("--size", line.size, "Size of the file, at most: 6GiB, 500M")->required();
  app.add_option("--experts", line.experts, "Experts of each layer: a multiple of the small model's");
  app.add_option("--experts-used", line.experts_used,
                 "Experts that each token uses: the small model's times a power of two");
  app.add_option("--layers", line.layers, "Number of layers [as suits the size]");
  app.add_option("--embd", line.embd,
                 "Width of the residual stream: the small model's times 1, 4, 16 or 64 [as suits the size]");
  app.add_flag("--dense", line.is_dense, "Grow in weights that every token uses, not in experts");
  app.add_option(
      "--type", line.type,
      fmt::format("Number format of the feed-forward matrices: {} [the small model's]", fmt::join(types, ", ")));
  app.add_option("--seed", line.seed, "Same options and seed, same bytes")->capture_default_str();
  app.add_flag("--dry-run", line.is_dry_run, "Say what would be written, and stop");
  app.add_flag("--json", line.is_json, "Summary as JSON");
}

Expected<Request> request_of(const CommandLine& line) {
  Request request;
  const auto bytes = parse_bytes(line.size);
  if (!bytes) return failure(fmt::format("--size {}: {}", line.size, bytes.error().message()));
  request.bytes = *bytes;
  request.experts = line.experts;
  request.experts_used = line.experts_used;
  request.layers = line.layers;
  request.embd = line.embd;
  request.is_dense = line.is_dense;
  request.seed = line.seed;
  if (!line.type.empty()) {
    request.type = parse_exact_type(line.type);
    if (!request.type) return failure(fmt::format("--type {}: none of the formats that --help lists", line.type));
  }
  return request;
}

void print_summary(const CommandLine& line, const SmallModel& small, const Growth& growth, const Written& written) {
  if (line.is_json) {
    nlohmann::ordered_json json = {{"file", line.big},
                                   {"arch", growth.arch},
                                   {"type", ggml_type_name(growth.type)},
                                   {"bytes", written.bytes},
                                   {"expert_bytes", written.expert_bytes},
                                   {"tensors", written.tensors},
                                   {"parameters", written.parameters},
                                   {"layers", growth.layers},
                                   {"layers_that_add_nothing", growth.layers - small.layers},
                                   {"embd", growth.embd},
                                   {"ff", growth.ff},
                                   {"shared_ff", growth.shared_ff},
                                   {"experts", growth.experts},
                                   {"experts_used", growth.experts_used},
                                   {"copies", growth.copies},
                                   {"parts", growth.parts},
                                   {"seed", line.seed}};
    if (!line.is_dry_run) {
      json["write_s"] = written.write_s;
      json["write_bytes_per_s"] = static_cast<double>(written.bytes) / std::max(written.write_s, 1e-9);
    }
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print("{} {}: {:.3f} GB, {} layers ({} of them add nothing) of width {}, feed-forward {}{}\n", growth.arch,
             ggml_type_name(growth.type), static_cast<double>(written.bytes) / 1e9, growth.layers,
             growth.layers - small.layers, growth.embd, growth.ff,
             growth.shared_ff > 0 ? fmt::format(" and {} for every token", growth.shared_ff) : "");
  if (growth.experts > 0)
    fmt::print("{} experts, {} used: {} cop{} of each of the small model's {}, in {} part{}; {:.1f} % of the bytes\n",
               growth.experts, growth.experts_used, growth.copies, growth.copies == 1 ? "y" : "ies", small.experts,
               growth.parts, growth.parts == 1 ? "" : "s",
               100 * static_cast<double>(written.expert_bytes) / static_cast<double>(written.bytes));
  if (!line.is_dry_run)
    fmt::print("{} written in {:.1f} s: {:.2f} GB/s\n", line.big, written.write_s,
               static_cast<double>(written.bytes) / 1e9 / std::max(written.write_s, 1e-9));
}

int fail(const std::string& message) {
  fmt::print(stderr, "spillway-inflate: {}\n", message);
  return is_interrupted ? kExitInterrupted : kExitFailed;
}

int run(const CommandLine& line) {
  const auto request = request_of(line);
  if (!request) return fail(request.error());
  std::error_code ec;
  if (std::filesystem::equivalent(line.small, line.big, ec))
    return fail(fmt::format("{}: is the model to make larger; name another file to write", line.big));
  const auto small = SmallModel::read(line.small);
  if (!small) return fail(small.error());
  const auto growth = plan_growth(*small, *request);
  if (!growth) return fail(growth.error());
  if (line.is_dry_run) {
    print_summary(line, *small, *growth, describe(*small, *growth));
    return 0;
  }
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on files (ulimit -f) is an error of writing, and what was begun is removed
  std::signal(SIGINT, [](int) { is_interrupted = true; });
  std::signal(SIGTERM, [](int) { is_interrupted = true; });
  const auto written = [&] {
    make_model::ProgressBar bar;
    return write_inflated(*small, *growth, line.seed,
                          {.path = line.big,
                           .on_progress = [&](uint64_t done, uint64_t total) { bar.update(done, total); },
                           .is_cancelled = [] { return is_interrupted.load(); }});
  }();
  if (!written) return fail(written.error());
  print_summary(line, *small, *growth, *written);
  return 0;
}

}  // namespace
}  // namespace spillway::inflate

int main(int argc, char** argv) try {
  spillway::inflate::CommandLine line;
  CLI::App app{"Makes a small GGUF model larger without changing what it computes."};
  app.footer(spillway::inflate::kExamples);
  spillway::inflate::declare_options(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(e);
    std::fprintf(stderr, "spillway-inflate: %s (see spillway-inflate --help)\n", e.what());
    return spillway::inflate::kExitUsage;
  }
  return spillway::inflate::run(line);
} catch (const std::exception& exception) {  // out of memory, in practice
  std::fprintf(stderr, "spillway-inflate: %s\n", exception.what());
  return 1;
}
