// SPDX-License-Identifier: MIT
// A folder of models in the layout of Ollama's: ours, which is written, and Ollama's own, which is only read.
//
//   manifests/<host>/<namespace>/<model>/<tag>      JSON: which blobs the model consists of
//   blobs/sha256-<64 hex>                           a blob, named by its content and never changed
//   blobs/sha256-<64 hex>-partial                   one that is being downloaded (ours)
//   views/<64 hex>/model-00001-of-0000N.gguf        links to the blobs of a split model, under the names it needs
//   (ours)
//
// Models share blobs. Whatever removes a blob or relies on one that it did not just write holds the folder's lock, so
// that no model is ever left with a blob missing.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/blob_writer.h"
#include "model/manifest.h"
#include "model/model_name.h"

namespace spillway {

class File;

struct StoredModel {
  ModelName name;
  std::string manifest_path;
};

struct StoreListing {
  std::vector<StoredModel> models;
  std::optional<Status> unread;  // PermissionDenied, Io: of the first place that can not be looked into
};

// For how long what no model uses is left where it is.
struct KeepTimes {
  double unused_s = 3600;          // blobs: a model may be about to be made of them
  double partial_s = 7 * 86400.0;  // what was fetched of a blob: the next pull continues it
};

using BlobUses = std::map<std::string, int>;  // by digest: how many manifests name it

// Thread-safe, also against other processes.
class ModelStore {
 public:
  // `borrowed`: folders of other stores whose blobs manifests of this one may use.
  explicit ModelStore(std::string folder, std::vector<std::string> borrowed = {}, KeepTimes keep = {});

  const std::string& folder() const { return folder_; }

  // Whatever is no name or can not be read is left out.
  StoreListing list() const;

  // The name as it is written exactly, else one that differs in case; else with Hugging Face's other host.
  //   PermissionDenied  Io   nobody knows, since it can not be looked there
  Result<std::optional<StoredModel>> find(const ModelName& name) const;

  // Where the blob is; where it belongs when it is nowhere.
  std::string blob_path(std::string_view digest) const;
  std::string own_blob_path(std::string_view digest) const;
  bool has_blob(std::string_view digest) const;
  // Whether it is in our own folder, as long as it has to be, and is_whole_blob().
  bool has_whole_blob(std::string_view digest, uint64_t bytes) const;
  // Whether a file of this size may be one of ours, or of those we borrow.
  bool has_blob_of_size(uint64_t bytes) const;

  // The whole of a small blob.
  //   NotFound  PermissionDenied  Io
  Result<std::string> read_blob(std::string_view digest) const;

  // The GGUF files of a model, in order: its blob, or links to its blobs in a folder of `views_folder`.
  //   Unsupported   it has no GGUF      Corrupt   a blob is missing      PermissionDenied  DiskFull  Io
  Result<std::vector<std::string>> gguf_paths(const Manifest& manifest, const std::string& views_folder) const;

  // Puts the model under its name; its predecessor's blobs go when nobody else uses them.
  //   Changed   a blob is not there (any more)      Busy  PermissionDenied  DiskFull  Io  Corrupt
  Result<void> commit(const ModelName& name, const std::string& manifest_text);

  // Removes the model and the blobs nobody else uses; then as remove_left_behind(). Where not all of manifests/ can be
  // looked at, blobs stay, with a notice: here, in commit() and in remove_unused(). So does each that can not go.
  //   NotFound   PermissionDenied   it, or its blobs, may not be removed: it is still there      Busy  Io
  Result<void> remove(const ModelName& name);

  // Removes what processes that ended, or uploads nobody came back to, left for longer than KeepTimes: blobs that no
  // model names, here or in a store we borrow from; parts of blobs; links to blobs that are gone. Nothing of it while
  // a manifest can not be read, there is none, or somebody has the folder's lock. Best effort.
  void remove_left_behind() const;

  // Removes those of these blobs that no model of this store uses. Best effort.
  void remove_unused(const std::vector<std::string>& digests) const;

  // Adds a small blob, in the place of one that is damaged; gives its digest.
  //   PermissionDenied  DiskFull  Io
  Result<std::string> add_blob(std::string_view content);

  // Makes a file's content a blob without copying it: both share it, or are two names of one file. false: the file
  // system cannot. `digest` is what the caller found the content to have.
  //   Changed   its path leads to another file now, whose content nobody has read: nothing was added
  Result<bool> adopt_blob(const File& file, std::string_view digest);
  bool can_adopt(const std::string& path);  // without doing it

  // Blobs that were being written by a process that is gone. Best effort.
  void remove_dead_drafts() const;

  // `digest`: what the content must turn out to have, as parse_digest() gives it; empty: whatever it has.
  //   PermissionDenied  DiskFull  Io
  Result<std::unique_ptr<BlobWriter>> write_blob(std::string_view digest);

 private:
  Result<std::optional<StoredModel>> find_on_host(const ModelName& name) const;
  std::optional<BlobUses> uses_or_notice() const;  // nullopt: nobody knows
  Result<BlobUses> uses_where_we_borrow() const;
  Result<void> check_removable(const std::vector<std::string>& digests) const;
  void remove_blobs(const std::vector<std::string>& digests) const;
  void remove_unused_locked(const std::vector<std::string>& digests) const;
  void remove_orphans_locked(const BlobUses& uses) const;
  std::string draft_path() const;
  struct AdoptedDraft {
    std::string path;
    bool is_link = false;  // a name of the file itself
  };
  std::optional<AdoptedDraft> adopt_draft(const std::string& path);  // nullopt: it cannot be done
  std::string views_folder() const { return folder_ + "/views"; }
  std::vector<std::string> stores() const;

  const std::string folder_;
  const std::vector<std::string> borrowed_;
  const KeepTimes keep_;
};

// Where the weights of the store at `folder` are: its blobs/, which may be a link to another disk; the folder itself
// while it has none. To ask for free room, or for the disk's speed.
std::string weights_folder(const std::string& folder);

// Whether the blob at `path` is whole, as far as can be told at once: a small one by its content, a GGUF as large as
// weights by whether its metadata can be read and all of its tensors are there.
bool is_whole_blob(const std::string& path, std::string_view digest);

// Removes, of the links to split models' blobs below `views_folder`, those whose blob is gone, and drafts of links that
// are older than `drafts_s`. Whoever uses one makes it anew. Best effort.
void remove_dangling_links(const std::string& views_folder, double drafts_s);

// Where a split model's links are, below `views_folder`. Empty for a model of one file.
std::string view_folder_name(const Manifest& manifest);

}  // namespace spillway
