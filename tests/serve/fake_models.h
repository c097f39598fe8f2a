// SPDX-License-Identifier: MIT
// A catalog of models that are not on any disk, and a manager that loads scripted engines for them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "model/catalog.h"
#include "serve/model_manager.h"
#include "serving/scripted_engine.h"

namespace spillway {

class FakeCatalog : public Catalog {
 public:
  struct Model {
    ModelEntry entry;
    ModelExtras extras;
    bool is_damaged = false;  // it can be removed, and nothing else
  };
  std::map<std::string, Model> models;  // by shown name
  CatalogOptions places;
  std::optional<Status> create_failure;
  bool takes_blobs = false;       // else the disk is full
  bool blobs_are_cut = false;     // what is taken is no whole file all the same
  std::set<std::string> blobs{};  // that were taken, or are had

  void add(const std::string& name, std::vector<std::string> capabilities, std::string jinja = "") {
    Model model;
    model.entry.name = *parse_model_name(name);
    model.entry.digest = std::string(64, 'd');
    model.entry.size_bytes = 1000;
    model.entry.modified_ns = 1'700'000'000'000'000'000;
    model.entry.details.family = "bytes";
    model.entry.details.families = {"bytes"};
    model.entry.details.parameter_size = "1";
    model.entry.details.quantization_level = "Q8_0";
    model.entry.details.context_length = 4096;
    model.entry.capabilities = std::move(capabilities);
    model.entry.path = model.entry.weights = "/models/" + name;
    model.extras.template_text = std::move(jinja);
    models[model.entry.name.shown()] = std::move(model);
  }

  Result<std::vector<ModelEntry>> list() const override {
    std::vector<ModelEntry> all;
    for (const auto& [name, model] : models) all.push_back(model.entry);
    return all;
  }
  Result<ModelEntry> find(std::string_view name) const override {
    ASSIGN_OR_RETURN(const ModelName parsed, parse_model_name(name));
    for (const auto& [shown, model] : models)
      if (same_name(model.entry.name, parsed)) {
        if (model.is_damaged) return error(Code::kCorrupt, shown + ": is missing; pull the model again");
        return model.entry;
      }
    return error(Code::kNotFound, "model '" + std::string(name) + "' not found");
  }
  Result<ModelExtras> extras(std::string_view name) const override {
    ASSIGN_OR_RETURN(const ModelEntry entry, find(name));
    return models.at(entry.name.shown()).extras;
  }
  Result<ModelDescription> describe(std::string_view name, bool) const override {
    ModelDescription description;
    ASSIGN_OR_RETURN(description.entry, find(name));
    ASSIGN_OR_RETURN(description.extras, extras(name));
    description.model_info = {{"general.architecture", "bytes"},
                              {"bytes.context_length", description.entry.details.context_length}};
    description.parameters_text = "num_ctx                        4096";
    return description;
  }
  Result<void> remove(std::string_view name) override {
    ASSIGN_OR_RETURN(const ModelName parsed, parse_model_name(name));
    if (std::erase_if(models, [&](const auto& one) { return same_name(one.second.entry.name, parsed); }) > 0) return {};
    return error(Code::kNotFound, "model '" + std::string(name) + "' not found");
  }
  Result<void> copy(std::string_view source, std::string_view destination) override {
    ASSIGN_OR_RETURN(const ModelEntry entry, find(source));
    ASSIGN_OR_RETURN(const ModelName name, parse_model_name(destination));
    Model model = models.at(entry.name.shown());
    model.entry.name = name;
    models[name.shown()] = model;
    return {};
  }
  Result<void> create(std::string_view name, const CreateRequest& request, const StatusSink& status) override {
    status("parsing GGUF");
    if (create_failure) return Failure(*create_failure);
    RETURN_IF_ERROR(copy(request.from, name));
    status("success");
    return {};
  }
  Result<bool> has_blob(std::string_view digest) const override {
    if (!digest.starts_with("sha256:") || digest.size() != 71) return error(Code::kInvalidArgument, "invalid digest");
    return digest.back() == '1' || blobs.contains(std::string(digest));
  }
  Result<std::unique_ptr<BlobWriter>> write_blob(std::string_view digest) override {
    struct Writer : BlobWriter {
      Result<void> write(std::string_view) override { return {}; }
      Result<std::string> finish() override {
        if (!catalog->blobs_are_cut) catalog->blobs.insert(digest);
        return digest;
      }
      FakeCatalog* catalog = nullptr;
      std::string digest;
    };
    auto writer = std::make_unique<Writer>();
    writer->catalog = this;
    writer->digest = std::string(digest);
    if (takes_blobs) return writer;
    return error(Code::kDiskFull, "no room on the disk");
  }
  const CatalogOptions& options() const override { return places; }
};

inline constexpr uint32_t kScriptedContext = 2000;

// A manager whose engines `prepare` sets up.
inline ManagerOptions scripted_manager(std::function<void(ScriptedEngine&, const LoadOptions&)> prepare) {
  ManagerOptions options;
  options.n_ctx = 1000;
  options.n_parallel = 2;
  options.load_engine = [prepare](const LoadOptions& load) -> Result<std::unique_ptr<Engine>> {
    auto engine = std::make_unique<ScriptedEngine>();
    // What a load chooses where nobody named a number.
    engine->info.n_ctx_default = load.n_ctx > 0 ? 0 : kScriptedContext;
    engine->info.n_ctx = load.n_ctx > 0 ? load.n_ctx : std::max(kScriptedContext, load.n_ctx_min);
    engine->keep_passes = false;
    prepare(*engine, load);
    return engine;
  };
  options.check_room = [](const LoadOptions&, uint64_t) -> Result<void> { return {}; };
  return options;
}

}  // namespace spillway
