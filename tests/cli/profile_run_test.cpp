// SPDX-License-Identifier: MIT
// `spillway profile` from the outside: the built program on this machine. Measured once for all; most cases then look
// at what was kept.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "engine/rpc_server.h"
#include "hw/profile_json.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/temp_folder.h"
#include "process.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

// A TCP port of this machine: free, or held by somebody who takes connections and never says a word.
struct Port {
  explicit Port(bool listens) {
    fd = Fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof name;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), length), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &length), 0);
    EXPECT_TRUE(!listens || ::listen(fd.get(), 8) == 0);
    number = ntohs(name.sin_port);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(number); }

  Fd fd;
  uint16_t number = 0;
};

class ProfileRunTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    ::setenv("SPILLWAY_CACHE_DIR", folder_->at("cache").c_str(), 1);
    ::unsetenv("GGML_VK_VISIBLE_DEVICES");
    const auto outcome = spillway({"--json"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, IsEmpty());
    const auto profile = decode_profile(outcome.out);
    ASSERT_TRUE(profile) << profile.error().message();
    measured_ = *profile;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static ProcessOutcome spillway(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {SPILLWAY, "profile"});
    return run_process(arguments);
  }

  static void expect_one_line(const ProcessOutcome& outcome, int exit_code, const std::string& part) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, AllOf(StartsWith("spillway: "), HasSubstr(part), EndsWith("\n")));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }

  // The one file that was kept.
  static std::string kept_path() {
    for (const auto& entry : std::filesystem::directory_iterator(folder_->at("cache/profile"))) return entry.path();
    ADD_FAILURE() << "nothing was kept";
    return {};
  }

  static std::unique_ptr<TempFolder> folder_;
  static MachineProfile measured_;
};
std::unique_ptr<TempFolder> ProfileRunTest::folder_;
MachineProfile ProfileRunTest::measured_;

TEST_F(ProfileRunTest, MeasuresMemoryAndProcessorAndSaysWhenAndOnWhat) {
  EXPECT_EQ(measured_.source, "measured");
  EXPECT_GT(measured_.measured_unix_s, 1'700'000'000);
  EXPECT_THAT(measured_.fingerprint, AllOf(HasSubstr("cpu: "), HasSubstr("ggml: ")));
  EXPECT_GT(measured_.ram_bytes_per_s, 1e8);
  EXPECT_GT(measured_.ram_bytes_total, 0u);
  EXPECT_THAT(measured_.matmul, Not(IsEmpty()));
  EXPECT_TRUE(measured_.matmul.size() >= 8 ||
              std::any_of(measured_.doubts.begin(), measured_.doubts.end(), [](const std::string& doubt) {
                return doubt.starts_with("processor: not measured for want of time");
              }));
  // A machine without large files says so instead.
  EXPECT_TRUE(!measured_.disks.empty() ||
              std::any_of(measured_.doubts.begin(), measured_.doubts.end(),
                          [](const std::string& doubt) { return doubt.starts_with("disk: not measured"); }));
}

TEST_F(ProfileRunTest, TheSecondTimeItIsTheOneThatWasKept) {
  const auto outcome = spillway({"--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto again = decode_profile(outcome.out);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->measured_unix_s, measured_.measured_unix_s);
  EXPECT_EQ(again->ram_bytes_per_s, measured_.ram_bytes_per_s);
  const auto table = spillway({});
  EXPECT_THAT(table.out, AllOf(StartsWith("machine    "), HasSubstr("--refresh measures again"), HasSubstr("q4_K")));
}

TEST_F(ProfileRunTest, ADamagedOneIsNamedAndMeasuredAgain) {
  const std::string path = kept_path();
  const auto whole = read_text_file(path);
  ASSERT_TRUE(whole);
  ASSERT_TRUE(replace_file(path, whole->substr(0, whole->size() / 2)));
  const auto outcome = spillway({"--json"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(path), HasSubstr("damaged"), HasSubstr("measuring again")));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_TRUE(decode_profile(outcome.out));
  EXPECT_TRUE(read_profile(path));
}

TEST_F(ProfileRunTest, OneThatCannotBeWrittenIsNotSaidToBeKept) {
  ::setenv("SPILLWAY_CACHE_DIR", "/proc/none", 1);
  const auto outcome = spillway({});
  ::setenv("SPILLWAY_CACHE_DIR", folder_->at("cache").c_str(), 1);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("the machine profile could not be kept"));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr(", not kept"), Not(HasSubstr("30 days"))));
}

TEST_F(ProfileRunTest, AMistakeOnTheCommandLineIsOneLine) {
  expect_one_line(spillway({"--threads", "0"}), 2, "--threads");
  expect_one_line(spillway({"--worker", "nonsense"}), 1, "'nonsense' is no address");
  expect_one_line(spillway({folder_->at("none.gguf")}), 1, "no such file");
  expect_one_line(spillway({folder_->write("bad.gguf", "not a model")}), 1, "bad.gguf");
}

TEST_F(ProfileRunTest, AProcessOfItsOwnMeasuresADevice) {
  ::setenv("GGML_VK_VISIBLE_DEVICES", "0", 1);
  const auto outcome = spillway({"--measure-device", "Vulkan0", "--measure-seconds", "0.5"});
  ::unsetenv("GGML_VK_VISIBLE_DEVICES");
  if (outcome.exit_code != 0 && outcome.err.find("finds no device") != std::string::npos)
    GTEST_SKIP() << "no Vulkan here; install mesa-vulkan-drivers";
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto answer = decode_profile(outcome.out);
  ASSERT_TRUE(answer) << answer.error().message();
  ASSERT_THAT(answer->devices, SizeIs(1));
  EXPECT_EQ(answer->devices[0].backend, "Vulkan");
  EXPECT_THAT(answer->devices[0].matmul, Not(IsEmpty()));
}

TEST_F(ProfileRunTest, ADeviceThatIsNotThereIsOneLine) {
  expect_one_line(spillway({"--measure-device", "Vulkan77"}), 1, "ggml finds no device Vulkan77");
}

TEST_F(ProfileRunTest, AWorkerThatIsNotThereIsSaidAtOnce) {
  const Port free(false);
  expect_one_line(spillway({"--worker", free.address()}), 1, free.address());
}

TEST_F(ProfileRunTest, AServerThatIsNoWorkerIsGivenUp) {
  const Port silent(true);
  expect_one_line(spillway({"--worker", silent.address()}), 1, "is it no ggml-rpc-server?");
}

TEST_F(ProfileRunTest, AWorkerIsMeasuredOnceAndShownWhenItIsNamed) {
  const std::string server_command = SPILLWAY_RPC_SERVER;
  if (server_command.empty()) GTEST_SKIP() << "llama.cpp's RPC server is not installed";
  const auto server = RpcServer::start(server_command);
  ASSERT_NE(server, nullptr);
  const std::string address = server->address();

  for (int round = 0; round < 2; ++round) {
    const auto outcome = spillway({"--worker", address, "--json"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto profile = decode_profile(outcome.out);
    ASSERT_TRUE(profile);
    ASSERT_THAT(profile->workers, SizeIs(1));
    const WorkerFacts& worker = profile->workers[0];
    EXPECT_EQ(worker.address, address);
    EXPECT_GT(worker.link_bytes_per_s, 1e6);
    EXPECT_GT(worker.link_latency_s, 0);
    EXPECT_GT(worker.device.memory_bytes_total, 0u);
    EXPECT_THAT(worker.device.matmul, Not(IsEmpty()));
    server->end();  // the second time it is known, and need not be there
  }
  const auto without = decode_profile(spillway({"--json"}).out);
  ASSERT_TRUE(without);
  EXPECT_THAT(without->workers, IsEmpty());
}

}  // namespace
}  // namespace spillway
