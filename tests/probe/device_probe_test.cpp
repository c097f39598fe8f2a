// SPDX-License-Identifier: MIT
#include "probe/device_probe.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cmath>
#include <set>

#include "base/bytes.h"
#include "os/fd.h"
#include "probe/compute_probe.h"
#include "probe/matmul_probe.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

void expect_plausible(const MatmulRate& rate) {
  EXPECT_TRUE(std::isfinite(rate.decode_bytes_per_s)) << rate.type;
  EXPECT_GT(rate.decode_bytes_per_s, 1e6) << rate.type;
  EXPECT_LT(rate.decode_bytes_per_s, 1e14) << rate.type;
  EXPECT_TRUE(std::isfinite(rate.prefill_flops_per_s)) << rate.type;
  EXPECT_LT(rate.prefill_flops_per_s, 1e18) << rate.type;
}

TEST(CpuProbe, EveryTypeThatModelsAreMadeOfHasBothRates) {
  double last = -1;
  const auto figures = measure_cpu(1, INFINITY, [&](double fraction, const std::string& what) {
    EXPECT_GT(fraction, last);
    EXPECT_LE(fraction, 1);
    EXPECT_THAT(what, Not(IsEmpty()));
    last = fraction;
    return true;
  });
  ASSERT_TRUE(figures) << figures.error().message();
  std::set<std::string> types;
  for (const MatmulRate& rate : figures->matmul) {
    EXPECT_TRUE(types.insert(rate.type).second) << rate.type;
    expect_plausible(rate);
    EXPECT_GT(rate.prefill_flops_per_s, 1e6) << rate.type;
    EXPECT_GT(rate.expert_prefill_flops_per_s, 1e6) << rate.type;
  }
  EXPECT_THAT(types, IsSupersetOf({"f16", "q8_0", "q4_0", "q4_K", "q5_K", "q6_K", "mxfp4", "iq4_xs"}));
}

TEST(CpuProbe, StopsWhenAsked) {
  const auto stopped = measure_cpu(1, INFINITY, [](double, const std::string&) { return false; });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), Code::kCancelled);
}

TEST(CpuProbe, TypesThatNoTimeIsLeftForAreNamedAndOneIsMeasuredWhateverItTakes) {
  const auto figures = measure_cpu(1, 0);
  ASSERT_TRUE(figures) << figures.error().message();
  ASSERT_EQ(figures->matmul.size(), 1u);
  expect_plausible(figures->matmul.front());
  EXPECT_GT(figures->matmul.front().prefill_flops_per_s, 1e6);
  EXPECT_THAT(figures->doubts, testing::ElementsAre(testing::AllOf(HasSubstr("not measured for want of time: q8_0, "),
                                                                   HasSubstr("iq4_nl")),
                                                    HasSubstr("measured once only for want of time: q4_K")));
}

TEST(CpuProbe, TheLoadersOwnFigureIsThereForWeightsAndZeroForWhatIsNone) {
  // iq2_xxs is quantized only with statistics that we do not have.
  for (const char* type : {"q4_K", "iq2_xxs", "f32"}) {
    const MatmulRate rate = measure_compute({.type = type, .matrix_bytes = MiB, .has_experts = true});
    EXPECT_EQ(rate.type, type);
    EXPECT_GT(rate.decode_bytes_per_s, 1e6) << type;
    EXPECT_GT(rate.prefill_flops_per_s, 1e6) << type;
    EXPECT_GT(rate.expert_prefill_flops_per_s, 1e6) << type;
  }
  EXPECT_EQ(measure_compute({.type = "q4_K", .matrix_bytes = MiB}).expert_prefill_flops_per_s, 0) << "a dense model";
  for (const char* odd : {"no_such_type", "i8", "i32", "i64", "f64", "q8_K", "q8_1"})
    EXPECT_EQ(measure_compute({.type = odd, .matrix_bytes = MiB, .has_experts = true}).decode_bytes_per_s, 0) << odd;
}

TEST(WeightPattern, IsNotAllZeros) {
  for (const char* type : {"f16", "q4_K", "mxfp4", "iq4_xs"})
    EXPECT_THAT(WeightPattern(weight_type_by_name(type)).bytes(), testing::Contains(testing::Ne(std::byte{0}))) << type;
}

TEST(DeviceProbe, ADeviceIsMeasuredWithinItsTime) {
  const auto inventory = ggml_inventory();
  ASSERT_TRUE(inventory) << inventory.error().message();
  EXPECT_THAT(inventory->version, Not(IsEmpty()));
  if (inventory->devices.empty()) GTEST_SKIP() << "ggml finds no device; install mesa-vulkan-drivers";
  const DeviceFacts& device = inventory->devices.front();
  EXPECT_GT(device.memory_bytes_total, 0u);
  EXPECT_LE(device.memory_bytes_free, device.memory_bytes_total);
  const auto figures = measure_device(device.name, 0.5);
  ASSERT_TRUE(figures) << figures.error().message();
  EXPECT_EQ(figures->facts.name, device.name);
  EXPECT_GT(figures->facts.upload_bytes_per_s, 1e6);
  ASSERT_THAT(figures->facts.matmul, Not(IsEmpty()));
  for (const MatmulRate& rate : figures->facts.matmul) expect_plausible(rate);
}

TEST(DeviceProbe, ADeviceThatTakesAllItsTimeToStartIsMeasuredWithOneType) {
  const auto inventory = ggml_inventory();
  ASSERT_TRUE(inventory) << inventory.error().message();
  if (inventory->devices.empty()) GTEST_SKIP() << "ggml finds no device; install mesa-vulkan-drivers";
  const auto figures = measure_device(inventory->devices.front().name, 0);
  ASSERT_TRUE(figures) << figures.error().message();
  ASSERT_EQ(figures->facts.matmul.size(), 1u);
  expect_plausible(figures->facts.matmul.front());
  EXPECT_THAT(figures->doubts, testing::Contains(HasSubstr("for want of time")));
}

TEST(DeviceProbe, ADeviceThatIsNotThereIsNamed) {
  for (const char* name : {"Vulkan77", "CPU"}) {  // the CPU is no device with memory of its own
    const auto none = measure_device(name, 1);
    ASSERT_FALSE(none) << name;
    EXPECT_EQ(none.error().code(), Code::kNotFound);
    EXPECT_THAT(none.error().message(), HasSubstr(name));
  }
}

TEST(WorkerProbe, AnAddressNobodyListensAtIsAnError) {
  EXPECT_EQ(measure_worker("nonsense", 1).error().code(), Code::kInvalidArgument);
  const Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof name;
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), length), 0);  // bound, but not listening
  ASSERT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &length), 0);
  const std::string address = "127.0.0.1:" + std::to_string(ntohs(name.sin_port));
  const auto refused = measure_worker(address, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kIo);
  EXPECT_THAT(refused.error().message(), HasSubstr(address));
}

}  // namespace
}  // namespace spillway
