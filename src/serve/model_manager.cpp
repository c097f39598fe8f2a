// SPDX-License-Identifier: MIT
#include "serve/model_manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/notice.h"
#include "engine/load_budget.h"
#include "model/modelfile.h"
#include "serve/last_words.h"
#include "serve/template_check.h"

namespace spillway {
namespace {

// Context and buffers of a model that is not loaded yet.
constexpr uint64_t kContextGuessBytes = 512 * MiB;
// Tokens of one pass whose probabilities can be told: a prompt that is scored takes a pass for so many. Of a vocabulary
// of 262,144 each takes 2 MiB.
constexpr uint32_t kOutputsOfAPass = 16;

// Nobody's context has more.
constexpr int64_t kContextMax = 1 << 24;
// No load chooses less (plan/context_choice.h): who asked for more may have asked for too much.
constexpr int64_t kContextChosenMin = 4096;

// What a library throws, above all for want of memory, is the outcome of one request.
template <typename Work>
auto caught(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return error(Code::kOutOfBudget, "there is no memory left for it");
  } catch (const std::exception& e) {
    return error(Code::kInternal, e.what());
  }
}

// Throws nothing.
Failure in_short(const std::exception& e) {
  try {
    return error(Code::kInternal, e.what());
  } catch (const std::bad_alloc&) {
    return error(Code::kOutOfBudget, "no memory");
  }
}

// So long a model that was made for a request waits for that one to take it.
constexpr double kFormGrace_s = 10;

double unix_now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Tokens of context for a request that asks for so many, or names none (nullopt) where `n_default` is what there is
// then: one that asks for less does not take it from those that come after. At most what the model was trained for.
uint32_t context_for(const ModelEntry& entry, int64_t n_default, std::optional<int64_t> n_asked) {
  int64_t n = n_asked ? std::max(n_default, *n_asked) : n_default;
  const auto trained = static_cast<int64_t>(entry.details.context_length);
  if (trained > 0) n = std::min(n, trained);
  return static_cast<uint32_t>(std::clamp<int64_t>(n, kContextMin, kContextMax));
}

// What a load chose; or has, where it was told.
int64_t chosen_context(const ModelInfo& info) { return info.n_ctx_default > 0 ? info.n_ctx_default : info.n_ctx; }

std::string context_words(const ModelInfo& info) {
  const std::string why = info.n_ctx_why.empty() ? "" : fmt::format(" ({})", info.n_ctx_why);
  return fmt::format("a context of {} tokens{}", info.n_ctx, why);
}

// The budget stays as it is: only a smaller context helps.
Status no_room_for_context(const Status& why) {
  if (why.code() != Code::kOutOfBudget) return why;
  return {Code::kInvalidArgument, why.message() + "; ask for a smaller num_ctx"};
}

uint64_t held_bytes(const MemoryReport& memory) { return memory.pinned_bytes + memory.pool_bytes; }

// How a model chats, where that is not what its author would expect.
std::string sentence_of(const ModelEntry& entry, const Result<ChatForm>& form) {
  if (!form) return fmt::format("{} cannot chat: {}", entry.name.shown(), form.error().message());
  if (form->unusable.empty() && !form->completes) return "";
  return fmt::format("{}{}{} chats {}", fmt::join(form->unusable, "; "), form->unusable.empty() ? "" : "; ",
                     entry.name.shown(), form->why);
}

}  // namespace

bool ModelManager::Loaded::in_use() const {
  return std::any_of(forms.begin(), forms.end(), [](const Form& form) { return form.n_leases > 0; });
}

double ModelManager::Loaded::used_s() const {
  double last_s = 0;
  for (const Form& form : forms) last_s = std::max(last_s, form.used_s);
  return last_s;
}

struct ModelManager::Request::State {
  Result<ModelEntry> entry = error(Code::kInternal, "");
  std::optional<int64_t> n_ctx;
  std::optional<double> keep_alive_s;
  std::string client;
  bool was_looked_up_again = false;
  Mutex mutex;
  CondVar changed;
  std::optional<Result<Lease>> outcome GUARDED_BY(mutex);
  // Made when there was memory for it: what is told where there is none to say more.
  Result<Lease> no_memory = error(Code::kOutOfBudget, "there is no memory left for it");

  void set(Result<Lease> result) {
    const MutexLock lock(mutex);
    outcome = std::move(result);
    changed.notify_all();
  }
};

std::optional<Result<Lease>> ModelManager::Request::wait(std::chrono::milliseconds patience) {
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
  std::list<Loaded> loaded;
  const MutexLock lock(mutex_);
  loaded.swap(loaded_);
}

void ModelManager::stop() {
  std::vector<std::shared_ptr<LoadedWeights>> all;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    for (const Loaded& loaded : loaded_) all.push_back(loaded.weights);
  }
  for (const auto& weights : all) weights->scheduler->cancel_all();
}

bool ModelManager::is_adapted(const ModelEntry& entry) const {
  const std::vector<std::string>& names = options_.adapted_models;
  return std::find(names.begin(), names.end(), entry.name.shown()) != names.end();
}

bool ModelManager::is_projected(const ModelEntry& entry) const {
  const std::vector<std::string>& names = options_.projected_models;
  return std::find(names.begin(), names.end(), entry.name.shown()) != names.end();
}

std::string ModelManager::projector_of(const ModelEntry& entry) const {
  if (options_.no_projectors) return "";
  return is_projected(entry) ? options_.projector_path : entry.projector_path;
}

std::vector<LoraAdapter> ModelManager::adapters_of(const ModelEntry& entry) const {
  if (is_adapted(entry)) return options_.adapters;
  std::vector<LoraAdapter> adapters;
  for (const std::string& path : entry.adapter_paths) adapters.push_back({.path = path});
  return adapters;
}

Result<ModelEntry> ModelManager::entry_of(const std::string& name) const {
  ASSIGN_OR_RETURN(ModelEntry entry, catalog_.find(name));
  if (is_adapted(entry)) entry.weights += " with adapters";  // others of the same files
  if (is_projected(entry)) entry.weights += " with a projector";
  return entry;
}

ModelManager::Request ModelManager::ask(const std::string& name, std::optional<int64_t> n_ctx,
                                        std::optional<double> keep_alive_s, const Asker& asker) {
  Request request;
  request.state_ = std::make_shared<Request::State>();
  Request::State& state = *request.state_;
  if (n_ctx && *n_ctx <= 0) n_ctx.reset();
  state.n_ctx = n_ctx;
  state.keep_alive_s = keep_alive_s;
  state.client = asker.client;
  state.entry = entry_of(name);
  if (!state.entry) {
    state.set(Failure(state.entry.error()));
    return request;
  }
  const auto closed = [this]() REQUIRES(mutex_) { return stopping_ || draining_; };
  const Status closing(Code::kBusy, "the server is shutting down");
  {
    const MutexLock lock(mutex_);
    if (closed()) {
      state.set(Failure(closing));
      return request;
    }
  }
  if (auto lease = lease_loaded(state, asker)) {
    state.set(std::move(*lease));
    return request;
  }
  const MutexLock lock(mutex_);
  forget_abandoned();
  if (closed()) {
    state.set(Failure(closing));
  } else if (requests_.size() >= options_.queue_max) {
    state.set(error(Code::kBusy, "server busy, please try again.  maximum pending requests exceeded"));
  } else {
    requests_.push(asker.client, request.state_);
    changed_.notify_all();
  }
  return request;
}

// Nothing is loaded for those who went away: only the queue, or our own thread, knows their request.
bool ModelManager::is_wanted(const std::shared_ptr<Request::State>& request) { return request.use_count() > 1; }

void ModelManager::forget_abandoned() {
  requests_.remove_if([](const std::shared_ptr<Request::State>& request) { return !is_wanted(request); },
                      [](const std::shared_ptr<Request::State>&) {});
}

// ---- what is loaded

// Weights that are loaded and can be used. Those whose worker is lost or whose file is another one by now are given up:
// loading anew helps.
std::shared_ptr<LoadedWeights> ModelManager::usable_weights(const ModelEntry& entry) {
  std::shared_ptr<LoadedWeights> weights;
  {
    const MutexLock lock(mutex_);
    for (const Loaded& loaded : loaded_)
      if (!loaded.retired && loaded.weights->key == entry.weights) weights = loaded.weights;
  }
  if (weights == nullptr) return nullptr;
  auto usable = weights->engine->check_usable();
  if (usable) usable = weights->engine->check_in_place();
  if (usable) return weights;
  options_.log(fmt::format("{} has to be loaded anew: {}", entry.name.shown(), usable.error().message()));
  const MutexLock lock(mutex_);
  for (Loaded& loaded : loaded_) loaded.retired = loaded.retired || loaded.weights == weights;
  changed_.notify_all();
  return nullptr;
}

// The model as it is now, on weights that are loaded. One request makes it: what its template does may take seconds to
// find out, in a process. The others wait for what becomes of it, and one of them makes it where that one left.
Result<std::shared_ptr<LoadedModel>> ModelManager::model_on(const std::shared_ptr<LoadedWeights>& weights,
                                                            const ModelEntry& entry, const Asker& asker) {
  const auto making = std::make_shared<Making>(Making{.weights = weights.get(), .entry = entry});
  for (;;) {
    std::shared_ptr<Making> others;
    {
      const MutexLock lock(mutex_);
      if (auto model = find_form(*weights, entry)) return model;
      others = find_making(*weights, entry);
      if (others == nullptr) {
        makings_.push_back(making);
        break;
      }
    }
    auto theirs = made_by_another(*others, asker);
    const bool they_left = !theirs && theirs.error().code() == Code::kCancelled;
    if (!they_left || asker.has_left()) return theirs;
  }
  return finish_making(making, [&]() -> Result<std::shared_ptr<LoadedModel>> {
    // Processes of templates take processors from whoever computes: a few at a time, and clients take turns.
    ASSIGN_OR_RETURN(const auto place, place_for_template(asker));
    return make_form(weights, entry);
  });
}

//   Cancelled   who made it left, or who waits
Result<std::shared_ptr<LoadedModel>> ModelManager::made_by_another(const Making& making, const Asker& asker) {
  constexpr std::chrono::milliseconds kLook{250};  // how long somebody who left may go unnoticed
  for (;;) {
    {
      const MutexLock lock(mutex_);
      if (!making.outcome) changed_.wait_for(mutex_, kLook);
      if (making.outcome) return *making.outcome;
      if (stopping_) return error(Code::kBusy, "the server is shutting down");
    }
    if (asker.has_left()) return error(Code::kCancelled, "the client went away");
  }
}

// The same on our own thread, which waits for nobody: where another makes it, the request comes again when that is done
// (nullopt).
std::optional<Result<std::shared_ptr<LoadedModel>>> ModelManager::model_for(
    const std::shared_ptr<LoadedWeights>& weights, const std::shared_ptr<Request::State>& request) {
  const ModelEntry& entry = *request->entry;
  const auto making = std::make_shared<Making>(Making{.weights = weights.get(), .entry = entry});
  {
    const MutexLock lock(mutex_);
    if (auto model = find_form(*weights, entry)) return model;
    if (const auto others = find_making(*weights, entry)) {
      others->requests.push_back(request);
      return std::nullopt;
    }
    makings_.push_back(making);
  }
  return finish_making(making, [&] { return make_form(weights, entry); });
}

template <typename Make>
Result<std::shared_ptr<LoadedModel>> ModelManager::finish_making(const std::shared_ptr<Making>& making,
                                                                 const Make& make) {
  Result<std::shared_ptr<LoadedModel>> made = error(Code::kOutOfBudget, "no memory");  // not even for more words
  try {
    made = error(Code::kOutOfBudget, "there is no memory left for it");
    made = make();
  } catch (const std::bad_alloc&) {
    // As it was.
  } catch (const std::exception& e) {
    made = in_short(e);
  }
  std::list<Form> gone;  // ends without the lock: processes do
  const MutexLock lock(mutex_);
  makings_.remove(making);
  making->outcome = std::move(made);
  for (auto& request : std::exchange(making->requests, {})) {
    if (stopping_)
      request->set(error(Code::kBusy, "the server is shutting down"));
    else if (is_wanted(request))
      requests_.push(request->client, request);
  }
  changed_.notify_all();
  take_form(*making->weights, *making->outcome, gone);
  return *making->outcome;
}

// Names of one model are as many as somebody makes copies, each with what comes with it.
void ModelManager::drop_unused_forms(Loaded& loaded, std::list<Form>& gone) {
  constexpr size_t kFormsMax = 16;
  while (loaded.forms.size() > kFormsMax) {
    const auto newest = std::prev(loaded.forms.end());  // nobody has a lease yet
    auto oldest = newest;
    for (auto form = loaded.forms.begin(); form != newest; ++form)
      if (form->n_leases == 0 && (oldest == newest || form->used_s < oldest->used_s)) oldest = form;
    if (oldest == newest) return;
    gone.splice(gone.end(), loaded.forms, oldest);
  }
}

// Weights without a form go, but not before who was told to try again could, or others who want them, too.
void ModelManager::take_form(const LoadedWeights& weights, const Result<std::shared_ptr<LoadedModel>>& made,
                             std::list<Form>& gone) {
  for (Loaded& loaded : loaded_) {
    if (loaded.weights.get() != &weights) continue;
    if (made) {
      loaded.forms.push_back({.model = *made, .used_s = monotonic_s(), .keep_alive_s = kFormGrace_s});
      drop_unused_forms(loaded, gone);
    } else if (made.error().code() == Code::kBusy || made.error().code() == Code::kCancelled) {
      loaded.kept_until_s = monotonic_s() + kFormGrace_s;
    }
  }
}

std::shared_ptr<LoadedModel> ModelManager::find_form(const LoadedWeights& weights, const ModelEntry& entry) {
  for (const Loaded& loaded : loaded_)
    for (const Form& form : loaded.forms)
      if (loaded.weights.get() == &weights && !form.retired && form.model->entry.digest == entry.digest &&
          same_name(form.model->entry.name, entry.name))
        return form.model;
  return nullptr;
}

bool ModelManager::gets_form(const LoadedWeights& weights) const {
  return std::any_of(makings_.begin(), makings_.end(), [&](const auto& making) { return making->weights == &weights; });
}

std::shared_ptr<ModelManager::Making> ModelManager::find_making(const LoadedWeights& weights, const ModelEntry& entry) {
  for (const auto& making : makings_)
    if (making->weights == &weights && making->entry.digest == entry.digest &&
        same_name(making->entry.name, entry.name))
      return making;
  return nullptr;
}

Result<std::shared_ptr<LoadedModel>> ModelManager::make_form(const std::shared_ptr<LoadedWeights>& weights,
                                                             const ModelEntry& entry) {
  ASSIGN_OR_RETURN(ModelExtras extras, catalog_.extras(entry.name.shown()));
  const uint32_t n_ctx =
      context_for(entry, context_named(extras).value_or(chosen_context(weights->info)), std::nullopt);
  auto made = std::make_shared<LoadedModel>(entry, std::move(extras), weights, n_ctx);
  // That passes, and is not kept as what the model is.
  if (!made->form && made->form.error().code() == Code::kBusy) return Failure(made->form.error());
  if (const std::string sentence = sentence_of(entry, made->form); !sentence.empty()) options_.log(sentence);
  return made;
}

// None where it is not loaded any more, or its context is being made smaller.
std::optional<Lease> ModelManager::lease_of(const std::shared_ptr<LoadedModel>& model, const Request::State& request) {
  const MutexLock lock(mutex_);
  for (Loaded& loaded : loaded_)
    for (Form& form : loaded.forms) {
      if (form.model != model || form.retired || loaded.retired || loaded.is_narrowed) continue;
      ++form.n_leases;
      form.used_s = monotonic_s();
      form.keep_alive_s = request.keep_alive_s.value_or(options_.keep_alive_s);
      const bool is_wide = request.n_ctx.value_or(0) > model->n_ctx_default;
      if (is_wide) loaded.wide_used_s = form.used_s;
      return Lease(model, [this, key = model.get(), is_wide] { end_lease(key, is_wide); });
    }
  return std::nullopt;
}

// Of a model whose weights are loaded with as much context as is wanted.
std::optional<Result<Lease>> ModelManager::lease_loaded(const Request::State& request, const Asker& asker) {
  const ModelEntry& entry = *request.entry;
  const auto weights = usable_weights(entry);
  if (weights == nullptr) return std::nullopt;
  const auto model = model_on(weights, entry, asker);
  if (!model) return Failure(model.error());
  if (context_wanted(**model, request.n_ctx) > weights->scheduler->n_ctx()) return std::nullopt;
  retire_others_of(entry.name, model->get());
  auto lease = lease_of(*model, request);
  if (!lease) return std::nullopt;
  return std::move(*lease);
}

// A name means one model: what it meant before ends with those who still use it.
void ModelManager::retire_others_of(const ModelName& name, const LoadedModel* but) {
  const MutexLock lock(mutex_);
  for (Loaded& loaded : loaded_)
    for (Form& form : loaded.forms)
      form.retired = form.retired || (form.model.get() != but && same_name(form.model->entry.name, name));
  changed_.notify_all();
}

void ModelManager::end_lease(const LoadedModel* model, bool is_wide) {
  const MutexLock lock(mutex_);
  for (Loaded& loaded : loaded_)
    for (Form& form : loaded.forms) {
      if (form.model.get() != model) continue;
      --form.n_leases;
      form.used_s = monotonic_s();
      if (is_wide) loaded.wide_used_s = form.used_s;
    }
  changed_.notify_all();
}

bool ModelManager::unload(const ModelName& name) {
  bool any = false;
  const MutexLock lock(mutex_);
  for (Loaded& loaded : loaded_)
    for (Form& form : loaded.forms) {
      if (form.retired || !same_name(form.model->entry.name, name)) continue;
      form.retired = any = true;
    }
  changed_.notify_all();
  return any;
}

std::optional<Residency> ModelManager::residency(const std::string& shown_name) const {
  std::shared_ptr<LoadedWeights> weights;
  {
    const MutexLock lock(mutex_);
    for (const Loaded& loaded : loaded_)
      for (const Form& form : loaded.forms)
        if (!loaded.retired && !form.retired && form.model->entry.name.shown() == shown_name) weights = loaded.weights;
  }
  // What the page cache holds is asked of the system: without the lock.
  if (weights == nullptr) return std::nullopt;
  return weights->engine->residency();
}

double ModelManager::expires_unix_s(const Form& form) const {
  return unix_now_s() + form.keep_alive_s - (form.n_leases > 0 ? 0 : monotonic_s() - form.used_s);
}

std::vector<RunningModel> ModelManager::running() const {
  std::vector<RunningModel> all;
  const auto last = [](const RunningModel& model) {
    double expires_unix_s = 0;
    for (const ServedName& name : model.names) expires_unix_s = std::max(expires_unix_s, name.expires_unix_s);
    return expires_unix_s;
  };
  std::vector<std::shared_ptr<LoadedWeights>> engines;
  {
    const MutexLock lock(mutex_);
    for (const Loaded& loaded : loaded_) {
      std::vector<ServedName> names;
      for (const Form& form : loaded.forms)
        if (!loaded.retired && !form.retired) names.push_back({form.model->entry, expires_unix_s(form)});
      if (names.empty()) continue;
      const LoadedWeights& weights = *loaded.weights;
      const ModelEntry first = names.front().entry;
      engines.push_back(loaded.weights);
      all.push_back({.entry = first,
                     .names = std::move(names),
                     .placement = weights.engine->placement(),
                     .memory = weights.engine->memory(),
                     .disk = weights.engine->disk(),
                     .info = weights.info,
                     .n_ctx = weights.scheduler->n_ctx(),
                     .stats = weights.scheduler->stats(),
                     .page_cache_bytes = {}});
    }
  }
  // Takes milliseconds: without the lock.
  for (size_t i = 0; i < all.size(); ++i) all[i].page_cache_bytes = engines[i]->engine->page_cache_bytes();
  std::sort(all.begin(), all.end(), [&](const auto& x, const auto& y) { return last(x) > last(y); });
  return all;
}

LoadQueue ModelManager::load_queue() const {
  const MutexLock lock(mutex_);
  LoadQueue queue{.loading = loading_, .waiting = requests_.size()};
  if (queue.loading) queue.loading->elapsed_s = monotonic_s() - loading_since_s_;
  return queue;
}

bool ModelManager::drain(std::chrono::milliseconds patience) {
  const MutexLock lock(mutex_);
  draining_ = true;
  return changed_.wait_for(mutex_, patience, [this]() REQUIRES(mutex_) {
    return requests_.empty() && !loading_ && makings_.empty() &&
           std::none_of(loaded_.begin(), loaded_.end(), [](const Loaded& loaded) { return loaded.in_use(); });
  });
}

// ---- the manager's own thread

void ModelManager::loop() {
  for (;;) {
    std::shared_ptr<Request::State> request;
    {
      const MutexLock lock(mutex_);
      if (stopping_) break;
      forget_abandoned();
      request = requests_.pop().value_or(nullptr);
      if (request == nullptr) changed_.wait_for(mutex_, std::chrono::milliseconds(250));
    }
    serve_next(request);
  }
  for (;;) {
    std::shared_ptr<Request::State> request;
    {
      const MutexLock lock(mutex_);
      request = requests_.pop().value_or(nullptr);
    }
    if (request == nullptr) break;
    request->set(error(Code::kBusy, "the server is shutting down"));
  }
}

// Throws nothing: the thread would end the process.
void ModelManager::serve_next(const std::shared_ptr<Request::State>& request) {
  try {
    const auto done = caught([&]() -> Result<void> {
      unload_expired();
      if (request != nullptr)
        grant(request);
      else
        narrow_contexts();
      return {};
    });
    if (done) return;
    if (request != nullptr) request->set(Failure(done.error()));
    notice_if_possible("what was to be done with models failed", done.error().message().c_str());
  } catch (const std::exception& e) {
    // While that was told, too. Who waits is told by what is there already.
    notice_if_possible("what was to be done with models failed", e.what());
    if (request != nullptr) request->set(std::move(request->no_memory));
  }
}

void ModelManager::unload_expired() {
  std::list<Loaded> gone;
  std::list<Form> gone_forms;  // each ends a process
  {
    const MutexLock lock(mutex_);
    for (auto loaded = loaded_.begin(); loaded != loaded_.end();) {
      const auto next = std::next(loaded);
      for (auto form = loaded->forms.begin(); form != loaded->forms.end();) {
        const auto next_form = std::next(form);
        const bool expired = monotonic_s() - form->used_s >= form->keep_alive_s;
        if (form->n_leases == 0 && (form->retired || loaded->retired || expired))
          gone_forms.splice(gone_forms.end(), loaded->forms, form);
        form = next_form;
      }
      if (loaded->forms.empty() && monotonic_s() >= loaded->kept_until_s && !gets_form(*loaded->weights))
        gone.splice(gone.end(), loaded_, loaded);
      loaded = next;
    }
  }
  for (const Loaded& loaded : gone) options_.log(fmt::format("unloading {}", loaded.name));
  gone_forms.clear();  // here, without the lock: processes end, and engines
  gone.clear();
}

// What was made for somebody who is gone is memory that weights, conversations and other models may have.
void ModelManager::narrow_contexts() {
  std::shared_ptr<LoadedWeights> weights;
  std::string name;
  uint32_t n_ctx = 0;
  const auto idle_and_wide = [&](const Loaded& loaded) REQUIRES(mutex_) {
    n_ctx = 0;
    for (const Form& form : loaded.forms)
      if (!form.retired) n_ctx = std::max(n_ctx, form.model->n_ctx_default);
    return !loaded.retired && !loaded.in_use() && n_ctx > 0 && loaded.weights->scheduler->n_ctx() > n_ctx &&
           monotonic_s() - loaded.wide_used_s >= options_.wide_context_kept_s;
  };
  {
    const MutexLock lock(mutex_);
    const auto loaded = std::find_if(loaded_.begin(), loaded_.end(), idle_and_wide);
    if (loaded == loaded_.end()) return;
    loaded->is_narrowed = true;
    weights = loaded->weights;
    name = loaded->name;
  }
  const auto narrowed = weights->scheduler->resize_context(n_ctx);
  {
    const MutexLock lock(mutex_);
    for (Loaded& loaded : loaded_)
      if (loaded.weights == weights) {
        loaded.is_narrowed = false;
        loaded.wide_used_s = monotonic_s();  // if it did not work, not again at once
      }
  }
  if (narrowed)
    options_.log(fmt::format("{}: context of {} tokens again", name, n_ctx));
  else
    notice(fmt::format("{}: {}", name, narrowed.error().message()));
}

// Idle models go, the longest unused first, until the new one fits. false: nothing more can go.
bool ModelManager::make_room_for(const ModelEntry& entry, bool must) {
  std::list<Loaded> gone;
  {
    const MutexLock lock(mutex_);
    uint64_t used_bytes = 0, budget_bytes = options_.load.ram_bytes;
    for (const Loaded& loaded : loaded_) {
      const MemoryReport memory = loaded.weights->engine->memory();
      used_bytes += held_bytes(memory);
      if (budget_bytes == 0) budget_bytes = memory.budget_bytes;
    }
    const bool fits = used_bytes + entry.size_bytes + kContextGuessBytes <= budget_bytes;
    if (loaded_.empty() || (!must && fits && loaded_.size() < options_.models_max)) return false;
    auto oldest = loaded_.end();
    for (auto loaded = loaded_.begin(); loaded != loaded_.end(); ++loaded)
      if (!loaded->in_use() && !gets_form(*loaded->weights) &&
          (oldest == loaded_.end() || loaded->used_s() < oldest->used_s()))
        oldest = loaded;
    if (oldest == loaded_.end()) return false;
    gone.splice(gone.end(), loaded_, oldest);
  }
  options_.log(fmt::format("unloading {} to make room", gone.front().name));
  return true;
}

// Whose fault it is that a model has no room: that of models in use, which end; of the context that was asked for; or
// nobody's who asks, since the budget is too small for this model.
Status ModelManager::why_no_room(const Status& why, bool asked_for_more) const {
  if (why.code() != Code::kOutOfBudget) return why;
  std::string in_use;
  {
    const MutexLock lock(mutex_);
    for (const Loaded& loaded : loaded_)
      if (loaded.in_use()) in_use += (in_use.empty() ? "" : ", ") + loaded.name;
  }
  if (!in_use.empty())
    return {Code::kBusy, fmt::format("{} (in use now, and not to be unloaded: {}; try again)", why.message(), in_use)};
  return asked_for_more ? no_room_for_context(why) : why;
}

// The model's own word counts before the server's.
std::optional<int64_t> ModelManager::context_named(const ModelExtras& extras) const {
  if (const auto own = extras.parameters.find("num_ctx"); own != extras.parameters.end() && own->is_number_integer())
    return own->get<int64_t>();
  return options_.n_ctx > 0 ? std::optional<int64_t>(options_.n_ctx) : std::nullopt;
}

// What a model that is loaded already has to have for a request: nothing where neither it nor the model says anything.
uint32_t ModelManager::context_wanted(const LoadedModel& model, std::optional<int64_t> n_ctx) const {
  if (!n_ctx && !model.extras.parameters.contains("num_ctx")) return 0;
  return context_for(model.entry, model.n_ctx_default, n_ctx);
}

void ModelManager::grant(const std::shared_ptr<Request::State>& request) {
  const ModelEntry& entry = *request->entry;
  auto weights = usable_weights(entry);
  const bool was_loaded = weights != nullptr;
  if (!was_loaded) {
    retire_others_of(entry.name, nullptr);
    unload_expired();
    auto loaded = load_with_room(entry, request->n_ctx);
    if (!loaded) return grant_as_it_is_now(request, loaded.error());
    weights = std::move(*loaded);
    const MutexLock lock(mutex_);
    loaded_.push_back({.name = entry.name.shown(), .weights = weights});
  }
  const auto made = model_for(weights, request);
  if (!made) return;
  const auto& model = *made;
  if (!model) return request->set(Failure(model.error()));
  retire_others_of(entry.name, model->get());
  auto lease = lease_of(*model, *request);
  if (!lease) return grant(request);  // it was given up this very moment
  const uint32_t n_ctx = context_wanted(**model, request->n_ctx);
  if (was_loaded && n_ctx > weights->scheduler->n_ctx()) {
    if (auto resized = weights->scheduler->resize_context(n_ctx); !resized)
      return request->set(Failure(no_room_for_context(resized.error())));
    options_.log(fmt::format("{}: context of {} tokens", entry.name.shown(), n_ctx));
  }
  request->set(std::move(*lease));
}

// What was made anew or removed while it was loaded is what it is now. Once: who makes it anew all the time waits for
// himself.
void ModelManager::grant_as_it_is_now(const std::shared_ptr<Request::State>& request, const Status& why) {
  const bool is_second_time = std::exchange(request->was_looked_up_again, true);
  const ModelEntry& before = *request->entry;
  auto now = entry_of(before.name.shown());
  if (!now && now.error().code() == Code::kNotFound) return request->set(Failure(now.error()));
  const bool is_another =
      now && (now->digest != before.digest || now->path != before.path || why.code() == Code::kChanged);
  if (is_second_time || !is_another) return request->set(Failure(why));
  request->entry = std::move(now);
  grant(request);
}

Result<std::shared_ptr<LoadedWeights>> ModelManager::load_with_room(const ModelEntry& entry,
                                                                    std::optional<int64_t> n_ctx_asked) {
  ASSIGN_OR_RETURN(const ModelExtras extras, catalog_.extras(entry.name.shown()));
  const auto named = context_named(extras);
  ContextToLoad context;
  if (named) context.n_ctx = context_for(entry, *named, n_ctx_asked);
  if (n_ctx_asked) context.n_ctx_min = context_for(entry, 0, n_ctx_asked);
  const auto refused = [&](const Status& why) {
    options_.log(fmt::format("{} could not be loaded: {}", entry.name.shown(), why.message()));
    const int64_t n_least = context_for(entry, named.value_or(kContextChosenMin), std::nullopt);
    return Failure(in_words_of_clients(why_no_room(why, context.n_ctx_min > n_least), entry));
  };
  // Who cannot be helped by it unloads nobody.
  if (const auto room = check_room(entry, context); !room) return refused(room.error());
  while (make_room_for(entry, false)) {
  }
  const uint64_t bytes = std::min(entry.size_bytes, budget_bytes_for(options_.load.ram_bytes));
  {
    const MutexLock lock(mutex_);
    loading_ = LoadingModel{.entry = entry, .bytes = bytes};
    loading_since_s_ = monotonic_s();
  }
  const auto try_to_load = [&] { return caught([&] { return load(entry, context); }); };
  auto loaded = try_to_load();
  while (!loaded && loaded.error().code() == Code::kOutOfBudget && make_room_for(entry, true)) loaded = try_to_load();
  {
    const MutexLock lock(mutex_);
    loading_.reset();
    changed_.notify_all();
  }
  if (!loaded) return refused(loaded.error());
  return loaded;
}

// Whether it would have room if all idle models went. Nothing is asked where none is loaded: the load itself says it.
Result<void> ModelManager::check_room(const ModelEntry& entry, const ContextToLoad& context) {
  uint64_t in_use_bytes = 0;
  {
    const MutexLock lock(mutex_);
    if (loaded_.empty()) return {};
    for (const Loaded& loaded : loaded_)
      if (loaded.in_use()) in_use_bytes += held_bytes(loaded.weights->engine->memory());
  }
  return caught([&] { return options_.check_room(load_options(entry, context), in_use_bytes); });
}

LoadOptions ModelManager::load_options(const ModelEntry& entry, const ContextToLoad& context) {
  LoadOptions load = options_.load;
  load.path = entry.path;
  load.adapters = adapters_of(entry);
  load.projector_path = projector_of(entry);
  load.projector_is_optional = !is_projected(entry);
  load.n_ctx = context.n_ctx;
  load.n_ctx_min = context.n_ctx_min;
  load.reserve_bytes = options_.cache_memory_bytes;
  load.n_seq_max = std::max(options_.n_parallel, 1u);
  load.shared_context = false;
  load.n_outputs = kOutputsOfAPass;
  load.progress = [this](double fraction) {
    const MutexLock lock(mutex_);
    if (loading_) loading_->fraction = fraction;
    return !stopping_;
  };
  return load;
}

Result<std::shared_ptr<LoadedWeights>> ModelManager::load(const ModelEntry& entry, const ContextToLoad& context) {
  options_.log(fmt::format("loading {}", entry.name.shown()));
  const Stopwatch watch;
  auto weights = std::make_shared<LoadedWeights>();
  weights->key = entry.weights;
  const LoadOptions load = load_options(entry, context);
  ASSIGN_OR_RETURN(weights->engine, options_.load_engine(load));
  weights->info = weights->engine->model();
  weights->prompt_cache = PromptCache::open({.model_key = entry.weights + " " + weights->info.state_key,
                                             .context_key = weights->info.context_key,
                                             .memory_bytes_max = weights->engine->memory().reserve_bytes,
                                             .folder = options_.cache_folder,
                                             .disk_bytes_max = options_.cache_disk_bytes});
  weights->scheduler = Scheduler::start(
      *weights->engine,
      {.n_sequences = load.n_seq_max, .queue_max = options_.queue_max, .prompt_cache = weights->prompt_cache.get()});
  options_.log(fmt::format("loaded {} in {:.1f} s: {}; {}", entry.name.shown(), watch.elapsed_s(),
                           weights->engine->placement().why, context_words(weights->info)));
  return weights;
}

}  // namespace spillway
