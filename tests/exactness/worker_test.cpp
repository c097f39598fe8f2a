// SPDX-License-Identifier: MIT
// A model whose layers are partly on a worker, and a worker that goes: before, while and after the model is loaded, and
// in the middle of a pass. Every case ends with one error that names it; the process lives on and loads again.
#include <gmock/gmock.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "backend/worker.h"
#include "engine/auto_plan.h"
#include "engine/engine.h"
#include "engine/lying_worker.h"
#include "engine/rpc_server.h"
#include "engine/verify.h"
#include "os/machine.h"
#include "os/tcp_stream.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kModel = SPILLWAY_TEST_MODELS "/gate-moe.gguf";
constexpr uint32_t kLayers = 6;
constexpr uint8_t kAllocate = 0, kAlignmentOf = 1, kBaseOf = 3, kAllocationSize = 13;

std::vector<std::byte> bytes_of(uint64_t number) {
  std::vector<std::byte> bytes(sizeof number);
  std::memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

class WorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string(SPILLWAY_RPC_SERVER).empty()) GTEST_SKIP() << "llama.cpp's RPC server is not installed";
    worker_ = RpcServer::start(SPILLWAY_RPC_SERVER);
    ASSERT_NE(worker_, nullptr);
  }

  LoadOptions options(Mode mode = Mode::kStream) const {
    LoadOptions load;
    load.path = kModel;
    load.mode = mode;
    load.n_ctx = 64;
    load.measure_compute = false;
    load.keep_heat = false;
    load.extent_bytes_min = 4096;
    load.devices.workers = {worker_->address()};
    load.devices.n_gpu_layers = 3;
    return load;
  }
  LoadOptions options_with(const LyingWorker& liar) const {
    LoadOptions load = options(Mode::kResident);
    load.devices.workers = {liar.address()};
    return load;
  }
  // Nothing, where loading and computing succeed.
  static std::optional<Status> failure_of(const LoadOptions& load) {
    const auto engine = Engine::load(load);
    if (!engine) return engine.error();
    const auto logits = decode_one(**engine, 0);
    return logits ? std::nullopt : std::optional(logits.error());
  }
  // A slow host and disk, and fast workers near by.
  static MachineProfile machine_with(const std::vector<const RpcServer*>& workers, uint64_t worker_bytes) {
    MachineProfile machine;
    machine.cpu = "of the test";
    machine.ram_bytes_total = memory_state().total_bytes;
    machine.ram_bytes_per_s = 5e9;
    machine.matmul = {{"q4_K", 5e9, 1e11}, {"f16", 5e9, 1e11}};
    machine.disks.emplace_back();
    machine.disks.front().sequential_bytes_per_s = machine.disks.front().scattered_bytes_per_s = 1e8;
    for (const RpcServer* worker : workers) {
      WorkerFacts& facts = machine.workers.emplace_back();
      facts.address = worker->address();
      facts.link_bytes_per_s = 5e9;
      facts.link_latency_s = 1e-5;
      facts.device.memory_bytes_total = facts.device.memory_bytes_free = worker_bytes;
      facts.device.matmul = {{"q4_K", 50e9, 1e12}, {"f16", 50e9, 1e12}};
    }
    return machine;
  }
  static Result<std::vector<float>> decode_one(Engine& engine, int32_t pos) {
    const BatchToken token{.id = 5, .pos = pos, .seq = 0, .want_logits = true};
    RETURN_IF_ERROR(engine.decode(std::span(&token, 1)));
    const auto logits = engine.logits(-1);
    return std::vector<float>(logits.begin(), logits.end());
  }
  void expect_lost(const Status& status, const std::string& why) const {
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("worker " + worker_->address()), HasSubstr(why), Not(HasSubstr("\n"))));
  }

  std::unique_ptr<RpcServer> worker_;
};

// A prompt that was kept is of use where the same layers are computed on the same devices.
TEST_F(WorkerTest, WhatSavesASequenceNamesWhatEachDeviceHas) {
  const auto second = RpcServer::start(SPILLWAY_RPC_SERVER);
  ASSERT_NE(second, nullptr);
  LoadOptions load = options(Mode::kResident);
  load.devices.workers.push_back(second->address());
  const auto key = [&](std::vector<float> shares) {
    load.devices.layer_share = std::move(shares);
    const auto engine = Engine::load(load);
    EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
    return engine ? (*engine)->model().state_key : "";
  };
  const std::string by_memory = key({});
  EXPECT_THAT(by_memory, testing::ContainsRegex(" 3 layers of [0-9.e+]+,[0-9.e+]+ without"));
  EXPECT_THAT(key({1, 2}), HasSubstr(" 3 layers of 1,2 without"));
  EXPECT_NE(key({1, 2}), key({2, 1}));
}

TEST_F(WorkerTest, AWorkerThatIsGoneBeforeLoadingIsNamed) {
  worker_->end();
  const auto engine = Engine::load(options());
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code(), Code::kIo);
  EXPECT_THAT(engine.error().message(), HasSubstr(worker_->address()));
}

TEST_F(WorkerTest, AWorkerThatGoesWhileLoadingEndsTheLoad) {
  LoadOptions load = options();
  load.progress = [this](double) {
    worker_->end();
    return true;
  };
  const auto engine = Engine::load(load);
  ASSERT_FALSE(engine);
  expect_lost(engine.error(), "closed the connection");
}

TEST_F(WorkerTest, AWorkerThatGoesBetweenPassesFailsTheNextAndAllThatFollow) {
  for (const Mode mode : {Mode::kResident, Mode::kStream}) {
    SCOPED_TRACE(mode_name(mode));
    const uint16_t port = worker_->port();
    auto engine = Engine::load(options(mode));
    ASSERT_TRUE(engine) << engine.error().message();
    const auto before = decode_one(**engine, 0);
    ASSERT_TRUE(before);
    EXPECT_TRUE((*engine)->check_usable());
    worker_->end();
    for (int i = 0; i < 2; ++i) {
      const auto after = decode_one(**engine, 1);
      ASSERT_FALSE(after);
      expect_lost(after.error(), "closed the connection");
    }
    EXPECT_FALSE((*engine)->check_usable());
    // What is saved now would be zeros.
    EXPECT_EQ((*engine)->save_state(0, StatePart::kWhole), "");

    // It is there again: a new load computes the same as the old one.
    worker_ = RpcServer::start(SPILLWAY_RPC_SERVER, port);
    ASSERT_NE(worker_, nullptr);
    engine->reset();
    engine = Engine::load(options(mode));
    ASSERT_TRUE(engine) << engine.error().message();
    const auto again = decode_one(**engine, 0);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*before, *again);
  }
}

TEST_F(WorkerTest, AWorkerThatGoesInTheMiddleOfAPassFailsIt) {
  const auto engine = Engine::load(options());
  ASSERT_TRUE(engine) << engine.error().message();
  worker_->signal(SIGSTOP);  // the pass below cannot end while it stands still
  std::thread end_it([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    worker_->signal(SIGKILL);
  });
  const auto cut = decode_one(**engine, 0);
  end_it.join();
  ASSERT_FALSE(cut);
  expect_lost(cut.error(), "closed the connection");
}

TEST_F(WorkerTest, AWorkerThatStandsStillIsGivenUpAtTheLimit) {
  LoadOptions load = options();
  load.devices.worker_answer_s = 0.3;
  const auto engine = Engine::load(load);
  ASSERT_TRUE(engine) << engine.error().message();
  worker_->signal(SIGSTOP);
  const auto cut = decode_one(**engine, 0);
  ASSERT_FALSE(cut);
  expect_lost(cut.error(), "was silent for 0.3 s");
}

TEST_F(WorkerTest, AWorkerThatStandsStillIsNotWaitedForWhenLoading) {
  worker_->signal(SIGSTOP);
  const auto engine = Engine::load(options());
  ASSERT_FALSE(engine);
  expect_lost(engine.error(), "was silent for 5 s when greeted");
}

TEST_F(WorkerTest, AWorkerThatServesAnotherProgramIsBusy) {
  const auto other = TcpStream::connect({.host = "127.0.0.1", .port = worker_->port()}, 5);
  ASSERT_TRUE(other);
  const auto engine = Engine::load(options());
  ASSERT_FALSE(engine);
  expect_lost(engine.error(), "does it serve somebody else");
}

TEST_F(WorkerTest, ABufferWhereNoneCanBeIsTheWorkersLieWheneverItIsTold) {
  for (int nth = 1;; ++nth) {
    SCOPED_TRACE(nth);
    const LyingWorker liar(worker_->port(), {kBaseOf, nth, bytes_of(UINT64_MAX - 4095)});
    const auto failure = failure_of(options_with(liar));
    if (!liar.has_lied()) break;
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->code(), Code::kUnavailable);
    EXPECT_THAT(failure->message(), HasSubstr("worker " + liar.address() + " answered what no worker would"));
  }
}

// ggml keeps alignments, and sizes of tensors, for as long as it knows an address.
TEST_F(WorkerTest, WhatAWorkerLiedAboutOnceIsAskedAnew) {
  for (const auto& [command, figure] :
       {std::pair{kAlignmentOf, uint64_t{1} << 20}, std::pair{kAllocationSize, uint64_t{1} << 48}}) {
    SCOPED_TRACE(int{command});
    const LyingWorker liar(worker_->port(), {command, 1, bytes_of(figure)});
    const auto failure = failure_of(options_with(liar));
    if (!liar.has_lied()) continue;  // it was not asked
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->code(), Code::kUnavailable) << failure->message();
    EXPECT_THAT(failure->message(), HasSubstr(liar.address()));
    const auto again = failure_of(options_with(liar));
    EXPECT_FALSE(again) << again->message();
  }
}

TEST_F(WorkerTest, ADoubtedWorkerHasAnotherEndpointOnceNobodyUsesTheFirst) {
  const auto connect = [&] { return connect_worker(worker_->address())->link; };
  auto link = connect();
  const std::string endpoint = link->endpoint();
  link->doubt();
  EXPECT_EQ(connect()->endpoint(), endpoint) << "somebody computes over it";
  link.reset();
  EXPECT_NE(connect()->endpoint(), endpoint);
}

TEST_F(WorkerTest, AWorkerWithoutMemoryIsNamedWithWhatItRefused) {
  int n_failures = 0;
  for (int nth = 1;; ++nth) {
    SCOPED_TRACE(nth);
    const LyingWorker liar(worker_->port(), {kAllocate, nth, std::vector<std::byte>(16)});
    const auto failure = failure_of(options_with(liar));
    if (!liar.has_lied()) break;
    if (!failure) continue;  // libllama could do without
    ++n_failures;
    EXPECT_EQ(failure->code(), Code::kUnavailable);
    EXPECT_THAT(failure->message(), HasSubstr("worker " + liar.address() + " has no memory for"));
    const auto again = failure_of(options_with(liar));
    EXPECT_FALSE(again) << again->message();
  }
  EXPECT_GT(n_failures, 0);
}

// Two machines that hold a third of the model each, and a host that has memory for less: the plan divides it over
// all three by itself, and what it divides is exact.
TEST_F(WorkerTest, APlanDividesByItselfAndComputesTheSame) {
  const auto second = RpcServer::start(SPILLWAY_RPC_SERVER);
  ASSERT_NE(second, nullptr);
  const auto model = open_gguf_model(kModel);
  ASSERT_TRUE(model);
  LoadOptions load;
  load.path = kModel;
  load.choose_devices = true;
  load.keep_heat = false;
  load.n_ubatch = 128;  // the same buffers in both plans
  load.n_ctx = 256;
  const auto plan_with = [&](uint64_t worker_bytes) -> Result<Plan> {
    ASSIGN_OR_RETURN(ContextChoice choice,
                     plan_load(*model, load, machine_with({worker_.get(), second.get()}, worker_bytes),
                               {.budget_bytes = 200 * MiB}));
    return std::move(choice.plan);
  };
  const auto ample = plan_with(4 * GiB);
  ASSERT_TRUE(ample) << ample.error().message();
  const DeviceUse& all = ample->devices[ample->devices.front().n_layers == kLayers ? 0 : 1];
  ASSERT_EQ(all.n_layers, kLayers);
  const auto planned = plan_with(kDeviceHeadroomBytes + all.compute_bytes + (all.weight_bytes + all.kv_bytes) / 3);
  ASSERT_TRUE(planned) << planned.error().message();
  const DeviceOptions devices = devices_of(*planned, *model);
  EXPECT_EQ(devices.workers.size(), 2u) << planned->name;
  EXPECT_GE(devices.n_gpu_layers, 2u);
  EXPECT_TRUE(devices.n_gpu_layers <= kLayers || !devices.host_expert_layers.empty()) << "nothing is on the host";

  VerifyOptions options;
  options.path = kModel;
  options.devices = devices;
  options.weights_bytes = model->weight_bytes() / 2;
  options.extent_bytes_min = 4096;
  const auto report = verify(options);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->exact) << report->first_difference;
  EXPECT_GT(report->outputs_compared, 0u);
}

}  // namespace
}  // namespace spillway
