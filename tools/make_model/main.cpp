// SPDX-License-Identifier: MIT
// spillway-make-model: the command line of the generator.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>

#include "make_model/generator.h"
#include "make_model/presets.h"
#include "make_model/progress_bar.h"
#include "make_model/type_mix.h"

namespace spillway::make_model {
namespace {

constexpr const char* kExamples = R"(Examples:
  spillway-make-model --preset tiny-moe --out /tmp/models/tiny-moe.gguf
  spillway-make-model --preset bench-moe --layers 48 --seed 7 --out moe-10g.gguf
  spillway-make-model --preset qwen3-30b-a3b --type Q4_K_M --shards 4 --out q3.gguf     (q3-00001-of-00004.gguf, ...)
  spillway-make-model --arch llama --layers 8 --embd 1024 --ff 4096 --heads 16 --kv-heads 4 --vocab 8000 \
                      --experts 16 --experts-used 4 --expert-ff 512 --type Q6_K --routing zipf --out my.gguf
  spillway-make-model --preset llama-70b --dry-run --json
  spillway-make-model --preset moe-1t --sparse --out /tmp/moe-1t.gguf      (for spillway plan; a few MB on the disk)
The weights are random: the models load, decode with finite logits, and say nothing. The same options and seed give the
same bytes. Files appear under their names only when complete (NAME.partial until then).)";

// The options as given: what is absent leaves the preset's value.
struct CommandLine {
  std::string preset, out;
  std::optional<std::string> arch, type, type_down, routing, pooling, name;
  std::optional<int64_t> layers, embd, ff, heads, kv_heads, head_dim, vocab, experts, experts_used, expert_ff,
      shared_ff, draft_layers, context_length, window;
  uint64_t seed = 1;
  int shards = 1;
  bool no_tokenizer = false, json = false, list = false, dry_run = false, sparse = false;
};

void declare_options(CLI::App& app, CommandLine& line) {
  app.add_option("--out", line.out, "File to write; with --shards N, NAME.gguf becomes NAME-00001-of-0000N.gguf");
  app.add_option("--preset", line.preset, "Start from a named shape (--list); the options below change it");
  app.add_flag("--list", line.list, "List the presets and stop");
  app.add_option("--arch", line.arch, fmt::format("Architecture: {}", fmt::join(arch_names(), ", ")));
  app.add_option("--layers", line.layers, "Number of layers");
  app.add_option("--embd", line.embd, "Width of the residual stream; multiples of 256 suit K-quants");
  app.add_option("--ff", line.ff, "Width of the FFN, or of each expert without --expert-ff");
  app.add_option("--heads", line.heads, "Attention heads");
  app.add_option("--kv-heads", line.kv_heads, "Key and value heads");
  app.add_option("--head-dim", line.head_dim, "Width of a head [embd / heads]");
  app.add_option("--vocab", line.vocab, "Tokens in the vocabulary");
  app.add_option("--experts", line.experts, "Experts of each layer; 0 for a dense model");
  app.add_option("--experts-used", line.experts_used, "Experts that each token uses");
  app.add_option("--expert-ff", line.expert_ff, "Width of an expert");
  app.add_option("--shared-ff", line.shared_ff, "Width of the shared expert (qwen2moe)");
  app.add_option("--type", line.type, fmt::format("Number format or mix: {}", fmt::join(type_names(), ", ")));
  app.add_option("--type-down", line.type_down, "Number format of the FFN's down matrices");
  app.add_option("--routing", line.routing,
                 "Which experts tokens choose: uniform, or zipf (some often, as in real models)");
  app.add_option("--draft-layers", line.draft_layers, "Layers that predict further tokens, unused (glm4moe)");
  app.add_option("--context-length", line.context_length, "Context length to declare");
  app.add_option("--window", line.window, "Tokens that sliding layers look back over (gemma3, gemma4, gpt-oss)");
  app.add_option("--pooling", line.pooling,
                 "What is made of a text: mean, cls, last, or rank; none where it is left out");
  app.add_option("--name", line.name, "general.name");
  app.add_option("--seed", line.seed, "Same options and seed, same bytes")->capture_default_str();
  app.add_option("--shards", line.shards, "Split into this many files, as llama-gguf-split does")
      ->capture_default_str();
  app.add_flag("--no-tokenizer", line.no_tokenizer, "Leave the vocabulary out (token ids only)");
  app.add_flag("--sparse", line.sparse, "Metadata only: the weights are a hole that reads as zeros and takes no room");
  app.add_flag("--dry-run", line.dry_run, "Say what would be written, and stop");
  app.add_flag("--json", line.json, "Summary as JSON");
}

Expected<Routing> parse_routing(const std::string& name) {
  if (name == "uniform") return Routing::kUniform;
  if (name == "zipf") return Routing::kZipf;
  return failure(fmt::format("--routing {}: uniform or zipf", name));
}

Expected<ModelSpec> spec_of(const CommandLine& line) {
  ModelSpec spec;
  if (!line.preset.empty()) {
    auto found = find_preset(line.preset);
    if (!found) return found;
    spec = *found;
  }
  if (line.arch) {
    auto arch = parse_arch(*line.arch);
    if (!arch) return failure(arch.error());
    spec.arch = *arch;
  }
  if (line.routing) {
    auto routing = parse_routing(*line.routing);
    if (!routing) return failure(routing.error());
    spec.routing = *routing;
  }
  const auto set = [](auto& field, const auto& given) {
    if (given) field = *given;
  };
  set(spec.name, line.name);
  set(spec.layers, line.layers);
  set(spec.embd, line.embd);
  set(spec.ff, line.ff);
  set(spec.heads, line.heads);
  set(spec.kv_heads, line.kv_heads);
  set(spec.head_dim, line.head_dim);
  set(spec.vocab, line.vocab);
  set(spec.experts, line.experts);
  set(spec.experts_used, line.experts_used);
  set(spec.expert_ff, line.expert_ff);
  set(spec.shared_ff, line.shared_ff);
  set(spec.draft_layers, line.draft_layers);
  set(spec.context_length, line.context_length);
  set(spec.window, line.window);
  set(spec.pooling, line.pooling);
  set(spec.type, line.type);
  set(spec.type_down, line.type_down);
  spec.tokenizer = !line.no_tokenizer;
  spec.seed = line.seed;
  return spec;
}

// "4.97 GB", "7.9 MB": powers of ten, like the speeds.
std::string size_text(uint64_t bytes) {
  const double size = static_cast<double>(bytes);
  return size < 1e9 ? fmt::format("{:.1f} MB", size / 1e6) : fmt::format("{:.2f} GB", size / 1e9);
}

void print_presets() {
  for (const Preset& preset : presets()) {
    const auto summary = describe_model(preset.spec, {});
    fmt::print("{:<16} {:>9}  {}\n", preset.name, size_text(summary->bytes), preset.purpose);
  }
}

std::string json_text(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

void print_summary(const ModelSpec& spec, const Summary& summary, const CommandLine& line) {
  const double write_bytes_per_s = summary.write_s > 0 ? static_cast<double>(summary.bytes) / summary.write_s : 0;
  if (!line.json) {
    fmt::print("{} {}: {} in {} file(s), {} tensors, {:.2f} billion parameters, experts {:.1f} % of the bytes\n",
               arch_name(spec.arch), spec.type, size_text(summary.bytes), summary.files.size(), summary.tensors,
               static_cast<double>(summary.parameters) / 1e9,
               100.0 * static_cast<double>(summary.expert_bytes) / static_cast<double>(summary.tensor_bytes));
    for (const std::string& file : summary.files) fmt::print("  {}\n", file);
    if (line.dry_run) return;
    fmt::print("prepared in {:.1f} s, written in {:.1f} s: {:.2f} GB/s\n", summary.prepare_s, summary.write_s,
               write_bytes_per_s / 1e9);
    return;
  }
  std::vector<std::string> files;
  for (const std::string& file : summary.files) files.push_back(json_text(file));
  fmt::print(
      R"({{"arch":{},"type":{},"seed":{},"files":[{}],"bytes":{},"tensor_bytes":{},"expert_bytes":{},"tensors":{},)"
      R"("parameters":{},"prepare_s":{:.3f},"write_s":{:.3f},"write_bytes_per_s":{:.0f}}})"
      "\n",
      json_text(arch_name(spec.arch)), json_text(spec.type), spec.seed, fmt::join(files, ","), summary.bytes,
      summary.tensor_bytes, summary.expert_bytes, summary.tensors, summary.parameters, summary.prepare_s,
      summary.write_s, write_bytes_per_s);
}

int fail(const std::string& message) {
  fmt::print(stderr, "spillway-make-model: {}\n", message);
  return 1;
}

int run(const CommandLine& line) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on files (ulimit -f) is an error of writing, and what was begun is removed
  if (line.list) {
    print_presets();
    return 0;
  }
  const auto spec = spec_of(line);
  if (!spec) return fail(spec.error());
  if (line.out.empty() && !line.dry_run) return fail("--out is missing (--help)");

  OutputOptions options{line.out.empty() ? "model.gguf" : line.out, line.shards, {}};
  options.sparse = line.sparse;
  if (line.dry_run) {
    const auto summary = describe_model(*spec, options);
    if (!summary) return fail(summary.error());
    print_summary(*spec, *summary, line);
    return 0;
  }
  const auto summary = [&] {
    ProgressBar bar;
    options.on_progress = [&bar](uint64_t done, uint64_t total) { bar.update(done, total); };
    return make_model(*spec, options);
  }();
  if (!summary) return fail(summary.error());
  print_summary(*spec, *summary, line);
  return 0;
}

}  // namespace
}  // namespace spillway::make_model

int main(int argc, char** argv) try {
  spillway::make_model::CommandLine line;
  CLI::App app{"Writes GGUF models of any size with generated weights."};
  app.footer(spillway::make_model::kExamples);
  spillway::make_model::declare_options(app, line);
  CLI11_PARSE(app, argc, argv);
  return spillway::make_model::run(line);
} catch (const std::exception& exception) {  // out of memory, in practice
  std::fprintf(stderr, "spillway-make-model: %s\n", exception.what());
  return 1;
}
