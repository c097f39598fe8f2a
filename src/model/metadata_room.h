// SPDX-License-Identifier: MIT
// Room in memory for the metadata of GGUF files, which is in no budget: of those that read some at the same time each
// takes as much as its own needs, and all together little more than the largest alone may have.
#pragma once

#include <cstdint>

namespace spillway {

// Any thread. Who has some takes no more of the same kind: it would wait for itself.
class MetadataRoom {
 public:
  // Whoever loads a model does not wait for those who are shown one.
  enum class Use { kRead, kShow };

  // Waits until there is as much; so who wants little waits for little, and the largest for a pause.
  MetadataRoom(Use use, uint64_t bytes);
  ~MetadataRoom();
  MetadataRoom(MetadataRoom&& other) noexcept;
  MetadataRoom& operator=(MetadataRoom&& other) noexcept;  // what it had goes with `other`

  static constexpr uint64_t kAllBytes = 768ull << 20;  // of each use; more is asked for as that much

 private:
  Use use_;
  uint64_t bytes_;
};

}  // namespace spillway
