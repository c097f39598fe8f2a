// SPDX-License-Identifier: MIT
#include "chat/jinja_pool.h"

#include <list>
#include <utility>

#include "chat/confined_jinja.h"

namespace spillway {
namespace {

constexpr size_t kIdleOfOneMax = 4, kIdleMax = 16;

// Interpreters that nobody uses now, of all templates: each may be a process, and templates are as many as somebody
// makes models. What was used longest ago goes, and is parsed anew when it is wanted.
class IdleInterpreters {
 public:
  // Never destroyed: who ends after it could still give one back.
  static IdleInterpreters& of_all() {
    static auto* const all = new IdleInterpreters;
    return *all;
  }

  // nullptr: all there are of this one render.
  std::unique_ptr<Jinja> take(const JinjaPool* of) {
    const MutexLock lock(mutex_);
    for (auto one = idle_.begin(); one != idle_.end(); ++one) {
      if (one->of != of) continue;
      auto jinja = std::move(one->jinja);
      idle_.erase(one);
      return jinja;
    }
    return nullptr;
  }

  void put(const JinjaPool* of, std::unique_ptr<Jinja> jinja) {
    std::list<Idle> gone;  // ends without the lock: a process does
    std::list<Idle> newest;
    newest.push_back({of, std::move(jinja)});
    const MutexLock lock(mutex_);
    idle_.splice(idle_.begin(), newest);
    size_t n_of_one = 0;
    for (auto one = idle_.begin(); one != idle_.end();) {
      const auto next = std::next(one);
      if (one->of == of && ++n_of_one > kIdleOfOneMax) gone.splice(gone.end(), idle_, one);
      one = next;
    }
    if (idle_.size() > kIdleMax) gone.splice(gone.end(), idle_, std::prev(idle_.end()));
  }

  void forget(const JinjaPool* of) {
    std::list<Idle> gone;
    const MutexLock lock(mutex_);
    for (auto one = idle_.begin(); one != idle_.end();) {
      const auto next = std::next(one);
      if (one->of == of) gone.splice(gone.end(), idle_, one);
      one = next;
    }
  }

 private:
  struct Idle {
    const JinjaPool* of;
    std::unique_ptr<Jinja> jinja;
  };
  Mutex mutex_;
  std::list<Idle> idle_ GUARDED_BY(mutex_);  // what was used last first
};

}  // namespace

Result<std::unique_ptr<JinjaPool>> JinjaPool::open(std::string text, const JinjaLimits& limits) {
  std::unique_ptr<JinjaPool> pool(new JinjaPool(std::move(text), limits));
  ASSIGN_OR_RETURN(auto first, pool->parse());
  IdleInterpreters::of_all().put(pool.get(), std::move(first));
  return pool;
}

JinjaPool::JinjaPool(std::string text, const JinjaLimits& limits) : text_(std::move(text)), limits_(limits) {}

JinjaPool::~JinjaPool() { IdleInterpreters::of_all().forget(this); }

Result<std::string> JinjaPool::render(const std::string& variables, std::time_t now) {
  std::unique_ptr<Jinja> jinja = IdleInterpreters::of_all().take(this);
  double before_s = 0;
  if (jinja == nullptr) {
    ASSIGN_OR_RETURN(jinja, parse());
  } else {
    before_s = jinja->child_cpu_s();
  }
  auto text = jinja->render(variables, now);
  add_child_cpu(jinja->child_cpu_s() - before_s);
  const bool is_usable = text || (text.error().code() != Code::kOutOfBudget && text.error().code() != Code::kBusy);
  if (is_usable) IdleInterpreters::of_all().put(this, std::move(jinja));
  return text;
}

// Of one that has ended nothing is known.
void JinjaPool::add_child_cpu(double seconds) {
  const MutexLock lock(mutex_);
  if (seconds > 0) child_cpu_s_ += seconds;
}

double JinjaPool::child_cpu_s() const {
  const MutexLock lock(mutex_);
  return child_cpu_s_;
}

Result<std::unique_ptr<Jinja>> JinjaPool::parse() const {
  const std::string& program = template_program();
  return program.empty() ? Jinja::parse(text_, limits_) : parse_confined(program, text_, limits_);
}

}  // namespace spillway
