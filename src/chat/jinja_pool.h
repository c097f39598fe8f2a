// SPDX-License-Identifier: MIT
// Interpreters of one template, so that a few conversations are rendered at once; each in a process of its own where
// confine_templates_to() said so.
//
// Threads: any. As many interpreters as there are calls at once: callers bound those (serving/fair_places.h). A few are
// kept for the next calls: 16 of all templates together.
#pragma once

#include <string>

#include "base/mutex.h"
#include "chat/jinja.h"

namespace spillway {

class JinjaPool : public Jinja {
 public:
  //   errors of Jinja::parse() and parse_confined()
  static Result<std::unique_ptr<JinjaPool>> open(std::string text, const JinjaLimits& limits);
  ~JinjaPool() override;
  JinjaPool(const JinjaPool&) = delete;
  JinjaPool& operator=(const JinjaPool&) = delete;

  // An interpreter that met a limit is replaced by another one for the next call.
  //   errors of parse_confined(), too
  Result<std::string> render(const std::string& variables, std::time_t now) override EXCLUDES(mutex_);

  // By calls of render() that have ended.
  double child_cpu_s() const override EXCLUDES(mutex_);

 private:
  JinjaPool(std::string text, const JinjaLimits& limits);

  Result<std::unique_ptr<Jinja>> parse() const;
  void add_child_cpu(double seconds) EXCLUDES(mutex_);

  const std::string text_;
  const JinjaLimits limits_;
  mutable Mutex mutex_;
  double child_cpu_s_ GUARDED_BY(mutex_) = 0;
};

}  // namespace spillway
