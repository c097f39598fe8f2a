// SPDX-License-Identifier: MIT
// The Catalog of real folders. Private to this room; everybody else uses catalog.h.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "model/catalog.h"
#include "model/found_models.h"
#include "model/gguf_choice.h"
#include "model/gguf_facts.h"
#include "model/manifest.h"
#include "model/model_files.h"
#include "model/model_store.h"
#include "os/file.h"

namespace spillway {

// What is read of a GGUF for a list, by the identity of its files: a file that changed is another key. Of so many
// files, and texts of so many bytes, as a list has; then it begins anew.
class FactsCache {
 public:
  //   NotFound  PermissionDenied  Corrupt  Unsupported  Io
  Result<std::shared_ptr<const GgufFacts>> facts(const std::vector<std::string>& paths);
  // may_fit_model() of a projector.
  bool may_fit(const std::string& path, uint64_t n_embd);
  // Of a template, by its text. It may be a process that computes for seconds: one reads a text, who asks meanwhile
  // waits.
  TemplateAbilities abilities(const std::string& text, const TemplateReader& read);

 private:
  Mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const GgufFacts>> facts_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, TemplateAbilities> abilities_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, bool> fits_ GUARDED_BY(mutex_);
  uint64_t facts_text_bytes_ GUARDED_BY(mutex_) = 0, abilities_text_bytes_ GUARDED_BY(mutex_) = 0;
  std::set<std::string> being_read_ GUARDED_BY(mutex_);  // templates
  CondVar was_read_;
};

// A model that was found, before anything of its files is read.
struct LocatedModel {
  ModelName name;
  ModelSource source = ModelSource::kOwn;
  const ModelStore* store = nullptr;  // nullptr: plain files
  std::string manifest_path;          // of a stored one
  std::vector<std::string> files;     // of plain files, in order
};

// A stored model's manifest, or one made up for plain files.
struct ReadManifest {
  Manifest manifest;
  std::string digest;  // 64 hex
  int64_t modified_ns = 0;
};

class DiskCatalog : public Catalog {
 public:
  explicit DiskCatalog(CatalogOptions options);
  size_t count_by_path() const { return located_by_path().size(); }

  Result<std::vector<ModelEntry>> list() const override;
  Result<ModelEntry> find(std::string_view name) const override;
  Result<ModelExtras> extras(std::string_view name) const override;
  Result<ModelDescription> describe(std::string_view name, bool verbose) const override;
  Result<void> remove(std::string_view name) override;
  Result<void> copy(std::string_view source, std::string_view destination) override;
  Result<void> create(std::string_view name, const CreateRequest& request, const StatusSink& status) override;
  Result<bool> has_blob(std::string_view digest) const override;
  Result<std::unique_ptr<BlobWriter>> write_blob(std::string_view digest) override;
  const CatalogOptions& options() const override { return options_; }

 private:
  std::vector<LocatedModel> located(std::optional<Status>& unread) const;  // of our own store
  std::vector<LocatedModel> located_by_path() const;
  std::vector<LocatedModel> located_elsewhere() const;
  Result<LocatedModel> locate_elsewhere(const ModelName& name) const;
  KindReader kind_reader(const FoundRepository& repository) const;
  Result<LocatedModel> locate(std::string_view name) const;
  Result<ReadManifest> read_manifest(const LocatedModel& model) const;
  Result<std::vector<std::string>> files_of(const LocatedModel& model, const Manifest& manifest) const;
  Result<void> check_is_model(const LocatedModel& model) const;
  Result<ModelEntry> model_entry(const LocatedModel& model) const;
  Result<ModelEntry> entry_of(const LocatedModel& model, const ReadManifest& read) const;
  Result<ModelExtras> extras_of(const LocatedModel& model, const ReadManifest& read) const;

  struct NewBlobs;

  Result<void> keep_blob(const std::string& digest, NewBlobs& added) const;
  Result<Layer> import_file(const std::string& path, NewBlobs& added, const StatusSink& status);
  Result<std::vector<Layer>> layers_of(const LocatedModel& model, NewBlobs& added, const StatusSink& status);
  Result<std::vector<Layer>> base_layers(const CreateRequest& request, ModelConfig& config, NewBlobs& added,
                                         const StatusSink& status);
  Result<std::vector<Layer>> adapter_layers(const CreateRequest& request, const GgufModel& model, NewBlobs& added,
                                            const StatusSink& status);
  ModelFiles files_of_layers(const Manifest& manifest) const;
  Result<Layer> projector_layer(const std::string& wanted, NewBlobs& added, const StatusSink& status);
  Result<void> add_projector_beside(const std::string& path, NewBlobs& added, const StatusSink& status,
                                    std::vector<Layer>& layers);
  Result<Layer> layer_of_blob(const std::string& digest, LayerKind kind) const;
  Result<Layer> text_layer(LayerKind kind, const std::string& text, NewBlobs& added, const StatusSink& status);

  const CatalogOptions options_;
  mutable ModelStore own_;
  std::vector<ModelStore> ollama_;
  mutable FactsCache cache_;
};

}  // namespace spillway
