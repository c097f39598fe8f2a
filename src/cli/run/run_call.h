// SPDX-License-Identifier: MIT
// What `spillway run` asks of a model, as a call like those of the server's clients: so both make the same prompt of
// the same words, and read answers alike.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/run/run_options.h"
#include "serve/prepared_call.h"

namespace spillway {

// The engine as a model that answers, with the template that `options` name. With `scheduled` the engine is the
// scheduler's from here on.
std::unique_ptr<LoadedModel> model_of_run(std::unique_ptr<Engine> engine, const RunOptions& options, bool scheduled);

// A user's message with images in front of its text.
//   errors of image_of
Result<Message> user_message(const Engine& engine, std::string text, const std::vector<std::string>& image_paths);

// An image that the model can look at.
//   InvalidArgument   it sees none; the file is none   errors of read_text
Result<MessageImage> image_of(const Engine& engine, const std::string& path);

// The request for an answer to `messages`, of which the last is the user's. `cut`: where the context is too small the
// oldest of them go, and the answer may forget its beginning.
//   errors of prepare_call; a prompt that is too long is InvalidArgument
Result<PreparedCall> prepare_answer(const LoadedModel& model, const RunOptions& options,
                                    const std::vector<Message>& messages, bool cut);

}  // namespace spillway
