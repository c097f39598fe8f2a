// SPDX-License-Identifier: MIT
// Interpreters of one template, so that a few conversations are rendered at once; each in a process of its own where
// confine_templates_to() said so.
//
// Threads: any. As many interpreters as there are calls at once: callers bound those (serving/fair_places.h), and a few
// are kept for the next calls.
#pragma once

#include <string>
#include <vector>

#include "base/mutex.h"
#include "chat/jinja.h"

namespace spillway {

class JinjaPool : public Jinja {
 public:
  //   errors of Jinja::parse() and parse_confined()
  static Result<std::unique_ptr<JinjaPool>> open(std::string text, const JinjaLimits& limits);

  // An interpreter that met a limit is replaced by another one for the next call.
  Result<std::string> render(const std::string& variables, std::time_t now) override EXCLUDES(mutex_);

  // Of those that render nothing now.
  double child_cpu_s() const override EXCLUDES(mutex_);

 private:
  JinjaPool(std::string text, const JinjaLimits& limits);

  Result<std::unique_ptr<Jinja>> parse() const;
  std::unique_ptr<Jinja> borrow() EXCLUDES(mutex_);
  void give_back(std::unique_ptr<Jinja> jinja) EXCLUDES(mutex_);

  const std::string text_;
  const JinjaLimits limits_;
  mutable Mutex mutex_;
  std::vector<std::unique_ptr<Jinja>> idle_ GUARDED_BY(mutex_);
};

}  // namespace spillway
