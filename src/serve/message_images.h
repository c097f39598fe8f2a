// SPDX-License-Identifier: MIT
// Images in the messages of every protocol: marks in the text where they stand, and their files once a model
// is there to look at them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "chat/message.h"
#include "engine/engine.h"
#include "engine/marked_text.h"

namespace spillway {

// An image that `message` has from here on, its mark behind its content. `data`: base64, or a URL of any kind.
void append_image(Message& message, std::string data, std::string place);

// The same in front of its content, as a client means it that names images beside a text.
void put_images_first(Message& message, std::vector<std::string> data);
void put_images_first(Message& message, std::vector<MessageImage> images);

// The bytes of an image that came as base64 or as "data:...;base64,...". Nothing is fetched.
//   InvalidArgument   a URL that leads elsewhere; no base64
Result<std::string> image_bytes(const std::string& data);

// What stands for them in prompts, found out one by one: each is decoded, which takes some 100 ms for a photograph.
class ImageInspection {
 public:
  // `messages` outlive it.
  explicit ImageInspection(const std::vector<Message>& messages);

  bool is_done() const { return n_seen_ == images_.size(); }

  // The next one.
  //   InvalidArgument   errors of image_bytes and Engine::inspect_image, with the image's place in front; there are
  //   more
  //                     than one request may have
  Result<void> look(const Engine& engine);

  MarkedImages take() { return std::move(seen_); }

 private:
  std::vector<const MessageImage*> images_;
  size_t n_seen_ = 0;
  MarkedImages seen_;
};

// For a model that sees none: a sentence in the place of each.
void tell_of_images(std::vector<Message>& messages);

}  // namespace spillway
