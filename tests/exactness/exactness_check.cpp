// SPDX-License-Identifier: MIT
// Streams every given model at a share of its weights and compares with plain libllama, bit for bit.
//
//   exactness_check --percent 25 [--repacked] [--cache-type-k TYPE] [--cache-type-v TYPE] [--flash-off] [--lora RANK]
//       [--gpu-percent 50 [--experts-on-host] [--workers 2]] FILE_OR_FOLDER...
//
// With --lora each model has an adapter of random numbers of that rank for every matrix; what it computes has to differ
// from what the model computes alone.
// With --corrupt one bit of one streamed extent is wrong, and the model has to differ.
// With --workers the layers go to that many ggml-rpc-servers on this machine instead of a GPU.
// One line per model; exit code 1 when one differs, fails or compares nothing. A budget below what the model needs for
// one token is raised to that, and the line says so.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "engine/adapter_writer.h"
#include "engine/device_options.h"
#include "engine/rpc_server.h"
#include "engine/test_switches.h"
#include "engine/verify.h"
#include "model/gguf_model.h"
#include "os/restart.h"

namespace spillway {
namespace {

struct Options {
  double percent = 25;
  bool corrupt = false;
  Kernels kernels = Kernels::kPlain;
  CacheFormat cache;
  uint32_t lora_rank = 0;
  double gpu_percent = 0;  // of the layers, on the first device that ggml finds
  bool experts_on_host = false;
  int n_workers = 0;                          // instead of a device
  std::vector<std::string> worker_addresses;  // of those that run
  std::vector<std::string> paths;
};

// Models of a few MB: everything of two pages or more streams.
constexpr uint64_t kExtentBytesMin = kPageBytes;

std::vector<std::string> models_in(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::string> models;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    const bool later_part = name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    if (entry.path().extension() == ".gguf" && !later_part) models.push_back(entry.path().string());
  }
  std::sort(models.begin(), models.end());
  return models;
}

// Two adapters of one model, of several ranks and scales. Their files are gone when the run is over.
class AdaptersOfARun {
 public:
  AdaptersOfARun() = default;
  AdaptersOfARun(const AdaptersOfARun&) = delete;
  AdaptersOfARun& operator=(const AdaptersOfARun&) = delete;
  ~AdaptersOfARun() {
    std::error_code ec;
    for (const LoraAdapter& one : all_) std::filesystem::remove(one.path, ec);
  }
  Result<void> write(const GgufModel& model, uint32_t rank) {
    for (uint32_t i = 0; i < all_.size(); ++i)
      if (!write_adapter(model, all_[i].path, {.rank = rank * (i + 1), .seed = i + 1}))
        return error(Code::kIo, all_[i].path + ": cannot be written");
    return {};
  }
  const std::vector<LoraAdapter>& all() const { return all_; }

 private:
  static std::string path_of(int i) {
    return (std::filesystem::temp_directory_path() / fmt::format("spillway-lora-{}-{}.gguf", ::getpid(), i)).string();
  }
  const std::vector<LoraAdapter> all_ = {{.path = path_of(0), .scale = 0.5f}, {.path = path_of(1), .scale = -0.25f}};
};

Result<VerifyReport> verify_at(const std::string& path, const Options& arguments, double& percent_used) {
  uint64_t weight_bytes = 0, n_layer = 0;
  AdaptersOfARun adapters;
  {
    ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(path));
    if (arguments.lora_rank > 0) RETURN_IF_ERROR(adapters.write(model, arguments.lora_rank));
    weight_bytes = model.weight_bytes();
    n_layer = model.n_layer;
  }
  VerifyOptions options;
  options.path = path;
  options.extent_bytes_min = kExtentBytesMin;
  const EngineLoader load = [&](const LoadOptions& streamed) {
    return load_for_test(streamed, {.corrupt_extent = arguments.corrupt});
  };
  options.kernels = arguments.kernels;
  options.cache = arguments.cache;
  if (arguments.lora_rank > 0) options.adapters = adapters.all();
  if (arguments.gpu_percent > 0) {
    options.devices.workers = arguments.worker_addresses;
    if (arguments.n_workers == 0) options.devices.names = device_names();
    if (!options.devices.names.empty()) options.devices.names.resize(1);
    options.devices.n_gpu_layers =
        static_cast<uint32_t>(std::ceil(static_cast<double>(n_layer + 1) * arguments.gpu_percent / 100));
    for (uint32_t layer = 0; arguments.experts_on_host && layer < n_layer; ++layer)
      options.devices.host_expert_layers.push_back(layer);
  }
  for (percent_used = arguments.percent;; percent_used *= 1.2) {
    options.weights_bytes = static_cast<uint64_t>(static_cast<double>(weight_bytes) * percent_used / 100);
    auto report = verify(options, load);
    if (report && arguments.lora_rank > 0) {
      options.adapters.clear();
      ASSIGN_OR_RETURN(const VerifyReport without, verify(options, load));
      if (without.logits_hash == report->logits_hash) return error(Code::kInternal, "the adapters change nothing");
    }
    if (report || report.error().code() != Code::kOutOfBudget || percent_used > 100) return report;
  }
}

int run(const Options& options) {
  int n_wrong = 0, n_models = 0, n_streamed = 0;
  for (const std::string& path : options.paths) {
    ++n_models;
    const Stopwatch watch;
    const std::string name = std::filesystem::path(path).filename().string();
    double percent_used = 0;
    const auto report = verify_at(path, options, percent_used);
    if (!report) {
      ++n_wrong;
      fmt::print("FAILED  {}: {}\n", name, report.error().message());
      continue;
    }
    n_wrong += report->exact ? 0 : 1;
    n_streamed += report->bytes_streamed > 0 ? 1 : 0;
    fmt::print("{}  {}: {} outputs, {} streamed at {:.0f} % of the weights, {} ungated, {:.1f} s {}\n",
               report->exact ? "exact " : "DIFFERS", name, report->outputs_compared,
               format_bytes(report->bytes_streamed), percent_used, report->ungated, watch.elapsed_s(),
               report->first_difference);
    std::fflush(stdout);
  }
  fmt::print("{} models, {} of them streamed, {} wrong\n", n_models, n_streamed, n_wrong);
  // A run in which nothing was read ahead would prove nothing.
  if (n_wrong > 0 || n_models == 0) return 1;
  if (options.gpu_percent >= 100 && !options.experts_on_host) return 0;  // nothing is left to stream
  const int n_expected = options.gpu_percent > 0 ? 1 : n_models * 9 / 10;
  return n_streamed < n_expected ? 1 : 0;
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv) {
  spillway::restart_with_short_spinning(argv);
  spillway::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--percent" && i + 1 < argc) {
      options.percent = std::atof(argv[++i]);
    } else if (argument == "--gpu-percent" && i + 1 < argc) {
      options.gpu_percent = std::atof(argv[++i]);
    } else if (argument == "--workers" && i + 1 < argc) {
      options.n_workers = std::atoi(argv[++i]);
    } else if (argument == "--cache-type-k" && i + 1 < argc) {
      options.cache.type_k = argv[++i];
    } else if (argument == "--cache-type-v" && i + 1 < argc) {
      options.cache.type_v = argv[++i];
    } else if (argument == "--lora" && i + 1 < argc) {
      options.lora_rank = static_cast<uint32_t>(std::atoi(argv[++i]));
    } else if (argument == "--flash-off") {
      options.cache.flash = spillway::FlashAttention::kOff;
    } else if (argument == "--experts-on-host") {
      options.experts_on_host = true;
    } else if (argument == "--corrupt") {
      options.corrupt = true;
    } else if (argument == "--repacked") {
      options.kernels = spillway::Kernels::kRepacked;
    } else {
      for (std::string& model : spillway::models_in(argv[i])) options.paths.push_back(std::move(model));
    }
  }
  constexpr int kSkipped = 77;
  if (options.gpu_percent > 0 && options.n_workers == 0 && spillway::device_names().empty()) return kSkipped;
  if (options.n_workers > 0 && std::string_view(SPILLWAY_RPC_SERVER).empty()) return kSkipped;
  std::vector<std::unique_ptr<spillway::RpcServer>> workers;
  for (int i = 0; i < options.n_workers; ++i) {
    workers.push_back(spillway::RpcServer::start(SPILLWAY_RPC_SERVER));
    if (workers.back() == nullptr) return 1;
    options.worker_addresses.push_back(workers.back()->address());
  }
  return spillway::run(options);
}
