// SPDX-License-Identifier: MIT
#include "base/notice.h"

#include <set>
#include <utility>

#include "base/mutex.h"

namespace spillway {
namespace {

struct Notices {
  Mutex mu;
  std::function<void(const std::string&)> sink GUARDED_BY(mu);
  std::set<std::string> said GUARDED_BY(mu);
};

Notices& notices() {
  static Notices instance;
  return instance;
}

}  // namespace

void set_notice_sink(std::function<void(const std::string&)> sink) {
  Notices& n = notices();
  MutexLock lock(n.mu);
  n.sink = std::move(sink);
}

void notice(const std::string& sentence) {
  Notices& n = notices();
  std::function<void(const std::string&)> sink;
  {
    MutexLock lock(n.mu);
    if (!n.sink || !n.said.insert(sentence).second) return;
    sink = n.sink;
  }
  sink(sentence);
}

}  // namespace spillway
