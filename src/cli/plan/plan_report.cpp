// SPDX-License-Identifier: MIT
#include "cli/plan/plan_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/json_writer.h"
#include "cli/report_text.h"
#include "plan/context_choice.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

std::string count_text(uint64_t n) {
  const auto x = static_cast<double>(n);
  if (x >= 1e12) return fmt::format("{:.2f} T", x / 1e12);
  if (x >= 1e9) return fmt::format("{:.2f} B", x / 1e9);
  if (x >= 1e6) return fmt::format("{:.1f} M", x / 1e6);
  return fmt::format("{}", n);
}

std::string share_text(uint64_t part, uint64_t whole) {
  return fmt::format("{:.1f} %", whole > 0 ? 100 * static_cast<double>(part) / static_cast<double>(whole) : 0.0);
}

const char* place_reason(const TensorInfo& tensor, Tier tier, Mode mode) {
  if (tensor.unused) return "nothing that is computed uses it";
  if (mode == Mode::kMmap) return "left to the page cache";
  if (mode == Mode::kResident) return "fits";
  switch (tier) {
    case Tier::kPinned:
      return tensor.slices > 1 ? "too small to stream" : "read for every token";
    case Tier::kRing:
      return "does not fit; read ahead in its turn";
    case Tier::kExperts:
      return "used now and then; the most used stay";
    case Tier::kRows:
      return "single rows are read";
    case Tier::kDevice:
      return "fits the device";
    case Tier::kUnused:
      break;
  }
  return "";
}

std::string home_name(const PlanReport& report, size_t tensor) {
  const Plan& plan = *report.plan;
  const TensorPlace& place = plan.places[tensor];
  if (report.model->tensors[tensor].unused) return tier_name(Tier::kUnused);
  if (place.device != kHost) return plan.devices[static_cast<size_t>(place.device)].name;
  if (plan.mode == Mode::kMmap) return "page cache";
  return plan.mode == Mode::kStream ? tier_name(place.tier) : "memory";
}

std::string home_reason(const PlanReport& report, size_t tensor) {
  const TensorPlace& place = report.plan->places[tensor];
  if (place.device != kHost) return "its layer is there";
  return place_reason(report.model->tensors[tensor], place.tier, report.plan->mode);
}

// Weights by home and reason, in the order of first appearance.
struct TierLine {
  std::string home, reason;
  uint64_t bytes = 0, n_tensors = 0;
};

std::vector<TierLine> tier_lines(const PlanReport& report) {
  std::vector<TierLine> lines;
  for (size_t t = 0; t < report.model->tensors.size(); ++t) {
    const std::string home = home_name(report, t), reason = home_reason(report, t);
    auto at = std::find_if(lines.begin(), lines.end(),
                           [&](const TierLine& line) { return line.home == home && line.reason == reason; });
    if (at == lines.end()) at = lines.insert(lines.end(), {home, reason});
    at->bytes += report.model->tensors[t].range.bytes;
    ++at->n_tensors;
  }
  std::stable_sort(lines.begin(), lines.end(), [](const TierLine& a, const TierLine& b) { return a.bytes > b.bytes; });
  return lines;
}

std::string tensor_lines(const PlanReport& report) {
  std::string text = fmt::format("\n{:<34} {:<8} {:>10}  {:<12} {}\n", "tensor", "type", "size", "where", "why");
  for (size_t t = 0; t < report.model->tensors.size(); ++t) {
    const TensorInfo& tensor = report.model->tensors[t];
    text += fmt::format("{:<34} {:<8} {:>10}  {:<12} {}\n", tensor.name, tensor.type, format_bytes(tensor.range.bytes),
                        report.plan != nullptr ? home_name(report, t) : role_name(tensor.role),
                        report.plan != nullptr ? home_reason(report, t) : "");
  }
  return text;
}

// What a context of the usual length keeps of its tokens, in the formats that the model takes.
struct CacheSizes {
  uint64_t n_ctx = 0;
  std::vector<std::pair<std::string, uint64_t>> bytes;  // by type; empty: the model keeps none
};

CacheSizes cache_sizes(const GgufModel& model) {
  CacheSizes sizes{.n_ctx = model.n_ctx_train > 0 ? std::min(model.n_ctx_train, kContextFloor) : kContextFloor,
                   .bytes = {}};
  for (const char* type : {"f16", "q8_0", "q4_0"}) {
    const auto need = model_need(model, {.n_ctx = sizes.n_ctx, .cache = {.type_k = type, .type_v = type}});
    if (need && need->kv_bytes > 0) sizes.bytes.emplace_back(type, need->kv_bytes);
  }
  return sizes;
}

std::string cache_line(const GgufModel& model) {
  const CacheSizes sizes = cache_sizes(model);
  if (sizes.bytes.empty()) return "";
  std::string text;
  for (const auto& [type, bytes] : sizes.bytes)
    text += fmt::format("{}{} as {}", text.empty() ? "" : ", ", format_bytes(bytes), type);
  return row("KV cache", fmt::format("for {} tokens {}", sizes.n_ctx, text));
}

Json cache_values(const GgufModel& model) {
  const CacheSizes sizes = cache_sizes(model);
  Json json = {{"tokens", sizes.n_ctx}, {"bytes", Json::object()}};
  for (const auto& [type, bytes] : sizes.bytes) json["bytes"][type] = bytes;
  return json;
}

std::string percent_faster(const Prediction& then, const Prediction& now) {
  return fmt::format("{:.0f} %", 100 * (then.decode_tok_per_s / now.decode_tok_per_s - 1));
}

std::string offer_text(const CacheOffer& offer, const Plan& plan) {
  std::string text = fmt::format("{} would save {}", cache_options_text(offer.format), format_bytes(offer.saved_bytes));
  std::vector<std::string> gains;
  if (offer.n_ctx > 0) gains.push_back(fmt::format("room for {} tokens of context", offer.n_ctx));
  if (offer.prediction.decode_tok_per_s >= 1.005 * plan.prediction.decode_tok_per_s)
    gains.push_back(fmt::format("decoding {} faster", percent_faster(offer.prediction, plan.prediction)));
  if (!gains.empty()) text += fmt::format(": {}", fmt::join(gains, ", or "));
  return text + "; answers differ a little";
}

Json offer_values(const CacheOffer& offer) {
  Json json = {{"options", {"--cache-type-k", offer.format.type_k, "--cache-type-v", offer.format.type_v}},
               {"saved_bytes", offer.saved_bytes},
               {"prediction", prediction_values(offer.prediction)}};
  json["context"] = offer.n_ctx > 0 ? Json(offer.n_ctx) : Json(nullptr);
  return json;
}

std::string model_lines(const GgufModel& model) {
  const ModelFacts facts = model_facts(model);
  const uint64_t all = model.weight_bytes();
  std::string text =
      row("model", fmt::format("{}{}, {} layers of width {}, context {}", model.name.empty() ? "" : model.name + ": ",
                               model.architecture, model.n_layer, model.n_embd, model.n_ctx_train));
  text += row("weights",
              fmt::format("{} in {} tensors, {} parameters, {:.2f} bits each", format_bytes(all),
                          model.tensors.size() - facts.n_unused, count_text(facts.n_params), facts.bits_per_weight));
  if (facts.n_unused > 0)
    text += row("unused", fmt::format("{} in {} tensors: only for drafting further tokens; they are not read",
                                      format_bytes(facts.unused_bytes), facts.n_unused));
  if (model.n_expert > 0) text += row("experts", fmt::format("{}, {} used", model.n_expert, model.n_expert_used));
  text += row("per token", fmt::format("{} parameters, {}", count_text(facts.n_params_active),
                                       format_bytes(static_cast<uint64_t>(facts.active_bytes))));
  std::string types, roles;
  for (const TypeShare& share : facts.types)
    if (share.bytes * 200 >= all)
      types += fmt::format("{}{} {}", types.empty() ? "" : ", ", share.type, share_text(share.bytes, all));
  for (const RoleShare& share : facts.roles)
    if (share.bytes * 1000 >= all)
      roles += fmt::format("{}{} {}", roles.empty() ? "" : ", ", role_name(share.role), format_bytes(share.bytes));
  text += row("formats", types);
  return text + row("roles", roles);
}

Json model_values(const GgufModel& model, bool all_tensors) {
  const ModelFacts facts = model_facts(model);
  Json types = Json::object(), roles = Json::object();
  for (const TypeShare& share : facts.types) types[share.type] = {{"bytes", share.bytes}, {"params", share.n_params}};
  for (const RoleShare& share : facts.roles)
    roles[role_name(share.role)] = {{"bytes", share.bytes}, {"tensors", share.n_tensors}};
  Json json = {{"name", model.name},
               {"architecture", model.architecture},
               {"files", model.paths()},
               {"weight_bytes", model.weight_bytes()},
               {"unused_bytes", facts.unused_bytes},
               {"params", facts.n_params},
               {"params_active", facts.n_params_active},
               {"active_bytes", static_cast<uint64_t>(facts.active_bytes)},
               {"bits_per_weight", facts.bits_per_weight},
               {"layers", model.n_layer},
               {"embedding_length", model.n_embd},
               {"context_length", model.n_ctx_train},
               {"experts", model.n_expert},
               {"experts_used", model.n_expert_used},
               {"vocabulary", model.n_vocab},
               {"tensors_count", model.tensors.size()},
               {"formats", types},
               {"roles", roles}};
  if (!all_tensors) return json;
  Json list = Json::array();
  for (const TensorInfo& tensor : model.tensors)
    list.push_back({{"name", tensor.name},
                    {"type", tensor.type},
                    {"bytes", tensor.range.bytes},
                    {"role", role_name(tensor.role)},
                    {"layer", tensor.layer}});
  json["tensors"] = list;
  return json;
}

std::string devices_text(const Plan& plan) {
  std::string text;
  for (const DeviceUse& device : plan.devices) {
    if (device.used_bytes() == 0) {
      text += row("", fmt::format("{}: not used, {}", device.name, format_bytes(device.memory_bytes)));
      continue;
    }
    const std::string cache = device.expert_cache_bytes > 0
                                  ? fmt::format(", {} to cache experts", format_bytes(device.expert_cache_bytes))
                                  : "";
    text += row("", fmt::format("{}: {} of {}: {} of weights, {} of KV cache, {} of buffers{}; {} layers{}",
                                device.name, format_bytes(device.used_bytes()), format_bytes(device.memory_bytes),
                                format_bytes(device.weight_bytes), format_bytes(device.kv_bytes),
                                format_bytes(device.compute_bytes), cache, device.n_layers,
                                device.has_output ? " and the output" : ""));
  }
  return text;
}

std::string host_text(const HostUse& host, Mode mode, const PlanRequest& request) {
  std::string weights;
  if (mode == Mode::kMmap)
    weights = "weights in the page cache";
  else if (mode == Mode::kResident)
    weights = format_bytes(host.pinned_bytes) + " of weights";
  else
    weights = fmt::format("{} of weights pinned, {} for a ring, {} for experts", format_bytes(host.pinned_bytes),
                          format_bytes(host.ring_pool_bytes), format_bytes(host.expert_pool_bytes));
  if (host.buffer_bytes > 0)
    weights += fmt::format(", {} for what is not read in place", format_bytes(host.buffer_bytes));
  return fmt::format(
      "{} of {}: {}, {} of KV cache, {} of buffers, {} for the program{}{}{}", format_bytes(host.used_bytes()),
      format_bytes(host.memory_bytes), weights, format_bytes(host.kv_bytes), format_bytes(host.compute_bytes),
      format_bytes(host.program_bytes),
      request.adapter_bytes > 0 ? fmt::format(" with {} of adapters", format_bytes(request.adapter_bytes)) : "",
      request.projector_bytes > 0 ? fmt::format(" with {} for images", format_bytes(request.projector_bytes)) : "",
      host.devices_bytes > 0 ? fmt::format(", {} for devices", format_bytes(host.devices_bytes)) : "");
}

// What would come, and how much of it is here.
std::string remote_text(const RemoteFacts& remote) {
  std::string text = remote.file.empty() ? remote.name : fmt::format("{}, {}", remote.name, remote.file);
  if (!remote.projector_file.empty()) text += fmt::format(" with {} for images", remote.projector_file);
  if (remote.download_bytes == remote.size_bytes)
    return fmt::format("{}: {} to download", text, format_bytes(remote.size_bytes));
  return fmt::format("{}: {} of {} to download", text, format_bytes(remote.download_bytes),
                     format_bytes(remote.size_bytes));
}

Json remote_values(const RemoteFacts& remote) {
  return {{"name", remote.name},
          {"file", remote.file},
          {"projector_file", remote.projector_file},
          {"size_bytes", remote.size_bytes},
          {"download_bytes", remote.download_bytes}};
}

}  // namespace

Json prediction_values(const Prediction& p) {
  return {{"decode_tok_per_s", p.decode_tok_per_s},
          {"prefill_tok_per_s", p.prefill_tok_per_s},
          {"first_token_s", p.first_token_s},
          {"load_s", p.load_s},
          {"request_s", p.request_s},
          {"bytes_read_per_token", static_cast<uint64_t>(p.bytes_read_per_token)},
          {"expert_hit_rate", p.hit_rate},
          {"decode_bound", p.decode_bound},
          {"prefill_bound", p.prefill_bound},
          {"correction", p.correction}};
}

std::string model_table(const GgufModel& model, bool all_tensors, const RemoteFacts* remote) {
  std::string text = model_lines(model) + cache_line(model);
  if (remote != nullptr) text += row("not here", remote_text(*remote));
  if (all_tensors) text += tensor_lines({.model = &model, .all_tensors = true});
  return text;
}

std::string model_json(const GgufModel& model, bool all_tensors, const RemoteFacts* remote) {
  Json json = model_values(model, all_tensors);
  json["kv_cache"] = cache_values(model);
  if (remote != nullptr) json["remote"] = remote_values(*remote);
  return write_json(json);
}

std::string plan_table(const PlanReport& report) {
  const Plan& plan = *report.plan;
  const Prediction& p = plan.prediction;
  std::string text = model_lines(*report.model);
  text += row("machine", fmt::format("{}: {}, {} threads, {}", report.machine->name, report.machine->cpu,
                                     report.machine->cores, format_bytes(report.machine->ram_bytes_total)));
  text += row("figures", figures_text(*report.machine, main_types(*report.model)));
  if (report.remote != nullptr) text += row("not here", remote_text(*report.remote));
  text += "\n" + row("plan", fmt::format("{}: {}; {} kernels", plan.name, plan.why, kernels_name(plan.kernels)));
  text += row("memory", host_text(plan.host, plan.mode, *report.request));
  text += devices_text(plan);
  for (const TierLine& line : tier_lines(report))
    text += row(line.home, fmt::format("{} in {} tensors: {}", format_bytes(line.bytes), line.n_tensors, line.reason));
  text += row("context", fmt::format("{} tokens for {} at once in {}, passes of {}", report.request->n_ctx,
                                     report.request->n_seq, cache_format_text(report.request->cache), plan.n_ubatch));
  text += "\n" + row("decode", fmt::format("{}, bound by {}", speed_text(p.decode_tok_per_s), p.decode_bound));
  const bool has_experts = report.model->n_expert > 0 && plan.mode != Mode::kResident;
  if (p.bytes_read_per_token > 0)
    text += row(
        "", fmt::format(
                "{} read per token{}", format_bytes(static_cast<uint64_t>(p.bytes_read_per_token)),
                has_experts ? fmt::format(", {:.0f} % of the experts it asks for in memory", 100 * p.hit_rate) : ""));
  text += row("prefill", fmt::format("{}, bound by {}{}", speed_text(p.prefill_tok_per_s), p.prefill_bound,
                                     plan.op_offload ? "; weights are copied to the device for it" : ""));
  text += row("first", fmt::format("token of an answer after {} ({} tokens of prompt)", seconds_text(p.first_token_s),
                                   report.request->n_prompt));
  if (p.load_s > 0.005) text += row("load", seconds_text(p.load_s));
  if (p.correction != 1)
    text += row("corrected", fmt::format("by {:.2f}: what an earlier run on this machine measured", p.correction));
  text += "\n";
  for (const Candidate& other : plan.others)
    text += row("not", other.possible ? fmt::format("{}: {}; {}", other.name,
                                                    speed_text(other.prediction.decode_tok_per_s), other.why_not)
                                      : fmt::format("{}: {}", other.name, other.why_not));
  if (report.offer != nullptr) text += row("choice", offer_text(*report.offer, plan));
  for (const std::string& doubt : plan.doubts) text += row("doubt", doubt);
  if (!report.machine->source.empty() && report.machine->source != "measured")
    text += row("source", report.machine->source);
  if (report.all_tensors) text += tensor_lines(report);
  return text;
}

std::string plan_json(const PlanReport& report) {
  const Plan& plan = *report.plan;
  const HostUse& host = plan.host;
  Json devices = Json::array(), others = Json::array(), tiers = Json::array();
  for (const DeviceUse& device : plan.devices)
    devices.push_back({{"name", device.name},
                       {"worker", device.is_worker},
                       {"shares_ram", device.shares_ram},
                       {"memory_bytes", device.memory_bytes},
                       {"weight_bytes", device.weight_bytes},
                       {"kv_bytes", device.kv_bytes},
                       {"compute_bytes", device.compute_bytes},
                       {"expert_cache_bytes", device.expert_cache_bytes},
                       {"layers", device.n_layers},
                       {"output", device.has_output}});
  for (const Candidate& other : plan.others) {
    Json item = {{"name", other.name}, {"possible", other.possible}, {"why_not", other.why_not}};
    if (other.possible) item["prediction"] = prediction_values(other.prediction);
    others.push_back(item);
  }
  for (const TierLine& line : tier_lines(report))
    tiers.push_back({{"where", line.home}, {"bytes", line.bytes}, {"tensors", line.n_tensors}, {"why", line.reason}});
  Json choices = Json::array();
  if (report.offer != nullptr) choices.push_back(offer_values(*report.offer));
  Json json = {{"model", model_values(*report.model, false)},
               {"machine", machine_values(*report.machine, main_types(*report.model))},
               {"plan", plan.name},
               {"mode", mode_name(plan.mode)},
               {"why", plan.why},
               {"kernels", kernels_name(plan.kernels)},
               {"context", report.request->n_ctx},
               {"parallel", report.request->n_seq},
               {"cache_type_k", report.request->cache.type_k},
               {"cache_type_v", report.request->cache.type_v},
               {"ubatch", plan.n_ubatch},
               {"gpu_layers", plan.n_gpu_layers},
               {"experts_on_host", plan.experts_on_host},
               {"moe_cache_bytes", plan.moe_cache_bytes},
               {"op_offload", plan.op_offload},
               {"host",
                {{"memory_bytes", host.memory_bytes},
                 {"used_bytes", host.used_bytes()},
                 {"weight_bytes", host.weight_bytes},
                 {"pinned_bytes", host.pinned_bytes},
                 {"ring_pool_bytes", host.ring_pool_bytes},
                 {"expert_pool_bytes", host.expert_pool_bytes},
                 {"buffer_bytes", host.buffer_bytes},
                 {"rows_bytes", host.rows_bytes},
                 {"streamed_bytes", host.streamed_bytes},
                 {"kv_bytes", host.kv_bytes},
                 {"compute_bytes", host.compute_bytes},
                 {"program_bytes", host.program_bytes},
                 {"adapter_bytes", report.request->adapter_bytes},      // of program_bytes
                 {"projector_bytes", report.request->projector_bytes},  // too
                 {"devices_bytes", host.devices_bytes}}},
               {"devices", devices},
               {"tiers", tiers},
               {"prediction", prediction_values(plan.prediction)},
               {"others", others},
               {"choices", choices},
               {"doubts", plan.doubts}};
  if (report.remote != nullptr) json["remote"] = remote_values(*report.remote);
  if (report.all_tensors) {
    Json list = Json::array();
    for (size_t t = 0; t < report.model->tensors.size(); ++t) {
      const TensorInfo& tensor = report.model->tensors[t];
      list.push_back({{"name", tensor.name},
                      {"type", tensor.type},
                      {"bytes", tensor.range.bytes},
                      {"role", role_name(tensor.role)},
                      {"layer", tensor.layer},
                      {"where", home_name(report, t)},
                      {"device", plan.places[t].device},
                      {"why", home_reason(report, t)}});
    }
    json["tensors"] = list;
  }
  return write_json(json);
}

}  // namespace spillway
