// SPDX-License-Identifier: MIT
#include "serve/model_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/saturating_sub.h"
#include "serve/chat_form_text.h"

namespace spillway {
namespace {

uint64_t weight_and_pool_bytes(const MemoryReport& memory) { return memory.pinned_bytes + memory.pool_bytes; }

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::kQueued:
      return "queued";
    case Phase::kPrompt:
      return "prompt";
    case Phase::kAnswer:
      return "answer";
    case Phase::kDone:
      return "idle";
  }
  return "?";
}

}  // namespace

Json json_of_details(const ModelDetails& details) {
  Json json = {{"parent_model", details.parent_model},
               {"format", details.format},
               {"family", details.family},
               {"families", details.families},
               {"parameter_size", details.parameter_size},
               {"quantization_level", details.quantization_level}};
  if (details.context_length > 0) json["context_length"] = details.context_length;
  if (details.embedding_length > 0) json["embedding_length"] = details.embedding_length;
  return json;
}

Json json_of_tag(const ModelEntry& entry) {
  return {{"name", entry.name.shown()},
          {"model", entry.name.shown()},
          {"modified_at", rfc3339_ns(entry.modified_ns)},
          {"size", entry.size_bytes},
          {"digest", entry.digest},
          {"details", json_of_details(entry.details)},
          {"capabilities", entry.capabilities}};
}

Json json_of_description(const ModelDescription& description) {
  const ModelEntry& entry = description.entry;
  std::string license;
  for (const std::string& text : description.extras.licenses) license += (license.empty() ? "" : "\n") + text;
  Json json = {{"license", license},
               {"modelfile", description.modelfile},
               {"parameters", description.parameters_text},
               {"template", description.extras.template_text},
               {"chat", chat_form_text(description)},
               {"system", description.extras.system},
               {"details", json_of_details(entry.details)},
               {"model_info", description.model_info.is_object() ? Json(description.model_info) : Json::object()},
               {"capabilities", entry.capabilities},
               {"modified_at", rfc3339_ns(entry.modified_ns)}};
  if (description.projector_info.is_object()) json["projector_info"] = description.projector_info;
  if (!description.extras.messages.empty()) {
    json["messages"] = Json::array();
    for (const ModelMessage& message : description.extras.messages)
      json["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  if (!description.extras.renderer.empty()) json["renderer"] = description.extras.renderer;
  if (!description.extras.parser.empty()) json["parser"] = description.extras.parser;
  if (!description.extras.requires_version.empty()) json["requires"] = description.extras.requires_version;
  if (!description.tensors.empty()) {
    json["tensors"] = Json::array();
    for (const TensorSummary& tensor : description.tensors)
      json["tensors"].push_back({{"name", tensor.name}, {"type", tensor.type}, {"shape", tensor.shape}});
  }
  return json;
}

Json json_of_running(const RunningModel& running, const ServedName& name) {
  return {{"name", name.entry.name.shown()},
          {"model", name.entry.name.shown()},
          {"size", running.info.weight_bytes},
          {"digest", name.entry.digest},
          {"details", json_of_details(name.entry.details)},
          {"expires_at", rfc3339(name.expires_unix_s)},
          {"size_vram", running.memory.device_bytes},
          {"context_length", running.n_ctx}};
}

Json json_of_openai_model(const ModelEntry& entry) {
  return {{"id", entry.name.shown()},
          {"object", "model"},
          {"created", entry.modified_ns / 1000000000},
          {"owned_by", entry.name.name_space},
          {"meta",
           {{"n_ctx_train", entry.details.context_length},
            {"n_embd", entry.details.embedding_length},
            {"size", entry.size_bytes}}}};
}

Json json_of_forecast(const Forecast& forecast, const ModelEntry& entry, bool loaded) {
  return {{"model", entry.name.shown()},
          {"loaded", loaded},
          {"mode", forecast.mode},
          {"why", forecast.why},
          {"weights_bytes", forecast.weights_bytes},
          {"memory_bytes", forecast.memory_bytes},
          {"predicted",
           {{"tok_per_s", forecast.tok_per_s},
            {"load_s", forecast.load_s},
            {"bytes_read_per_token", forecast.bytes_read_per_token}}}};
}

Json json_of_live(const RunningModel& running) {
  const SchedulerStats& stats = running.stats;
  const EngineStats& engine = stats.engine;
  Json slots = Json::array();
  for (const SequenceState& slot : stats.sequences)
    slots.push_back({{"id", slot.id},
                     {"is_processing", slot.busy},
                     {"state", phase_name(slot.phase)},
                     {"n_ctx", running.n_ctx},
                     {"context_tokens", slot.context_tokens},
                     {"prompt_tokens", slot.prompt_tokens},
                     {"answer_tokens", slot.answer_tokens}});
  const MemoryReport& memory = running.memory;
  const Placement& placement = running.placement;
  const uint64_t host_bytes = saturating_sub(running.info.weight_bytes, memory.device_bytes);
  const uint64_t resident_bytes =
      std::min(host_bytes, running.page_cache_bytes.value_or(weight_and_pool_bytes(memory)));
  Json page_cache;  // null where it is not used, or does not tell
  if (running.page_cache_bytes) page_cache = *running.page_cache_bytes;
  return {
      {"model", running.entry.name.shown()},
      {"mode", mode_name(placement.mode)},
      {"why", placement.why},
      {"kernels", kernels_name(placement.kernels)},
      {"weights_bytes", running.info.weight_bytes},
      {"gpu_bytes", memory.device_bytes},
      {"ram_bytes", resident_bytes},
      {"disk_bytes", host_bytes - resident_bytes},
      {"page_cache_bytes", std::move(page_cache)},
      {"memory",
       {{"budget_bytes", memory.budget_bytes},
        {"pinned_bytes", memory.pinned_bytes},
        {"pool_bytes", memory.pool_bytes},
        {"ring_pool_bytes", memory.ring_pool_bytes},
        {"rows_bytes", memory.rows_bytes},
        {"other_bytes", memory.other_bytes}}},
      {"predicted",
       {{"tok_per_s", placement.predicted_tok_per_s},
        {"bytes_read_per_token", placement.bytes_read_per_token},
        {"active_bytes", placement.active_bytes}}},
      {"disk", {{"bytes_per_s", running.disk.disk_bytes_per_s}}},
      {"reads",
       {{"bytes", engine.bytes_read},
        {"hits", engine.hits},
        {"misses", engine.misses},
        {"disk_wait_s", engine.disk_wait_s},
        {"reader_busy_s", engine.reader_busy_s},
        {"major_faults", engine.major_faults}}},
      {"passes", stats.passes},
      {"pass_s", stats.pass_s},
      {"tokens", {{"prompt", stats.prompt_tokens}, {"cached", stats.cached_tokens}, {"answer", stats.answer_tokens}}},
      {"queued", stats.queued},
      {"resizing", stats.resizing},
      {"slots", std::move(slots)},
      {"prompt_cache",
       {{"memory_bytes", stats.cache.memory_bytes},
        {"disk_bytes", stats.cache.disk_bytes},
        {"restored", stats.cache.restored},
        {"stored", stats.cache.stored}}}};
}

std::string prometheus_text(const std::vector<RunningModel>& models) {
  std::string out;
  const auto metric = [&](const char* name, const char* type, const char* help, const auto& value) {
    out += fmt::format("# HELP spillway_{} {}\n# TYPE spillway_{} {}\n", name, help, name, type);
    for (const RunningModel& model : models) {
      std::string label;
      for (const char c : model.entry.name.shown()) {
        if (c == '"' || c == '\\') label += '\\';
        label += c;
      }
      out += fmt::format("spillway_{}{{model=\"{}\"}} {}\n", name, label, static_cast<double>(value(model)));
    }
  };
  using Model = const RunningModel&;
  metric("prompt_tokens_total", "counter", "Prompt tokens computed.", [](Model m) { return m.stats.prompt_tokens; });
  metric("prompt_tokens_cached_total", "counter", "Prompt tokens taken from a cache.",
         [](Model m) { return m.stats.cached_tokens; });
  metric("answer_tokens_total", "counter", "Tokens generated.", [](Model m) { return m.stats.answer_tokens; });
  metric("requests_total", "counter", "Requests that got a slot.", [](Model m) { return m.stats.requests; });
  metric("requests_failed_total", "counter", "Requests that failed.", [](Model m) { return m.stats.failed; });
  metric("requests_cancelled_total", "counter", "Requests whose client went away.",
         [](Model m) { return m.stats.cancelled; });
  metric("requests_refused_total", "counter", "Requests refused because the queue was full.",
         [](Model m) { return m.stats.refused; });
  metric("requests_processing", "gauge", "Slots that are busy.", [](Model m) {
    return std::count_if(m.stats.sequences.begin(), m.stats.sequences.end(),
                         [](const SequenceState& slot) { return slot.busy; });
  });
  metric("requests_deferred", "gauge", "Requests that wait for a slot.", [](Model m) { return m.stats.queued; });
  metric("passes_total", "counter", "Readings of the weights.", [](Model m) { return m.stats.passes; });
  metric("pass_seconds_total", "counter", "Time in passes.", [](Model m) { return m.stats.pass_s; });
  metric("busy_slots_per_pass", "gauge", "Slots that one reading of the weights served, on average.", [](Model m) {
    return m.stats.passes == 0 ? 0.0
                               : static_cast<double>(m.stats.sequences_in_passes) / static_cast<double>(m.stats.passes);
  });
  metric("bytes_read_total", "counter", "Weights read from the disk.",
         [](Model m) { return m.stats.engine.bytes_read; });
  metric("expert_hits_total", "counter", "Experts that were in memory when the router asked.",
         [](Model m) { return m.stats.engine.hits; });
  metric("expert_misses_total", "counter", "Experts that were not.", [](Model m) { return m.stats.engine.misses; });
  metric("disk_wait_seconds_total", "counter", "Time the computation waited for the disk.",
         [](Model m) { return m.stats.engine.disk_wait_s; });
  metric("major_faults_total", "counter", "Pages read by touching them.",
         [](Model m) { return m.stats.engine.major_faults; });
  metric("weights_bytes", "gauge", "Size of all weights.", [](Model m) { return m.info.weight_bytes; });
  metric("ram_bytes", "gauge", "Weights and memory for streaming.",
         [](Model m) { return weight_and_pool_bytes(m.memory); });
  metric("budget_bytes", "gauge", "What the process may use.", [](Model m) { return m.memory.budget_bytes; });
  metric("predicted_tokens_per_second", "gauge", "As predicted when it was loaded, for one request.",
         [](Model m) { return m.placement.predicted_tok_per_s; });
  metric("roofline_fraction", "gauge", "Passes per second of those predicted; above 1 where predictions are modest.",
         [](Model m) {
           const double decode_s = m.stats.pass_s - m.stats.prompt_s;
           if (m.placement.predicted_tok_per_s <= 0 || decode_s <= 0 || m.stats.passes == 0) return 0.0;
           return static_cast<double>(m.stats.answer_tokens) / decode_s / m.placement.predicted_tok_per_s *
                  static_cast<double>(m.stats.passes) /
                  static_cast<double>(std::max<uint64_t>(m.stats.sequences_in_passes, 1));
         });
  metric("prompt_cache_memory_bytes", "gauge", "Kept sequences, in memory.",
         [](Model m) { return m.stats.cache.memory_bytes; });
  metric("prompt_cache_disk_bytes", "gauge", "Kept sequences, on disk.",
         [](Model m) { return m.stats.cache.disk_bytes; });
  return out;
}

}  // namespace spillway
