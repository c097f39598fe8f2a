// SPDX-License-Identifier: MIT
// What a GPU's memory allows, from nothing to everything: the plan keeps to it, and what it puts there is exact. The
// GPU is Mesa's, in software, with memory of its own; the plan is told that it is fast, or it would not be used.
#include <gmock/gmock.h>

#include <algorithm>

#include "engine/auto_plan.h"
#include "engine/engine.h"
#include "engine/verify.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr const char* kModel = SPILLWAY_TEST_MODELS "/quantized/moe-Q8_0.gguf";

class DeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<std::string> names = device_names();
    if (names.empty()) GTEST_SKIP() << "ggml finds no device; install mesa-vulkan-drivers";
    device_ = names.front();
    auto model = open_gguf_model(kModel);
    ASSERT_TRUE(model);
    model_ = std::make_unique<GgufModel>(std::move(*model));
  }

  MachineProfile machine() const {
    MachineProfile machine;
    machine.cpu = "of the test";
    machine.ram_bytes_total = memory_state().total_bytes;
    machine.ram_bytes_per_s = 5e9;
    machine.matmul = {{"q8_0", 5e9, 1e11}, {"f16", 5e9, 1e11}};
    machine.disks.emplace_back();
    machine.disks.front().sequential_bytes_per_s = machine.disks.front().scattered_bytes_per_s = 1e8;
    DeviceFacts& device = machine.devices.emplace_back();
    device.name = device_;
    device.memory_bytes_total = device.memory_bytes_free = 4 * GiB;
    device.upload_bytes_per_s = 1e10;
    device.matmul = {{"q8_0", 200e9, 1e13}, {"f16", 200e9, 1e13}};
    return machine;
  }
  Result<Plan> plan_with(uint64_t gpu_memory_bytes) const {
    LoadOptions load;
    load.path = kModel;
    load.n_ctx = 256;
    load.n_ubatch = 128;
    load.keep_heat = false;
    load.gpu_memory_bytes = gpu_memory_bytes;
    ASSIGN_OR_RETURN(ContextChoice choice, plan_load(*model_, load, machine(), {.budget_bytes = 200 * MiB}));
    return std::move(choice.plan);
  }
  static DeviceUse used(const Plan& plan) { return plan.devices.empty() ? DeviceUse{} : plan.devices.front(); }

  LoadOptions with_experts_on_host() const {
    LoadOptions load;
    load.path = kModel;
    load.mode = Mode::kResident;
    load.n_ctx = 64;
    load.kernels = Kernels::kPlain;
    load.measure_compute = load.keep_heat = false;
    load.devices.names = {device_};
    load.devices.n_gpu_layers = static_cast<uint32_t>(model_->n_layer) + 1;
    for (uint32_t layer = 0; layer < model_->n_layer; ++layer) load.devices.host_expert_layers.push_back(layer);
    return load;
  }

  std::string device_;
  std::unique_ptr<GgufModel> model_;
};

TEST_F(DeviceTest, FromNothingThatFitsToAllPlansKeepToItsMemoryAndAreExact) {
  const auto ample = plan_with(4 * GiB);
  ASSERT_TRUE(ample) << ample.error().message();
  const DeviceUse all = used(*ample);
  ASSERT_EQ(all.n_layers, model_->n_layer);
  const uint64_t contents_bytes = all.weight_bytes + all.kv_bytes;
  uint64_t weights_before = 0;
  for (const uint64_t tenths : {0, 1, 4, 7, 10}) {
    const uint64_t limit_bytes = tenths == 0 ? 0 : all.compute_bytes + contents_bytes * tenths / 10;
    SCOPED_TRACE(testing::Message() << tenths << " tenths of the model");
    const auto plan = plan_with(limit_bytes);
    ASSERT_TRUE(plan) << plan.error().message();
    const DeviceUse use = used(*plan);
    EXPECT_LE(use.used_bytes(), limit_bytes);
    EXPECT_GE(use.weight_bytes, weights_before);
    weights_before = use.weight_bytes;
    if (tenths == 0) {
      EXPECT_EQ(plan->n_gpu_layers, 0u);
      continue;
    }
    const DeviceOptions devices = devices_of(*plan, *model_);
    if (devices.expert_cache_bytes > 0) {  // for experts that stay: nothing streams then
      LoadOptions load = with_experts_on_host();
      load.devices = devices;
      const auto engine = Engine::load(load);
      EXPECT_TRUE(engine) << engine.error().message();
      continue;
    }
    VerifyOptions options;
    options.path = kModel;
    options.devices = devices;
    options.weights_bytes = model_->weight_bytes() / 2;
    options.extent_bytes_min = 4096;
    options.n_prompt = 16;
    options.n_decode = 2;
    const auto report = verify(options);
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_TRUE(report->exact) << report->first_difference;
  }
  EXPECT_EQ(weights_before, all.weight_bytes);
}

// The planner offers libllama's cache for experts only where this library has one: what it computes is then a device's
// rounding and no longer the host's.
TEST_F(DeviceTest, TheExpertCacheOfThePlanReachesLibllama) {
  const auto logits = [](const LoadOptions& load) {
    const auto engine = Engine::load(load);
    EXPECT_TRUE(engine) << engine.error().message();
    std::vector<float> values;
    const BatchToken token{.id = 5, .pos = 0, .seq = 0, .want_logits = true};
    if (engine && (*engine)->decode(std::span(&token, 1))) {
      const auto last = (*engine)->logits(-1);
      values.assign(last.begin(), last.end());
    }
    return values;
  };
  LoadOptions load = with_experts_on_host();
  const std::vector<float> on_host = logits(load);
  load.devices.expert_cache_bytes = 64 * MiB;
  const std::vector<float> cached = logits(load);
  ASSERT_FALSE(on_host.empty());
  ASSERT_FALSE(cached.empty());
  EXPECT_NE(on_host, cached);
}

TEST_F(DeviceTest, ADeviceThatIsNotThereIsNamedWithThoseThatAre) {
  LoadOptions load = with_experts_on_host();
  load.devices.names = {"Vulkan77"};
  const auto engine = Engine::load(load);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code(), Code::kNotFound);
  EXPECT_THAT(engine.error().message(), testing::AllOf(testing::HasSubstr("Vulkan77"), testing::HasSubstr(device_)));
}

}  // namespace
}  // namespace spillway
