// SPDX-License-Identifier: MIT
#include "fetch/remote_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>
#include <system_error>
#include <thread>

#include "base/mutex.h"
#include "fetch/hub_repository.h"
#include "fetch/pull_plan.h"
#include "model/manifest.h"
#include "model/model_store.h"
#include "os/file.h"

namespace spillway {
namespace {

// Headers are small: most of the time is waiting for an answer.
constexpr size_t kThreads = 6;
// Models of a repository that are all looked at.
constexpr size_t kSurveyedMax = 500;

bool is_elsewhere(const BlobSource& blob, const PullOptions& options) {
  std::vector<std::string> paths = blob.maybe_at;
  for (const std::string& folder : options.other_folders)
    paths.push_back(fmt::format("{}/blobs/{}", folder, blob_file_name(blob.digest)));
  return std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
    const auto identity = identify_file(path);
    return identity && identity->bytes == blob.size_bytes;
  });
}

uint64_t download_bytes(const std::vector<RemoteFile>& files, const PullOptions& options) {
  const ModelStore store(options.own_folder);
  uint64_t bytes = 0;
  for (const RemoteFile& file : files)
    if (!is_elsewhere(file.source, options)) bytes += file.source.size_bytes - bytes_present(store, file.source);
  return bytes;
}

uint64_t size_bytes(const std::vector<RemoteFile>& files) {
  uint64_t bytes = 0;
  for (const RemoteFile& file : files) bytes += file.source.size_bytes;
  return bytes;
}

std::vector<RemoteHeader> headers_of(const std::vector<RemoteFile>& files, HttpSession& session,
                                     const PullOptions& options) {
  std::vector<RemoteHeader> headers;
  headers.reserve(files.size());
  for (const RemoteFile& file : files) headers.emplace_back(file, session, options);
  return headers;
}

Result<RemoteModel> inspect_files(const ModelName& name, std::string file, const std::vector<RemoteFile>& files,
                                  HttpSession& session, const PullOptions& options) {
  std::vector<RemoteHeader> headers = headers_of(files, session, options);
  ASSIGN_OR_RETURN(GgufModel model, open_remote_model(headers));
  return RemoteModel{.name = name,
                     .file = std::move(file),
                     .size_bytes = size_bytes(files),
                     .download_bytes = download_bytes(files, options),
                     .model = std::move(model)};
}

// A projector that can not be used comes with the model all the same.
Result<void> add_projector(const RemoteFile& file, HttpSession& session, const PullOptions& options,
                           RemoteModel& remote) {
  remote.size_bytes += file.source.size_bytes;
  remote.download_bytes += download_bytes({file}, options);
  std::vector<RemoteHeader> headers = headers_of({file}, session, options);
  ASSIGN_OR_RETURN(const GgufMetadata metadata, headers.front().metadata());
  const auto gguf = open_remote_model(headers);
  if (!gguf) return {};
  auto projector = projector_of_gguf(file.path, *gguf, metadata);
  if (projector) remote.projector = *std::move(projector);
  return {};
}

// A registry's blobs have no names: parts of a split model get such as they need to find each other.
Result<RemoteModel> inspect_registry(const ModelName& name, const PullOptions& options) {
  ASSIGN_OR_RETURN(const PullPlan plan, plan_from_registry(name, options));
  ASSIGN_OR_RETURN(const Manifest manifest, parse_manifest(plan.manifest));
  std::vector<RemoteFile> files;
  const std::vector<const Layer*> layers = manifest.of_kind(LayerKind::kModel);
  for (const Layer* layer : layers) {
    const auto blob = std::find_if(plan.blobs.begin(), plan.blobs.end(),
                                   [&](const BlobSource& one) { return one.digest == layer->digest; });
    std::string path = name.shown();
    if (layers.size() > 1) path += fmt::format("-{:05}-of-{:05}.gguf", files.size() + 1, layers.size());
    files.push_back({.path = std::move(path), .source = *blob});
  }
  HttpSession session;
  ASSIGN_OR_RETURN(RemoteModel remote, inspect_files(name, "", files, session, options));
  if (const Layer* layer = manifest.first(LayerKind::kProjector); layer != nullptr && options.projectors) {
    const auto blob = std::find_if(plan.blobs.begin(), plan.blobs.end(),
                                   [&](const BlobSource& one) { return one.digest == layer->digest; });
    RETURN_IF_ERROR(add_projector({.path = name.shown(), .source = *blob}, session, options, remote));
  }
  return remote;
}

// A repository's candidates, looked at by several threads.
class Survey {
 public:
  Survey(const HubRepository& repository, const PullOptions& options)
      : repository_(repository), options_(options), choices_(repository.candidates().size()) {}

  // The models among them; empty ones are something else.
  std::vector<std::optional<RemoteChoice>> run(const std::function<void(size_t, size_t)>& progress) {
    const auto say = [&](size_t done) {
      if (progress) progress(done, choices_.size());
    };
    // One alone, from which the others have the vocabulary and need not fetch it.
    HttpSession session;
    size_t begun = 0;
    for (bool found = false; !found && begun < choices_.size(); ++begun) {
      say(begun);
      choices_[begun] = inspect(begun, session, shared_);
      found = choices_[begun] && choices_[begun]->model;
    }
    next_ = begun;
    std::vector<std::jthread> threads;  // fewer where the system gives no more
    threads.reserve(kThreads);
    try {
      while (threads.size() < std::min(kThreads, choices_.size() - begun)) threads.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads.empty()) work();
    }
    {
      const MutexLock lock(mutex_);
      for (; begun + done_ < choices_.size(); changed_.wait(mutex_)) say(begun + done_);
    }
    threads.clear();
    const MutexLock lock(mutex_);
    if (thrown_) std::rethrow_exception(thrown_);
    return std::move(choices_);
  }

 private:
  void work() {
    HttpSession session;
    for (;;) {
      const size_t index = next_++;
      if (index >= choices_.size()) return;
      look_at(index, session);
      const MutexLock lock(mutex_);
      ++done_;
      changed_.notify_one();
    }
  }

  // What is thrown here would end the process: run() throws it where somebody may catch it.
  void look_at(size_t index, HttpSession& session) {
    try {
      std::optional<SharedKeys> shared = shared_;
      choices_[index] = inspect(index, session, shared);
    } catch (...) {
      const MutexLock lock(mutex_);
      thrown_ = std::current_exception();
    }
  }

  std::optional<RemoteChoice> inspect(size_t index, HttpSession& session, std::optional<SharedKeys>& shared) const {
    RemoteChoice choice{.name = repository_.name_of(index),
                        .file = repository_.candidates()[index].path,
                        .size_bytes = repository_.size_bytes_of(index),
                        .download_bytes = 0,
                        .model = error(Code::kInternal, "not inspected")};
    const auto files = repository_.files_of(index);
    if (!files) {
      choice.model = Failure(files.error());
      return choice;
    }
    choice.download_bytes = download_bytes(*files, options_);
    std::vector<RemoteHeader> headers = headers_of(*files, session, options_);
    const auto kind = headers.front().kind();
    if (kind && *kind != GgufKind::kModel) return std::nullopt;
    if (!kind)
      choice.model = Failure(kind.error());
    else
      choice.model = open_remote_model(headers, &shared);
    return choice;
  }

  const HubRepository& repository_;
  const PullOptions& options_;
  std::optional<SharedKeys> shared_;                  // constant once there are threads
  std::vector<std::optional<RemoteChoice>> choices_;  // each written by one thread
  std::atomic<size_t> next_ = 0;
  Mutex mutex_;
  CondVar changed_;
  size_t done_ GUARDED_BY(mutex_) = 0;  // by threads
  std::exception_ptr thrown_ GUARDED_BY(mutex_);
};

}  // namespace

Result<RemoteModel> inspect_remote(const ModelName& name, const PullOptions& given) {
  const PullOptions options = with_defaults(given);
  if (!name.is_hugging_face()) return inspect_registry(name, options);
  ASSIGN_OR_RETURN(const HubRepository repository, HubRepository::list(name, options));
  HttpSession session;
  ASSIGN_OR_RETURN(const size_t chosen, repository.choose(session, options));
  ASSIGN_OR_RETURN(const std::vector<RemoteFile> files, repository.files_of(chosen));
  auto model = inspect_files(name, repository.candidates()[chosen].path, files, session, options);
  if (!model) return Failure(repository.explained(model.error()));
  if (!options.projectors) return model;
  ASSIGN_OR_RETURN(const auto projector, repository.projector_of(chosen, session, options));
  if (!projector) return model;
  ASSIGN_OR_RETURN(const std::vector<RemoteFile> seeing, repository.files_of(*projector));
  model->projector_file = repository.candidates()[*projector].path;
  RETURN_IF_ERROR(add_projector(seeing.front(), session, options, *model));
  return model;
}

Result<std::vector<RemoteChoice>> inspect_repository(const ModelName& name, const PullOptions& given,
                                                     const std::function<void(size_t, size_t)>& progress) {
  const PullOptions options = with_defaults(given);
  ASSIGN_OR_RETURN(const HubRepository repository, HubRepository::list(name, options));
  if (const size_t n = repository.candidates().size(); n > kSurveyedMax)
    return error(Code::kUnsupported,
                 fmt::format("{}: has {} models; {} are looked at together at most: name one of them", name.shown(), n,
                             kSurveyedMax));
  std::vector<RemoteChoice> models;
  std::optional<Status> failure;
  size_t n_usable = 0;
  for (auto& choice : Survey(repository, options).run(progress)) {
    if (!choice) continue;
    if (!choice->model && choice->model.error().code() == Code::kCancelled) return Failure(choice->model.error());
    if (choice->model) ++n_usable;
    if (!choice->model && !failure) failure = repository.explained(choice->model.error());
    models.push_back(std::move(*choice));
  }
  if (n_usable == 0 && failure) return Failure(*failure);
  if (models.empty()) {
    // As a pull would say it.
    HttpSession session;
    const auto chosen = repository.choose(session, options);
    if (!chosen) return Failure(chosen.error());
  }
  std::stable_sort(models.begin(), models.end(),
                   [](const RemoteChoice& a, const RemoteChoice& b) { return a.size_bytes < b.size_bytes; });
  return models;
}

}  // namespace spillway
