// SPDX-License-Identifier: MIT
#include "serve/model_manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/notice.h"

namespace spillway {
namespace {

// Context and buffers of a model that is not loaded yet.
constexpr uint64_t kContextGuessBytes = 512 * MiB;

double unix_now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The budget stays as it is: only a smaller context helps.
Status no_room_for_context(const Status& why) {
  if (why.code() != Code::kOutOfBudget) return why;
  return {Code::kInvalidArgument, why.message() + "; ask for a smaller num_ctx"};
}

uint64_t held_bytes(const MemoryReport& memory) { return memory.pinned_bytes + memory.pool_bytes; }

}  // namespace

LoadedModel::~LoadedModel() {
  if (scheduler != nullptr) scheduler->save_slots();
  scheduler.reset();
}

bool LoadedModel::can(const std::string& capability) const {
  return std::find(entry.capabilities.begin(), entry.capabilities.end(), capability) != entry.capabilities.end();
}

struct ModelManager::Wish::State {
  Result<ModelEntry> entry = error(Code::kInternal, "");
  std::optional<int64_t> n_ctx;
  std::optional<double> keep_alive_s;
  Mutex mutex;
  CondVar changed;
  std::optional<Result<Lease>> outcome GUARDED_BY(mutex);
  bool abandoned GUARDED_BY(mutex) = false;

  void set(Result<Lease> result) {
    const MutexLock lock(mutex);
    outcome = std::move(result);
    changed.notify_all();
  }
};

std::optional<Result<Lease>> ModelManager::Wish::wait(std::chrono::milliseconds patience) {
  const MutexLock lock(state_->mutex);
  if (!state_->outcome) state_->changed.wait_for(state_->mutex, patience);
  if (!state_->outcome) return std::nullopt;
  return std::exchange(state_->outcome, std::nullopt);
}

ModelManager::ModelManager(const Catalog& catalog, ManagerOptions options)
    : catalog_(catalog), options_(std::move(options)), thread_([this] { loop(); }) {}

ModelManager::~ModelManager() {
  stop();
  thread_.join();
  std::list<Slot> loaded;
  const MutexLock lock(mutex_);
  loaded.swap(loaded_);
}

void ModelManager::stop() {
  std::vector<std::shared_ptr<LoadedModel>> models;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    for (const Slot& slot : loaded_) models.push_back(slot.model);
  }
  for (const auto& model : models) model->scheduler->cancel_all();
}

ModelManager::Wish ModelManager::ask(const std::string& name, std::optional<int64_t> n_ctx,
                                     std::optional<double> keep_alive_s) {
  Wish wish;
  wish.manager_ = this;
  wish.state_ = std::make_shared<Wish::State>();
  Wish::State& state = *wish.state_;
  if (n_ctx && *n_ctx <= 0) n_ctx.reset();
  state.n_ctx = n_ctx;
  state.keep_alive_s = keep_alive_s;
  state.entry = catalog_.find(name);
  if (!state.entry) {
    state.set(tl::unexpected<Status>(state.entry.error()));
    return wish;
  }
  const MutexLock lock(mutex_);
  if (stopping_ || draining_) {
    state.set(error(Code::kBusy, "the server is shutting down"));
    return wish;
  }
  if (wishes_.size() >= options_.queue_max) {
    state.set(error(Code::kBusy, "server busy, please try again.  maximum pending requests exceeded"));
    return wish;
  }
  Slot* slot = find_locked(*state.entry);
  const int64_t has = slot != nullptr ? slot->model->scheduler->n_ctx() : 0;
  const auto trained = static_cast<int64_t>(state.entry->details.context_length);
  if (slot != nullptr && (!n_ctx || *n_ctx <= has || has >= trained)) {
    state.set(lease_locked(*slot, state, 0));
    return wish;
  }
  wishes_.push_back(wish.state_);
  changed_.notify_all();
  return wish;
}

ModelManager::Slot* ModelManager::find_locked(const ModelEntry& entry) {
  for (Slot& slot : loaded_) {
    if (slot.model->entry.path != entry.path || slot.model->entry.digest != entry.digest) continue;
    slot.unload = slot.unload || !slot.model->engine->check_usable();  // a worker is lost: loading anew may help
    if (!slot.unload) return &slot;
  }
  return nullptr;
}

Lease ModelManager::lease_locked(Slot& slot, const Wish::State& wish, double load_s) {
  ++slot.n_leases;
  slot.used_s = monotonic_s();
  slot.keep_alive_s = wish.keep_alive_s.value_or(options_.keep_alive_s);
  const LoadedModel* model = slot.model.get();
  return {slot.model, load_s, [this, model] { end_lease(model); }};
}

void ModelManager::end_lease(const LoadedModel* model) {
  const MutexLock lock(mutex_);
  for (Slot& slot : loaded_) {
    if (slot.model.get() != model) continue;
    --slot.n_leases;
    slot.used_s = monotonic_s();
  }
  changed_.notify_all();
}

bool ModelManager::unload(const ModelEntry& entry) {
  const MutexLock lock(mutex_);
  Slot* slot = find_locked(entry);
  if (slot == nullptr) return false;
  slot->unload = true;
  changed_.notify_all();
  return true;
}

std::optional<Residency> ModelManager::residency(const std::string& shown_name) const {
  const MutexLock lock(mutex_);
  for (const Slot& slot : loaded_)
    if (!slot.unload && slot.model->entry.name.shown() == shown_name) return slot.model->engine->residency();
  return std::nullopt;
}

std::vector<RunningModel> ModelManager::running() const {
  std::vector<RunningModel> all;
  const MutexLock lock(mutex_);
  for (const Slot& slot : loaded_) {
    if (slot.unload) continue;
    const LoadedModel& model = *slot.model;
    all.push_back(
        {.entry = model.entry,
         .placement = model.engine->placement(),
         .memory = model.engine->memory(),
         .disk = model.engine->disk(),
         .info = model.info,
         .n_ctx = model.scheduler->n_ctx(),
         .stats = model.scheduler->stats(),
         .expires_unix_s = unix_now_s() + slot.keep_alive_s - (slot.n_leases > 0 ? 0 : monotonic_s() - slot.used_s)});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.expires_unix_s > b.expires_unix_s; });
  return all;
}

bool ModelManager::drain(std::chrono::milliseconds patience) {
  const double deadline_s = monotonic_s() + std::chrono::duration<double>(patience).count();
  const MutexLock lock(mutex_);
  draining_ = true;
  const auto in_use = [this]() REQUIRES(mutex_) {
    return !wishes_.empty() ||
           std::any_of(loaded_.begin(), loaded_.end(), [](const Slot& slot) { return slot.n_leases > 0; });
  };
  while (in_use()) {
    const double left_s = deadline_s - monotonic_s();
    if (left_s <= 0) return false;
    changed_.wait_for(mutex_, std::chrono::milliseconds(static_cast<int64_t>(left_s * 1000) + 1));
  }
  return true;
}

// ---- the manager's own thread

void ModelManager::loop() {
  for (;;) {
    std::shared_ptr<Wish::State> wish;
    {
      const MutexLock lock(mutex_);
      if (stopping_) break;
      if (!wishes_.empty()) {
        wish = wishes_.front();
        wishes_.pop_front();
      } else {
        changed_.wait_for(mutex_, std::chrono::milliseconds(250));
      }
    }
    unload_expired();
    if (wish != nullptr) grant(wish);
  }
  std::list<std::shared_ptr<Wish::State>> wishes;
  {
    const MutexLock lock(mutex_);
    wishes.swap(wishes_);
  }
  for (const auto& wish : wishes) wish->set(error(Code::kBusy, "the server is shutting down"));
}

void ModelManager::unload_expired() {
  std::list<Slot> gone;
  {
    const MutexLock lock(mutex_);
    for (auto slot = loaded_.begin(); slot != loaded_.end();) {
      const auto next = std::next(slot);
      const bool expired = slot->unload || monotonic_s() - slot->used_s >= slot->keep_alive_s;
      if (slot->n_leases == 0 && expired) gone.splice(gone.end(), loaded_, slot);
      slot = next;
    }
  }
  for (const Slot& slot : gone) options_.log(fmt::format("unloading {}", slot.model->entry.name.shown()));
  gone.clear();  // here, without the lock: engines end
}

// Idle models go, the longest unused first, until the new one fits. false: nothing more can go.
bool ModelManager::make_room_for(const ModelEntry& entry, bool must) {
  std::list<Slot> gone;
  {
    const MutexLock lock(mutex_);
    uint64_t used_bytes = 0, budget_bytes = options_.load.ram_bytes;
    for (const Slot& slot : loaded_) {
      const MemoryReport memory = slot.model->engine->memory();
      used_bytes += held_bytes(memory);
      if (budget_bytes == 0) budget_bytes = memory.budget_bytes;
    }
    const bool fits = used_bytes + entry.size_bytes + kContextGuessBytes <= budget_bytes;
    if (loaded_.empty() || (!must && fits && loaded_.size() < options_.models_max)) return false;
    auto oldest = loaded_.end();
    for (auto slot = loaded_.begin(); slot != loaded_.end(); ++slot)
      if (slot->n_leases == 0 && (oldest == loaded_.end() || slot->used_s < oldest->used_s)) oldest = slot;
    if (oldest == loaded_.end()) return false;
    gone.splice(gone.end(), loaded_, oldest);
  }
  options_.log(fmt::format("unloading {} to make room", gone.front().model->entry.name.shown()));
  return true;
}

// Whose fault it is that a model has no room: that of models in use, which end; of the context that was asked for; or
// nobody's who asks, since the budget is too small for this model.
Status ModelManager::why_no_room(const Status& why, bool asked_for_more) const {
  if (why.code() != Code::kOutOfBudget) return why;
  std::string in_use;
  {
    const MutexLock lock(mutex_);
    for (const Slot& slot : loaded_) in_use += (in_use.empty() ? "" : ", ") + slot.model->entry.name.shown();
  }
  if (!in_use.empty())
    return {Code::kBusy, fmt::format("{} (in use now, and not to be unloaded: {}; try again)", why.message(), in_use)};
  return asked_for_more ? no_room_for_context(why) : why;
}

uint32_t ModelManager::context_for(const ModelEntry& entry, const ModelExtras& extras,
                                   std::optional<int64_t> n_ctx) const {
  int64_t n = options_.n_ctx;
  if (const auto own = extras.parameters.find("num_ctx"); own != extras.parameters.end() && own->is_number_integer())
    n = own->get<int64_t>();
  if (n_ctx) n = std::max(n, *n_ctx);  // who asks for less does not take it from those who come after
  const auto trained = static_cast<int64_t>(entry.details.context_length);
  if (trained > 0) n = std::min(n, trained);
  return static_cast<uint32_t>(std::clamp<int64_t>(n, 4, 1 << 24));
}

void ModelManager::grant(const std::shared_ptr<Wish::State>& wish) {
  const ModelEntry& entry = *wish->entry;
  const Stopwatch watch;
  std::shared_ptr<LoadedModel> model;
  Lease held;
  {
    const MutexLock lock(mutex_);
    if (Slot* slot = find_locked(entry); slot != nullptr) {
      held = lease_locked(*slot, *wish, 0);
      model = slot->model;
    }
  }
  if (model != nullptr) {
    const uint32_t n_ctx = context_for(entry, model->extras, wish->n_ctx);
    if (wish->n_ctx && n_ctx > model->scheduler->n_ctx()) {
      if (auto resized = model->scheduler->resize_context(n_ctx); !resized)
        return wish->set(tl::unexpected<Status>(no_room_for_context(resized.error())));
      options_.log(fmt::format("{}: context of {} tokens", entry.name.shown(), n_ctx));
    }
    return wish->set(std::move(held));
  }
  while (make_room_for(entry, false)) {
  }
  const auto extras = catalog_.extras(entry.name.shown());
  if (!extras) return wish->set(tl::unexpected<Status>(extras.error()));
  const uint32_t n_ctx = context_for(entry, *extras, wish->n_ctx);
  auto loaded = load(entry, n_ctx);
  while (!loaded && loaded.error().code() == Code::kOutOfBudget && make_room_for(entry, true))
    loaded = load(entry, n_ctx);
  if (!loaded)
    return wish->set(
        tl::unexpected<Status>(why_no_room(loaded.error(), n_ctx > context_for(entry, *extras, std::nullopt))));
  const MutexLock lock(mutex_);
  loaded_.push_back({.model = *loaded, .used_s = monotonic_s()});
  wish->set(lease_locked(loaded_.back(), *wish, watch.elapsed_s()));
}

Result<std::shared_ptr<LoadedModel>> ModelManager::load(const ModelEntry& entry, uint32_t n_ctx) {
  options_.log(fmt::format("loading {}", entry.name.shown()));
  const Stopwatch watch;
  auto model = std::make_shared<LoadedModel>();
  model->entry = entry;
  ASSIGN_OR_RETURN(model->extras, catalog_.extras(entry.name.shown()));
  LoadOptions load = options_.load;
  load.path = entry.path;
  load.n_ctx = n_ctx;
  load.reserve_bytes = options_.cache_memory_bytes;
  load.n_seq_max = std::max(options_.n_parallel, 1u);
  load.shared_context = false;
  load.progress = [this](double) {
    const MutexLock lock(mutex_);
    return !stopping_;
  };
  ASSIGN_OR_RETURN(model->engine, options_.load_engine(load));
  model->info = model->engine->model();
  const ModelInfo& info = model->info;
  const std::string text = model->extras.template_is_jinja ? model->extras.template_text : info.chat_template;
  if (!text.empty()) {
    auto opened =
        ChatTemplate::open({.text = text, .bos_token = info.bos_token, .eos_token = info.eos_token, .limits = {}});
    if (opened)
      model->chat_template = std::move(*opened);
    else
      notice(fmt::format("{}: its chat template cannot be used ({}); libllama's own is", entry.name.shown(),
                         opened.error().message()));
  }
  model->prompt_cache = PromptCache::open({.model_key = entry.digest + " " + info.library,
                                           .memory_bytes_max = options_.cache_memory_bytes,
                                           .folder = options_.cache_folder,
                                           .disk_bytes_max = options_.cache_disk_bytes});
  model->scheduler = Scheduler::start(
      *model->engine,
      {.n_slots = load.n_seq_max, .queue_max = options_.queue_max, .prompt_cache = model->prompt_cache.get()});
  model->load_s = watch.elapsed_s();
  options_.log(
      fmt::format("loaded {} in {:.1f} s: {}", entry.name.shown(), model->load_s, model->engine->placement().why));
  return model;
}

}  // namespace spillway
