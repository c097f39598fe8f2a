// SPDX-License-Identifier: MIT
#include "serve/message_images.h"

#include <fmt/format.h>

#include <iterator>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "engine/prompt_image.h"
#include "serve/part_text.h"

namespace spillway {
namespace {

// Each is decoded to see how long it makes the prompt, some 100 ms for a photograph.
constexpr size_t kImagesMax = 100;

// "Could not process image" is what clients know: they go on without it.
Status not_processed(const MessageImage& image, const Status& why) {
  return why.with_message(
      fmt::format("{}{}Could not process image: {}", image.place, image.place.empty() ? "" : ": ", why.message()));
}

}  // namespace

void append_image(Message& message, std::string data, std::string place) {
  message.images.push_back({.mark = new_image_mark(), .media = {}, .data = std::move(data), .place = std::move(place)});
  append_part(message.content, message.images.back().mark);
}

void put_images_first(Message& message, std::vector<std::string> data) {
  std::vector<MessageImage> images;
  images.reserve(data.size());
  for (std::string& one : data)
    images.push_back({.mark = new_image_mark(), .media = {}, .data = std::move(one), .place = {}});
  put_images_first(message, std::move(images));
}

void put_images_first(Message& message, std::vector<MessageImage> images) {
  std::string marks;
  for (const MessageImage& image : images) marks += image.mark;
  message.content.insert(0, marks);
  message.images.insert(message.images.begin(), std::make_move_iterator(images.begin()),
                        std::make_move_iterator(images.end()));
}

Result<std::string> image_bytes(const std::string& data) {
  std::string_view rest = data;
  if (rest.starts_with("data:")) {
    const size_t comma = rest.find(',');
    if (comma == std::string_view::npos || !rest.substr(0, comma).ends_with(";base64"))
      return invalid("a data URL has to be base64");
    rest.remove_prefix(comma + 1);
  } else if (rest.substr(0, 32).find("://") != std::string_view::npos) {
    return invalid("images are not fetched: send the image itself, as a data URL in base64");
  }
  auto bytes = bytes_of_base64(rest);
  if (!bytes) return invalid("the image is not base64");
  return *std::move(bytes);
}

ImageInspection::ImageInspection(const std::vector<Message>& messages) {
  for (const Message& message : messages)
    for (const MessageImage& image : message.images) images_.push_back(&image);
}

Result<void> ImageInspection::look(const Engine& engine) {
  if (images_.size() > kImagesMax) return invalid(fmt::format("more than {} images in one request", kImagesMax));
  const MessageImage& image = *images_[n_seen_++];
  auto file = image.file;
  if (file == nullptr) {
    auto bytes = image_bytes(image.data);
    if (!bytes) return Failure(not_processed(image, bytes.error()));
    file = std::make_shared<const std::string>(*std::move(bytes));
  }
  const auto added = seen_.add(engine, image.mark, std::move(file));
  if (!added) return Failure(not_processed(image, added.error()));
  return {};
}

void tell_of_images(std::vector<Message>& messages) {
  for (Message& message : messages) {
    if (message.images.empty()) continue;
    std::unordered_map<std::string_view, const MessageImage*> by_mark;
    for (const MessageImage& image : message.images) by_mark.emplace(image.mark, &image);
    std::string told;
    for (const MarkedPiece& piece : split_at_image_marks(message.content)) {
      const auto image = piece.is_mark ? by_mark.find(piece.text) : by_mark.end();
      told += image == by_mark.end() ? std::string(piece.text) : unseen("image", image->second->media);
    }
    message.content = std::move(told);
    message.images.clear();
  }
}

}  // namespace spillway
