// SPDX-License-Identifier: MIT
// The tools of one request: those that its prompt lists, and those that are deferred until the conversation adds them.
// What comes later is written where it is named, so that the prompt before it stays what it was, and with it the cache.
//
// Threads: one. Pure.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "chat/message.h"

namespace spillway {

// Of one request. A name is copied a few times, and one namespace stands before the names of all its tools.
constexpr size_t kToolsMax = 10'000;
constexpr size_t kToolNameBytesMax = 1024;

class Toolbox {
 public:
  // `waits`: it is neither listed nor callable before enable().
  //   InvalidArgument   another tool has this name; parameters that are no JSON object; a name of more than
  //                     kToolNameBytesMax; more than kToolsMax tools
  Result<void> add(Tool tool, bool waits);

  // What the conversation says where a tool is enabled: its definition, unless that was shown before. It may be called
  // from then on. One that is not there is said not to be: a client's session goes on without it.
  std::string enable(std::string_view name);

  // And where it is disabled.
  std::string disable(std::string_view name);

  // One that waits is listed, for a client that asks for it by name; all, for one whose service would have searched.
  void list(std::string_view name);
  void list_all();

  // Leaves what may be called to those for which `allowed` says so; whatever the prompt lists stays listed.
  template <typename Allowed>
  void restrict_to(const Allowed& allowed) {
    for (Entry& entry : entries_)
      if (!allowed(entry.tool)) entry.tool.callable = false;
  }

  bool empty() const { return entries_.empty(); }
  bool any_callable() const;

  // Those that wait for nothing any more, in the order in which they came.
  std::vector<Tool> take();

 private:
  struct Entry {
    Tool tool;
    bool waits = false;
  };
  Entry* find(std::string_view name);

  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> places_;  // by name
};

}  // namespace spillway
