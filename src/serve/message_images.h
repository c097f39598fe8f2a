// SPDX-License-Identifier: MIT
// Images in the messages of every protocol: marks in the text where they stand, and their files once a model
// is there to look at them.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "chat/message.h"
#include "engine/engine.h"
#include "engine/marked_text.h"
#include "serving/asker.h"

namespace spillway {

// An image that `message` has from here on, its mark behind its content. `data`: base64, or a URL of any kind.
void append_image(Message& message, std::string data, std::string place);

// The same in front of its content, as a client means it that names images beside a text.
void put_images_first(Message& message, std::vector<std::string> data);
void put_images_first(Message& message, std::vector<MessageImage> images);

// The bytes of an image that came as base64 or as "data:...;base64,...". Nothing is fetched.
//   InvalidArgument   a URL that leads elsewhere; no base64
Result<std::string> image_bytes(const std::string& data);

// What stands for them in prompts.
//   InvalidArgument   errors of image_bytes and Engine::inspect_image, with the image's place in front; more than one
//                     request may have
//   Cancelled         the asker left, between two of them
Result<MarkedImages> inspect_images(const Engine& engine, const std::vector<Message>& messages, const Asker& asker);

// For a model that sees none: a sentence in the place of each.
void tell_of_images(std::vector<Message>& messages);

}  // namespace spillway
