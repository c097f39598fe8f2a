// SPDX-License-Identifier: MIT
// The message: the bytes that may be worked with, and the file. The answer: a Result of width, height and points.
#include "engine/confined_image.h"

#include <fmt/format.h>
#include <mtmd-helper.h>

#include <exception>
#include <new>
#include <utility>

#include "base/bytes.h"
#include "engine/image_file.h"
#include "os/servant_message.h"
#include "os/servant_process.h"

namespace spillway {
namespace {

// A JPEG of 13 million points takes 0.2 s.
constexpr double kCpuSecondsMax = 20;
// A machine that is busy with other things; the process's own time is bounded by itself.
constexpr double kSecondsMax = 300;
// Besides what decoding such an image takes: what libraries keep.
constexpr uint64_t kOtherBytes = 16 * MiB;
// Everything that the process maps, libraries as well.
constexpr uint64_t kAddressesMax = 4 * GiB;

std::string& program_of_images() {
  static std::string program;
  return program;
}

std::string bytes_of(Picture picture) {
  const uint32_t size[] = {picture.width, picture.height};
  return std::move(picture.points.insert(0, reinterpret_cast<const char*>(size), sizeof size));
}

Result<Picture> picture_of(std::string bytes) {
  std::string_view rest = bytes;
  Picture picture;
  picture.width = take_value<uint32_t>(rest);
  picture.height = take_value<uint32_t>(rest);
  if (rest.size() != uint64_t{3} * picture.width * picture.height)
    return error(Code::kInternal, "the image's decoder gave something else than an image");
  bytes.erase(0, bytes.size() - rest.size());
  picture.points = std::move(bytes);
  return picture;
}

Result<std::string> decoded(std::string_view message) {
  const auto work_bytes_max = take_value<uint64_t>(message);
  const std::string file(message);
  ASSIGN_OR_RETURN(const ImageFacts facts, inspect_image_file(file, work_bytes_max));
  confine_growth(facts.work_bytes + kOtherBytes);
  confine_this_process(kAddressesMax);
  limit_cpu_from_now(kCpuSecondsMax);
  ASSIGN_OR_RETURN(Picture picture, decode_image_here(file, work_bytes_max));
  return bytes_of(std::move(picture));
}

}  // namespace

void confine_images_to(std::string program) { program_of_images() = std::move(program); }

Result<Picture> decode_image(const std::string& file, uint64_t work_bytes_max) {
  // What is none needs no process.
  RETURN_IF_ERROR(inspect_image_file(file, work_bytes_max));
  if (program_of_images().empty()) return decode_image_here(file, work_bytes_max);
  ASSIGN_OR_RETURN(const auto servant, ServantProcess::start(program_of_images(), {kImageArgument}));
  std::string message;
  message.reserve(sizeof work_bytes_max + file.size());
  put_value(message, work_bytes_max);
  auto answer = servant->ask(message.append(file), kSecondsMax, work_bytes_max);
  if (!answer)
    return error(Code::kInvalidArgument,
                 fmt::format("the image cannot be decoded: it takes more than {} s or {} of memory, or its decoder "
                             "breaks down",
                             kCpuSecondsMax, format_bytes(work_bytes_max)));
  ASSIGN_OR_RETURN(std::string bytes, result_of(std::move(*answer)));
  return picture_of(std::move(bytes));
}

void answer_as_image_decoder() {
  // Standard error is the server's.
  mtmd_helper_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  answer_messages([](const std::string& message) {
    try {
      return answer_of(decoded(message));
    } catch (const std::bad_alloc&) {
      return answer_of(error(Code::kInvalidArgument, "the image cannot be decoded: it takes more than its size needs"));
    } catch (const std::exception& e) {
      return answer_of(error(Code::kInvalidArgument, fmt::format("the image cannot be decoded: {}", e.what())));
    }
  });
}

}  // namespace spillway
