// SPDX-License-Identifier: MIT
#include "chat/jinja_pool.h"

#include <utility>

#include "chat/confined_jinja.h"

namespace spillway {
namespace {

constexpr size_t kIdleMax = 4;

}  // namespace

Result<std::unique_ptr<JinjaPool>> JinjaPool::open(std::string text, const JinjaLimits& limits) {
  std::unique_ptr<JinjaPool> pool(new JinjaPool(std::move(text), limits));
  ASSIGN_OR_RETURN(auto first, pool->parse());
  const MutexLock lock(pool->mutex_);
  pool->idle_.push_back(std::move(first));
  return pool;
}

JinjaPool::JinjaPool(std::string text, const JinjaLimits& limits) : text_(std::move(text)), limits_(limits) {}

Result<std::string> JinjaPool::render(const std::string& variables, std::time_t now) {
  std::unique_ptr<Jinja> jinja = borrow();
  if (jinja == nullptr) {
    ASSIGN_OR_RETURN(jinja, parse());
  }
  auto text = jinja->render(variables, now);
  if (text || text.error().code() != Code::kOutOfBudget) give_back(std::move(jinja));
  return text;
}

double JinjaPool::child_cpu_s() const {
  const MutexLock lock(mutex_);
  double seconds = 0;
  for (const auto& jinja : idle_) seconds += jinja->child_cpu_s();
  return seconds;
}

Result<std::unique_ptr<Jinja>> JinjaPool::parse() const {
  const std::string& program = template_program();
  return program.empty() ? Jinja::parse(text_, limits_) : parse_confined(program, text_, limits_);
}

// nullptr: all there are render.
std::unique_ptr<Jinja> JinjaPool::borrow() {
  const MutexLock lock(mutex_);
  if (idle_.empty()) return nullptr;
  auto jinja = std::move(idle_.back());
  idle_.pop_back();
  return jinja;
}

void JinjaPool::give_back(std::unique_ptr<Jinja> jinja) {
  const MutexLock lock(mutex_);
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(jinja));
}

}  // namespace spillway
