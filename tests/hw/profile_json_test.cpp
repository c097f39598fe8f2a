// SPDX-License-Identifier: MIT
#include "hw/profile_json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <random>

#include "../os/temp_folder.h"
#include "sample_profile.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;
using Json = nlohmann::ordered_json;

// The sample with the value at `pointer` replaced ("/disks/0/depth").
std::string with(const std::string& pointer, const Json& value) {
  Json json = Json::parse(encode_profile(sample_profile()));
  json[Json::json_pointer(pointer)] = value;
  return json.dump();
}

void expect_refused(const std::string& text, Code code, const std::string& part) {
  const auto refused = decode_profile(text);
  ASSERT_FALSE(refused) << text;
  EXPECT_EQ(refused.error().code(), code) << refused.error().message();
  EXPECT_THAT(refused.error().message(), HasSubstr(part));
  EXPECT_EQ(refused.error().message().find('\n'), std::string::npos);
}

TEST(ProfileJson, ComesBackEqual) {
  const MachineProfile sample = sample_profile();
  const auto back = decode_profile(encode_profile(sample));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(encode_profile(*back), encode_profile(sample));
  EXPECT_EQ(back->cpu, sample.cpu);
  EXPECT_EQ(back->measured_unix_s, sample.measured_unix_s);
  EXPECT_EQ(back->ram_bytes_per_s, sample.ram_bytes_per_s);
  ASSERT_THAT(back->disks, SizeIs(2));
  EXPECT_EQ(back->disks[0].read_bytes, 1040384u);
  EXPECT_FALSE(back->disks[1].direct);
  ASSERT_THAT(back->workers, SizeIs(1));
  EXPECT_EQ(back->workers[0].device.matmul[0].prefill_flops_per_s, 1e11);
  EXPECT_EQ(back->matmul[0].expert_prefill_flops_per_s, 1.35e11);
  EXPECT_EQ(back->matmul[0].repack_bytes_per_s, 2.5e9);
  EXPECT_EQ(back->matmul[1].repack_bytes_per_s, 0);
  EXPECT_THAT(back->doubts, SizeIs(1));
}

TEST(ProfileJson, OnlyTheFormatIsNeeded) {
  const auto least = decode_profile(R"({"format": 1})");
  ASSERT_TRUE(least) << least.error().message();
  EXPECT_EQ(least->measured_unix_s, 0);
  EXPECT_THAT(least->disks, IsEmpty());
}

TEST(ProfileJson, OneOfBeforeRepackingWasMeasuredIsReadAsItIs) {
  Json old = Json::parse(encode_profile(sample_profile()));
  old["matmul"][0].erase("repack_bytes_per_s");
  const auto read = decode_profile(old.dump());
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->matmul[0].repack_bytes_per_s, 0);
  EXPECT_EQ(read->matmul[0].decode_bytes_per_s, 21e9);
  expect_refused(with("/matmul/0/repack_bytes_per_s", 1e16), Code::kCorrupt, "matmul[0].repack_bytes_per_s");
}

TEST(ProfileJson, StrangeNamesAreWrittenAllTheSame) {
  MachineProfile sample = sample_profile();
  sample.cpu = "caf\xe9";
  sample.disks[0].volume = "/mnt/a\nb";
  const auto back = decode_profile(encode_profile(sample));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->disks[0].volume, "/mnt/a?b");
}

TEST(ProfileJson, DamageIsSaidInOneLine) {
  expect_refused("", Code::kCorrupt, "no JSON");
  expect_refused("{\"format\": 1", Code::kCorrupt, "no JSON");
  expect_refused("[]", Code::kCorrupt, "the profile is no object");
  expect_refused("{}", Code::kCorrupt, "format is missing");
  expect_refused(std::string(3'000'000, '['), Code::kCorrupt, "no JSON");
  const std::string nested = std::string(30, '[') + std::string(30, ']');
  expect_refused(R"({"format": 1, "doubts": )" + nested + "}", Code::kCorrupt, "no JSON");
  expect_refused(with("/format", 2), Code::kUnsupported, "format 2");
}

TEST(ProfileJson, TheFieldThatIsWrongIsNamed) {
  expect_refused(with("/cpu", 3), Code::kCorrupt, "cpu is no text");
  expect_refused(with("/cores", -1), Code::kCorrupt, "cores is -1");
  expect_refused(with("/cores", 1.5), Code::kCorrupt, "cores is no whole number");
  expect_refused(with("/ram_bytes_per_s", "fast"), Code::kCorrupt, "ram_bytes_per_s is no number");
  expect_refused(with("/ram_bytes_per_s", -1), Code::kCorrupt, "ram_bytes_per_s is -1");
  expect_refused(with("/ram_bytes_per_s", 1e300), Code::kCorrupt, "ram_bytes_per_s is 1e+300");
  expect_refused(with("/matmul/1/type", ""), Code::kCorrupt, "matmul[1].type is empty");
  expect_refused(with("/matmul/1/type", "q4_K"), Code::kCorrupt, "matmul[1].type names q4_K a second time");
  expect_refused(with("/matmul", 1), Code::kCorrupt, "matmul is no list");
  expect_refused(with("/disks/1/direct", "no"), Code::kCorrupt, "disks[1].direct is neither true nor false");
  expect_refused(with("/disks/0/depth", 1e18), Code::kCorrupt, "disks[0].depth is no whole number");
  expect_refused(with("/disks/0/depth", 70000), Code::kCorrupt, "disks[0].depth is 70000");
  expect_refused(with("/disks/0/bandwith", 1), Code::kCorrupt, "disks[0].bandwith is not a field of a profile");
  expect_refused(with("/devices/0/memory_bytes_free", 9 * GiB), Code::kCorrupt, "devices[0].memory_bytes_free is more");
  expect_refused(with("/workers/0/device/name", 1), Code::kCorrupt, "workers[0].device.name is no text");
  expect_refused(with("/workers/0/device", Json::array()), Code::kCorrupt, "workers[0].device is no object");
  expect_refused(with("/doubts/0", 1), Code::kCorrupt, "doubts[0] is no text");
}

TEST(ProfileJson, NothingInItReachesTheTerminalAsACommand) {
  expect_refused(with("/cpu", "\x1b[2J"), Code::kCorrupt, "cpu holds control characters");
  expect_refused(with("/doubts/0", "a\nb"), Code::kCorrupt, "doubts[0] holds control characters");
  expect_refused(with("/a\n\x1b", 1), Code::kCorrupt, "a?? is not a field");
}

TEST(ProfileJson, NoCutAndNoChangedByteBreaksTheReader) {
  TRACE_SEED();
  const std::string text = encode_profile(sample_profile());
  std::mt19937_64 random(test_seed());
  for (size_t at = 0; at < text.size(); ++at) {
    EXPECT_TRUE(at + 1 == text.size() || !decode_profile(text.substr(0, at))) << at;
    std::string damaged = text;
    damaged[at] = static_cast<char>(random());
    const auto read = decode_profile(damaged);
    EXPECT_TRUE(!read || decode_profile(encode_profile(*read))) << damaged;
  }
}

TEST(ProfileJson, AFilesErrorNamesIt) {
  const TempFolder folder;
  const auto damaged = read_profile(folder.write("bad.json", "nonsense"));
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().message(), AllOf(StartsWith(folder.at("bad.json")), HasSubstr("no JSON")));
  EXPECT_EQ(read_profile(folder.at("none.json")).error().code(), Code::kNotFound);
  EXPECT_TRUE(read_profile(folder.write("good.json", encode_profile(sample_profile()))));
}

}  // namespace
}  // namespace spillway
