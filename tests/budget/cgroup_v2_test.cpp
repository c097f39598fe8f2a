// SPDX-License-Identifier: MIT
// cgroup v2 on a machine that may have its memory controller in v1: a v2 hierarchy is mounted in a mount namespace of a
// child's own, and nothing else. Real there: membership, the folder that is found, the kernel's PSI file and its
// trigger. The limits are files of the test's, laid over the child's cgroup, since the controller may be elsewhere.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <span>
#include <thread>

#include "base/bytes.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "os/cgroup_parse.h"
#include "os/file.h"
#include "os/pressure.h"
#include "os/temp_folder.h"

namespace spillway {
namespace {

constexpr int kSkipped = 77;
constexpr double kPatience_s = 60;
constexpr uint64_t kLimitBytes = 4 * GiB;

std::string text_of(const std::string& path) { return read_text_file(path).value_or(""); }

// Everything below runs in the child. A failure ends it with a line that says which.
void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not true: %s\n", what);
  std::_Exit(1);
}
bool put(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  return file != nullptr && std::fputs(text.c_str(), file) >= 0 && std::fclose(file) == 0;
}

// This process alone sees a v2 hierarchy at `mount_point`, and none else.
void enter(const std::string& mount_point, const std::string& folder) {
  const bool may = ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  if (!may || ::mount("none", mount_point.c_str(), "cgroup2", 0, nullptr) != 0) std::_Exit(kSkipped);
  (void)::umount2("/sys/fs/cgroup", MNT_DETACH);
  if (::mkdir(folder.c_str(), 0755) != 0) std::_Exit(kSkipped);
}

void lay_files_over(const std::string& folder) {
  must(::mount("none", folder.c_str(), "tmpfs", 0, nullptr) == 0, "a tmpfs can be laid over the cgroup");
  must(put(folder + "/memory.max", std::to_string(kLimitBytes)) && put(folder + "/memory.high", "max") &&
           put(folder + "/memory.current", std::to_string(512 * MiB)) &&
           put(folder + "/memory.stat", "inactive_file 0\n") &&
           put(folder + "/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
       "the files of the cgroup can be written");
}

bool comes_true(const std::function<bool()>& condition) {
  const Stopwatch watch;
  while (!condition()) {
    if (watch.elapsed_s() > kPatience_s) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

std::vector<float> decode_one(Engine& engine, int32_t pos) {
  const BatchToken token{.id = 5, .pos = pos, .seq = 0, .want_logits = true};
  must(engine.decode(std::span(&token, 1)).has_value(), "a token is decoded");
  const auto logits = engine.logits(-1);
  return {logits.begin(), logits.end()};
}

// Runs `body` in a child that is a member of a v2 cgroup of its own; its exit code.
int in_v2_cgroup(const std::function<void(const std::string& folder)>& body) {
  const TempFolder temp;
  const std::string mount_point = temp.at("cgroup2");
  EXPECT_EQ(::mkdir(mount_point.c_str(), 0755), 0);
  const std::string folder = mount_point + "/spillway-v2-" + std::to_string(::getpid());
  const pid_t keeper = ::fork();
  if (keeper == 0) {
    enter(mount_point, folder);
    const pid_t member = ::fork();
    if (member == 0) {
      must(put(folder + "/cgroup.procs", "0"), "a process can join");
      body(folder);
      std::_Exit(0);
    }
    int status = 0;
    ::waitpid(member, &status, 0);
    ::rmdir(folder.c_str());
    std::_Exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(keeper, &status, 0), keeper);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(CgroupV2, OurFolderIsFoundAndTheKernelTakesTheTrigger) {
  const int code = in_v2_cgroup([](const std::string& folder) {
    const auto cgroups = find_cgroups(text_of("/proc/self/mountinfo"), text_of("/proc/self/cgroup"), "memory");
    must(!cgroups.empty() && cgroups.front().v2 && cgroups.front().folder == folder, "our cgroup is found");
    // Where v1 has the memory controller our cgroup does not count, and the machine's stalls are listened to.
    const bool counts = !text_of(folder + "/memory.current").empty();
    must(memory_places_from(text_of).pressure_path == (counts ? folder + "/memory.pressure" : "/proc/pressure/memory"),
         "PSI is that of our own cgroup if it has any");
    const auto watch = PressureWatch::open();
    must(watch.has_value() && watch->hears_stalls(), "the kernel takes the trigger");
    must(!memory_state().limited_by_cgroup, "nothing limits a new cgroup");
  });
  if (code == kSkipped) GTEST_SKIP() << "no cgroup2 can be mounted here (root?)";
  EXPECT_EQ(code, 0);
}

TEST(CgroupV2, AStreamedModelGivesWayWhenTheLimitNearsAndTakesItBack) {
  const int code = in_v2_cgroup([](const std::string& folder) {
    lay_files_over(folder);
    must(memory_state().limited_by_cgroup && memory_state().limit_bytes == kLimitBytes, "memory.max is the limit");
    LoadOptions load;
    load.path = SPILLWAY_TEST_MODELS "/gate-moe.gguf";
    load.mode = Mode::kStream;
    load.ram_bytes = 210 * MiB;
    load.n_ctx = 64;
    load.extent_bytes_min = 4096;
    load.measure_compute = load.keep_heat = false;
    const auto engine = Engine::load(load);
    if (!engine) std::fprintf(stderr, "%s\n", engine.error().message().c_str());
    must(engine.has_value(), "the model is loaded");
    Engine& e = **engine;
    const uint64_t pool_bytes = e.memory().pool_bytes;
    must(pool_bytes > 0 && e.memory().pool_now_bytes == pool_bytes, "it streams, undisturbed");
    const std::vector<float> before = decode_one(e, 0);

    must(put(folder + "/memory.current", std::to_string(kLimitBytes - MiB)), "others can take memory");
    must(comes_true([&] { return e.memory().pool_now_bytes < pool_bytes; }), "the pool gives way");
    must(e.stats().shrinks > 0, "and that is counted");
    must(e.cut(0, 0) == 0, "the token can be forgotten");
    must(put(folder + "/memory.current", std::to_string(512 * MiB)), "others can give it back");
    must(comes_true([&] { return e.memory().pool_now_bytes == pool_bytes; }), "the pool comes back");
    must(decode_one(e, 0) == before, "the logits are the same");
  });
  if (code == kSkipped) GTEST_SKIP() << "no cgroup2 can be mounted here (root?)";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace spillway
