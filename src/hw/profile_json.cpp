// SPDX-License-Identifier: MIT
#include "hw/profile_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "os/file.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// What no machine of the next years exceeds: a figure above it is a slip of a unit or of a key, and would make every
// prediction worthless.
constexpr double kBytesPerSecondMax = 1e15, kFlopsPerSecondMax = 1e19, kLatencyMax_s = 60;
constexpr uint64_t kMemoryBytesMax = 1ull << 52, kReadBytesMax = GiB, kDepthMax = 65536, kCoresMax = 1 << 20;
constexpr int64_t kUnixSecondsMax = 253402300799;  // the end of the year 9999
constexpr size_t kEntriesMax = 1024, kTextBytesMax = 4096;
constexpr uint64_t kFileBytesMax = 4 * MiB;

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Names in a file are anybody's, and terminals obey what they are shown.
bool is_printable(const std::string& text) { return std::none_of(text.begin(), text.end(), is_control); }

// ---- writing ----

// A file or device with a strange name must not make a profile that is refused when it is read.
void make_printable(Json& json) {
  if (auto* text = json.get_ptr<std::string*>()) std::replace_if(text->begin(), text->end(), is_control, '?');
  if (json.is_structured())
    for (Json& inner : json) make_printable(inner);
}

Json matmul_json(const std::vector<MatmulRate>& rates) {
  Json list = Json::array();
  for (const MatmulRate& rate : rates) {
    list.push_back({{"type", rate.type},
                    {"decode_bytes_per_s", rate.decode_bytes_per_s},
                    {"prefill_flops_per_s", rate.prefill_flops_per_s},
                    {"expert_prefill_flops_per_s", rate.expert_prefill_flops_per_s}});
    if (rate.repack_bytes_per_s > 0) list.back()["repack_bytes_per_s"] = rate.repack_bytes_per_s;
  }
  return list;
}

Json device_json(const DeviceFacts& device) {
  return {{"name", device.name},
          {"description", device.description},
          {"backend", device.backend},
          {"memory_bytes_total", device.memory_bytes_total},
          {"memory_bytes_free", device.memory_bytes_free},
          {"shares_ram", device.shares_ram},
          {"upload_bytes_per_s", device.upload_bytes_per_s},
          {"matmul", matmul_json(device.matmul)}};
}

Json disk_json(const DiskFacts& disk) {
  return {{"volume", disk.volume},
          {"sequential_bytes_per_s", disk.sequential_bytes_per_s},
          {"scattered_bytes_per_s", disk.scattered_bytes_per_s},
          {"read_bytes", disk.read_bytes},
          {"depth", disk.depth},
          {"direct", disk.direct}};
}

Json worker_json(const WorkerFacts& worker) {
  return {{"address", worker.address},
          {"link_bytes_per_s", worker.link_bytes_per_s},
          {"link_latency_s", worker.link_latency_s},
          {"device", device_json(worker.device)}};
}

// ---- reading ----

// One object of the text and the place it stands at ("disks[0]"). Takes fields out of it; the first thing that is wrong
// is kept and the rest then left alone, so that a reader of fields is a plain list of lines.
class Fields {
 public:
  Fields(const Json& object, std::string place, std::string& wrong)
      : object_(object), place_(std::move(place)), wrong_(wrong) {
    if (!object.is_object()) fail("", "is no object");
  }

  // Says so when the object holds a field besides these: a misspelled one would silently not count.
  void allow_only(std::initializer_list<std::string_view> names) {
    if (!object_.is_object()) return;
    for (const auto& [name, value] : object_.items())
      if (std::find(names.begin(), names.end(), name) == names.end()) fail(name, "is not a field of a profile");
  }

  void text(const char* name, std::string& into, bool required = false) {
    const Json* value = find(name);
    if (value == nullptr) return required ? fail(name, "is missing") : void();
    if (!value->is_string()) return fail(name, "is no text");
    into = value->get<std::string>();
    if (into.size() > kTextBytesMax) return fail(name, "is too long");
    if (!is_printable(into)) return fail(name, "holds control characters");
    if (required && into.empty()) fail(name, "is empty");
  }

  void flag(const char* name, bool& into) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return fail(name, "is neither true nor false");
    into = value->get<bool>();
  }

  // A rate or a time; 0 means that it was not measured.
  void figure(const char* name, double& into, double max) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number()) return fail(name, "is no number");
    const auto number = value->get<double>();
    if (!std::isfinite(number) || number < 0 || number > max)
      return fail(name, fmt::format("is {:g}, not between 0 and {:g}", number, max));
    into = number;
  }

  template <typename Integer>
  void count(const char* name, Integer& into, uint64_t max) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number_integer()) return fail(name, "is no whole number");
    if (!value->is_number_unsigned() || value->get<uint64_t>() > max)
      return fail(name, fmt::format("is {}, not between 0 and {}", value->dump(), max));
    into = static_cast<Integer>(value->get<uint64_t>());
  }

  // Calls `read(entry, place)` for each entry of a list.
  template <typename Read>
  void list(const char* name, Read read) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_array()) return fail(name, "is no list");
    if (value->size() > kEntriesMax) return fail(name, fmt::format("has more than {} entries", kEntriesMax));
    for (size_t i = 0; i < value->size() && wrong_.empty(); ++i)
      read((*value)[i], fmt::format("{}[{}]", path_of(name), i));
  }

  const Json* find(const char* name) const {
    if (!wrong_.empty() || !object_.is_object()) return nullptr;
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }

  std::string path_of(std::string_view name) const {
    if (name.empty()) return place_.empty() ? "the profile" : place_;
    return place_.empty() ? std::string(name) : fmt::format("{}.{}", place_, name);
  }

  void fail(std::string_view name, const std::string& what) {
    if (!wrong_.empty()) return;
    wrong_ = fmt::format("{} {}", path_of(name.substr(0, 100)), what);
    std::replace_if(wrong_.begin(), wrong_.end(), is_control, '?');
  }

  std::string& wrong() { return wrong_; }

 private:
  const Json& object_;
  const std::string place_;
  std::string& wrong_;  // of the whole text
};

void read_matmul(Fields& fields, std::vector<MatmulRate>& into) {
  fields.list("matmul", [&](const Json& entry, const std::string& place) {
    Fields rate(entry, place, fields.wrong());
    rate.allow_only(
        {"type", "decode_bytes_per_s", "prefill_flops_per_s", "expert_prefill_flops_per_s", "repack_bytes_per_s"});
    MatmulRate& facts = into.emplace_back();
    rate.text("type", facts.type, true);
    rate.figure("decode_bytes_per_s", facts.decode_bytes_per_s, kBytesPerSecondMax);
    rate.figure("prefill_flops_per_s", facts.prefill_flops_per_s, kFlopsPerSecondMax);
    rate.figure("expert_prefill_flops_per_s", facts.expert_prefill_flops_per_s, kFlopsPerSecondMax);
    rate.figure("repack_bytes_per_s", facts.repack_bytes_per_s, kBytesPerSecondMax);
    for (size_t i = 0; i + 1 < into.size(); ++i)
      if (into[i].type == facts.type) rate.fail("type", fmt::format("names {} a second time", facts.type));
  });
}

void read_device(Fields device, DeviceFacts& into) {
  device.allow_only({"name", "description", "backend", "memory_bytes_total", "memory_bytes_free", "shares_ram",
                     "upload_bytes_per_s", "matmul"});
  device.text("name", into.name, true);
  device.text("description", into.description);
  device.text("backend", into.backend);
  device.count("memory_bytes_total", into.memory_bytes_total, kMemoryBytesMax);
  device.count("memory_bytes_free", into.memory_bytes_free, kMemoryBytesMax);
  if (into.memory_bytes_free > into.memory_bytes_total)
    device.fail("memory_bytes_free", "is more than memory_bytes_total");
  device.flag("shares_ram", into.shares_ram);
  device.figure("upload_bytes_per_s", into.upload_bytes_per_s, kBytesPerSecondMax);
  read_matmul(device, into.matmul);
}

void read_disk(Fields disk, DiskFacts& into) {
  disk.allow_only({"volume", "sequential_bytes_per_s", "scattered_bytes_per_s", "read_bytes", "depth", "direct"});
  disk.text("volume", into.volume);
  disk.figure("sequential_bytes_per_s", into.sequential_bytes_per_s, kBytesPerSecondMax);
  disk.figure("scattered_bytes_per_s", into.scattered_bytes_per_s, kBytesPerSecondMax);
  disk.count("read_bytes", into.read_bytes, kReadBytesMax);
  disk.count("depth", into.depth, kDepthMax);
  disk.flag("direct", into.direct);
}

void read_worker(Fields worker, WorkerFacts& into) {
  worker.allow_only({"address", "link_bytes_per_s", "link_latency_s", "device"});
  worker.text("address", into.address, true);
  worker.figure("link_bytes_per_s", into.link_bytes_per_s, kBytesPerSecondMax);
  worker.figure("link_latency_s", into.link_latency_s, kLatencyMax_s);
  const Json* device = worker.find("device");
  if (device == nullptr) return worker.fail("device", "is missing");
  read_device(Fields(*device, worker.path_of("device"), worker.wrong()), into.device);
}

}  // namespace

std::string encode_profile(const MachineProfile& profile) {
  Json json = {{"format", kProfileFormat},
               {"name", profile.name},
               {"source", profile.source},
               {"fingerprint", profile.fingerprint},
               {"measured_unix_s", profile.measured_unix_s},
               {"cpu", profile.cpu},
               {"cores", profile.cores},
               {"ram_bytes_total", profile.ram_bytes_total},
               {"ram_bytes_per_s", profile.ram_bytes_per_s},
               {"matmul", matmul_json(profile.matmul)}};
  for (const char* list : {"disks", "devices", "workers"}) json[list] = Json::array();
  for (const DiskFacts& disk : profile.disks) json["disks"].push_back(disk_json(disk));
  for (const DeviceFacts& device : profile.devices) json["devices"].push_back(device_json(device));
  for (const WorkerFacts& worker : profile.workers) json["workers"].push_back(worker_json(worker));
  json["doubts"] = profile.doubts;
  make_printable(json);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<MachineProfile> decode_profile(std::string_view text) {
  // Depth is checked before the tree is built: a text of brackets alone would exhaust the stack when it is freed.
  bool too_deep = false;
  const auto shallow = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > 8;
    return !too_deep;
  };
  const Json json = Json::parse(text, shallow, false);
  if (json.is_discarded() || too_deep)
    return error(Code::kCorrupt, "the machine profile is damaged: it is no JSON; make a new one with spillway profile");

  std::string wrong;
  Fields fields(json, "", wrong);
  uint64_t format = 0;
  fields.count("format", format, UINT64_MAX);
  if (wrong.empty() && format == 0) fields.fail("format", "is missing: this is no machine profile");
  if (wrong.empty() && format > kProfileFormat)
    return error(Code::kUnsupported,
                 fmt::format("the machine profile is of format {}, this program knows {}; use a newer spillway", format,
                             kProfileFormat));
  MachineProfile profile;
  fields.allow_only({"format", "name", "source", "fingerprint", "measured_unix_s", "cpu", "cores", "ram_bytes_total",
                     "ram_bytes_per_s", "matmul", "disks", "devices", "workers", "doubts"});
  fields.text("name", profile.name);
  fields.text("source", profile.source);
  fields.text("fingerprint", profile.fingerprint);
  fields.count("measured_unix_s", profile.measured_unix_s, static_cast<uint64_t>(kUnixSecondsMax));
  fields.text("cpu", profile.cpu);
  fields.count("cores", profile.cores, kCoresMax);
  fields.count("ram_bytes_total", profile.ram_bytes_total, kMemoryBytesMax);
  fields.figure("ram_bytes_per_s", profile.ram_bytes_per_s, kBytesPerSecondMax);
  read_matmul(fields, profile.matmul);
  fields.list("disks", [&](const Json& entry, const std::string& place) {
    read_disk(Fields(entry, place, wrong), profile.disks.emplace_back());
  });
  fields.list("devices", [&](const Json& entry, const std::string& place) {
    read_device(Fields(entry, place, wrong), profile.devices.emplace_back());
  });
  fields.list("workers", [&](const Json& entry, const std::string& place) {
    read_worker(Fields(entry, place, wrong), profile.workers.emplace_back());
  });
  fields.list("doubts", [&](const Json& entry, const std::string& place) {
    if (!entry.is_string()) {
      wrong = place + " is no text";
      return;
    }
    profile.doubts.push_back(entry.get<std::string>());
    if (!is_printable(profile.doubts.back())) wrong = place + " holds control characters";
  });
  if (!wrong.empty()) return error(Code::kCorrupt, fmt::format("the machine profile is damaged: {}", wrong));
  return profile;
}

Result<MachineProfile> read_profile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kFileBytesMax));
  auto profile = decode_profile(text);
  if (!profile) return Failure(profile.error().with_context(path));
  return profile;
}

}  // namespace spillway
