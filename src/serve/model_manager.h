// SPDX-License-Identifier: MIT
// The models that are loaded: loaded when somebody asks for one, kept for a while, unloaded when that is over or
// another model needs the room. Models of the same weights (another system message, template, parameters, name) share
// one load: engine, scheduler and prompt cache. What is loaded is what the name means now: a model that was made anew
// is served in its new form, and weights whose file is another one by now are loaded again.
//
// Threads: all methods may be called from any thread. One thread of its own loads and unloads, one model at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/engine.h"
#include "model/catalog.h"
#include "serve/loaded_model.h"
#include "serving/asker.h"
#include "serving/fair_queue.h"

namespace spillway {

struct ManagerOptions {
  LoadOptions load;  // for every model; path and n_ctx are filled in
  // Of these models, by the names that are shown, in place of the adapters that belong to them.
  std::vector<LoraAdapter> adapters;
  std::vector<std::string> adapted_models;
  // The same of a projector, in place of their own; and whether none is used of any model.
  std::string projector_path = {};
  std::vector<std::string> projected_models = {};
  bool no_projectors = false;
  uint32_t n_parallel = 1;          // slots per model
  uint32_t n_ctx = 0;               // where nobody says anything, at most what the model was trained for; 0: chosen
  size_t queue_max = 512;           // per model
  double keep_alive_s = 300;        // infinity: for ever
  double wide_context_kept_s = 60;  // a context that one request made larger: agents think between two of theirs
  size_t models_max = 3;            // loaded before an idle one goes for another; those in use stay
  uint64_t cache_memory_bytes = 0;  // per model and of its budget, for sequences that lost their slot
  std::string cache_folder;         // of the prompt cache on disk; empty: none
  uint64_t cache_disk_bytes = 8ull << 30;
  std::function<Result<std::unique_ptr<Engine>>(const LoadOptions&)> load_engine = Engine::load;
  // Whether a load can have room where other models hold no more than so many bytes: asked before any is unloaded.
  std::function<Result<void>(const LoadOptions&, uint64_t)> check_room = Engine::check_room;
  std::function<void(const std::string&)> log = [](const std::string&) {};
};

// Keeps a model loaded. keep_alive counts from the end of the last lease.
class Lease {
 public:
  Lease() = default;
  Lease(std::shared_ptr<LoadedModel> model, std::function<void()> on_end)
      : model_(std::move(model)), on_end_(std::move(on_end)) {}
  Lease(Lease&& other) noexcept { *this = std::move(other); }
  Lease& operator=(Lease&& other) noexcept {
    end();
    model_ = std::exchange(other.model_, nullptr);
    on_end_ = std::exchange(other.on_end_, nullptr);
    return *this;
  }
  ~Lease() { end(); }

  LoadedModel* operator->() const { return model_.get(); }
  LoadedModel& operator*() const { return *model_; }
  explicit operator bool() const { return model_ != nullptr; }

 private:
  void end() {
    model_.reset();
    if (on_end_) std::exchange(on_end_, nullptr)();
  }
  std::shared_ptr<LoadedModel> model_;  // shared by all leases and the manager
  std::function<void()> on_end_;
};

// A name under which loaded weights are served.
struct ServedName {
  ModelEntry entry;
  double expires_unix_s = 0;  // infinity: never
};

// Weights that are loaded.
struct RunningModel {
  ModelEntry entry;               // of the first name
  std::vector<ServedName> names;  // at least one; that of the load first, as long as it is served
  Placement placement;
  MemoryReport memory;
  DiskReport disk;
  ModelInfo info;  // as of the load
  uint32_t n_ctx = 0;
  SchedulerStats stats;
  std::optional<uint64_t> page_cache_bytes;  // weights left to the kernel: how much of them it holds, if it tells
};

// What the manager's thread is at, and who waits for it.
struct LoadingModel {
  ModelEntry entry;
  uint64_t bytes = 0;   // of the weights, or as many as memory holds: more is not read while loading
  double fraction = 0;  // of the load, 0..1
  double elapsed_s = 0;
};
struct LoadQueue {
  std::optional<LoadingModel> loading;
  size_t waiting = 0;  // requests whose model is not loaded, or wants another context
};

class ModelManager {
 public:
  ModelManager(const Catalog& catalog, ManagerOptions options);
  ~ModelManager();  // ends all requests, saves what the slots hold

  // A request for a model, until that is loaded. Where it is destroyed before its turn, nothing is loaded for it.
  class Request {
   public:
    // The lease, or why there is none; nullopt: not yet, after `patience`.
    std::optional<Result<Lease>> wait(std::chrono::milliseconds patience);

   private:
    friend class ModelManager;
    struct State;
    std::shared_ptr<State> state_;  // shared with the manager's thread
  };

  // `n_ctx`: at least so much context; nullopt: the model's default. Weights are not read again for it, and it is given
  // up when nobody has asked for more than the default for a while.
  // `asker`: those of one client wait in their order, and take turns with those of others. It is asked whether it still
  // waits while this call waits for a template to be looked at.
  // `keep_alive_s`: how long it stays after this; nullopt: as the server was told. Besides what loading it may fail
  // with:
  //   NotFound, InvalidArgument   no such model, no such name
  //   InvalidArgument             `n_ctx` is more than the budget has room for; the message says how much
  //   Busy                        the queue is full, the server stops, or others hold the memory this needs: a model in
  //                               use, weights that did not make room in time; the system gives its template no process
  //   Unavailable                 a worker was lost
  //   Cancelled                   nobody waits for it any more
  Request ask(const std::string& name, std::optional<int64_t> n_ctx, std::optional<double> keep_alive_s,
              const Asker& asker = {});

  // Unloads all that is served under this name as soon as nobody uses it; weights that have another name too stay for
  // that. false: nothing was.
  bool unload(const ModelName& name);

  // Those that stay longest first.
  std::vector<RunningModel> running() const;

  LoadQueue load_queue() const;

  // Of a loaded model, by a name that running() shows. nullopt: it is not loaded (any more).
  std::optional<Residency> residency(const std::string& shown_name) const;

  // No new requests; waits for those that run.
  bool drain(std::chrono::milliseconds patience);

  // No new requests; those that run are broken off, and told so.
  void stop();

  const ManagerOptions& options() const { return options_; }

  // Those that the model is loaded with. Any thread.
  std::vector<LoraAdapter> adapters_of(const ModelEntry& entry) const;
  // What it sees with; empty: nothing.
  std::string projector_of(const ModelEntry& entry) const;

 private:
  Result<ModelEntry> entry_of(const std::string& name) const;
  bool is_adapted(const ModelEntry& entry) const;
  bool is_projected(const ModelEntry& entry) const;

  struct Form {
    std::shared_ptr<LoadedModel> model;
    size_t n_leases = 0;
    double used_s = 0;  // monotonic
    double keep_alive_s = 0;
    bool retired = false;  // nobody gets it any more
  };
  struct Loaded {
    std::string name;  // that it was loaded by
    std::shared_ptr<LoadedWeights> weights;
    std::list<Form> forms{};
    bool retired = false;      // nobody gets these weights any more
    double wide_used_s = 0;    // monotonic: when somebody had asked for more context than is the default
    bool is_narrowed = false;  // its context is being made smaller: leases wait for that
    double kept_until_s = 0;   // monotonic: without a form, for who tries again to make one

    bool in_use() const;
    double used_s() const;  // last
  };

  // A form that one request makes, while others wait for what becomes of it.
  struct Making {
    const LoadedWeights* weights = nullptr;  // of the one who makes it, for as long as it is listed
    ModelEntry entry;
    std::optional<Result<std::shared_ptr<LoadedModel>>> outcome = {};  // guarded by mutex_, and this:
    std::vector<std::shared_ptr<Request::State>> requests = {};        // that the manager's thread has for it
  };

  void loop();
  void serve_next(const std::shared_ptr<Request::State>& request);
  static bool is_wanted(const std::shared_ptr<Request::State>& request);
  void forget_abandoned() REQUIRES(mutex_);
  void unload_expired();
  void narrow_contexts();
  void grant(const std::shared_ptr<Request::State>& request);
  void grant_as_it_is_now(const std::shared_ptr<Request::State>& request, const Status& why);
  Result<std::shared_ptr<LoadedWeights>> load_with_room(const ModelEntry& entry, std::optional<int64_t> n_ctx_asked);
  struct ContextToLoad {
    uint32_t n_ctx = 0, n_ctx_min = 0;  // see LoadOptions
  };
  LoadOptions load_options(const ModelEntry& entry, const ContextToLoad& context);
  Result<void> check_room(const ModelEntry& entry, const ContextToLoad& context);
  Result<std::shared_ptr<LoadedWeights>> load(const ModelEntry& entry, const ContextToLoad& context);
  bool make_room_for(const ModelEntry& entry, bool must);
  Status why_no_room(const Status& why, bool asked_for_more) const;
  uint32_t context_wanted(const LoadedModel& model, std::optional<int64_t> n_ctx) const;
  std::optional<int64_t> context_named(const ModelExtras& extras) const;

  std::shared_ptr<LoadedWeights> usable_weights(const ModelEntry& entry);
  Result<std::shared_ptr<LoadedModel>> model_on(const std::shared_ptr<LoadedWeights>& weights, const ModelEntry& entry,
                                                const Asker& asker);
  Result<std::shared_ptr<LoadedModel>> made_by_another(const Making& making, const Asker& asker) EXCLUDES(mutex_);
  std::optional<Result<std::shared_ptr<LoadedModel>>> model_for(const std::shared_ptr<LoadedWeights>& weights,
                                                                const std::shared_ptr<Request::State>& request);
  template <typename Make>
  Result<std::shared_ptr<LoadedModel>> finish_making(const std::shared_ptr<Making>& making, const Make& make);
  std::shared_ptr<LoadedModel> find_form(const LoadedWeights& weights, const ModelEntry& entry) REQUIRES(mutex_);
  std::shared_ptr<Making> find_making(const LoadedWeights& weights, const ModelEntry& entry) REQUIRES(mutex_);
  // Somebody makes a form on them.
  bool gets_form(const LoadedWeights& weights) const REQUIRES(mutex_);
  Result<std::shared_ptr<LoadedModel>> make_form(const std::shared_ptr<LoadedWeights>& weights,
                                                 const ModelEntry& entry);
  static void drop_unused_forms(Loaded& loaded, std::list<Form>& gone);
  void take_form(const LoadedWeights& weights, const Result<std::shared_ptr<LoadedModel>>& made, std::list<Form>& gone)
      REQUIRES(mutex_);
  std::optional<Lease> lease_of(const std::shared_ptr<LoadedModel>& model, const Request::State& request);
  std::optional<Result<Lease>> lease_loaded(const Request::State& request, const Asker& asker);
  void retire_others_of(const ModelName& name, const LoadedModel* but);
  void end_lease(const LoadedModel* model, bool is_wide);

  double expires_unix_s(const Form& form) const;

  const Catalog& catalog_;
  const ManagerOptions options_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::list<Loaded> loaded_ GUARDED_BY(mutex_);
  std::list<std::shared_ptr<Making>> makings_ GUARDED_BY(mutex_);  // shared by those who wait
  std::optional<LoadingModel> loading_ GUARDED_BY(mutex_);
  double loading_since_s_ GUARDED_BY(mutex_) = 0;
  FairQueue<std::shared_ptr<Request::State>> requests_ GUARDED_BY(mutex_){SIZE_MAX};  // clients take turns
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool draining_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace spillway
