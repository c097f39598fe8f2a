// SPDX-License-Identifier: MIT
#include "model/metadata_room.h"

#include <algorithm>
#include <utility>

#include "base/mutex.h"

namespace spillway {
namespace {

class SharedRoom {
 public:
  void take(uint64_t bytes) {
    const MutexLock lock(mutex_);
    while (bytes > MetadataRoom::kAllBytes - taken_) changed_.wait(mutex_);
    taken_ += bytes;
  }
  void give_back(uint64_t bytes) {
    const MutexLock lock(mutex_);
    taken_ -= bytes;
    changed_.notify_all();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t taken_ GUARDED_BY(mutex_) = 0;
};

// Never destroyed: threads that are left behind at the end may still have some.
SharedRoom& room_of(MetadataRoom::Use use) {
  static SharedRoom& read = *new SharedRoom;
  static SharedRoom& shown = *new SharedRoom;
  return use == MetadataRoom::Use::kRead ? read : shown;
}

}  // namespace

MetadataRoom::MetadataRoom(Use use, uint64_t bytes) : use_(use), bytes_(std::min(bytes, kAllBytes)) {
  if (bytes_ > 0) room_of(use_).take(bytes_);
}

MetadataRoom::~MetadataRoom() {
  if (bytes_ > 0) room_of(use_).give_back(bytes_);
}

MetadataRoom::MetadataRoom(MetadataRoom&& other) noexcept : use_(other.use_), bytes_(std::exchange(other.bytes_, 0)) {}

MetadataRoom& MetadataRoom::operator=(MetadataRoom&& other) noexcept {
  std::swap(use_, other.use_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace spillway
