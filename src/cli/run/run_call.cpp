// SPDX-License-Identifier: MIT
#include "cli/run/run_call.h"

#include <fmt/format.h>

#include <utility>

#include "base/notice.h"
#include "cli/text_input.h"
#include "engine/prompt_image.h"
#include "serve/message_images.h"

namespace spillway {
namespace {

// A model that no template came with goes on with a text, unless it is to speak as in messages.
CallKind kind_of(const LoadedModel& model, const RunOptions& options, bool cut) {
  if (options.raw) return CallKind::kRaw;
  const bool completes = model.form && model.form->completes && options.examples.empty();
  return completes && !cut ? CallKind::kText : CallKind::kChat;
}

}  // namespace

std::unique_ptr<LoadedModel> model_of_run(std::unique_ptr<Engine> engine, const RunOptions& options, bool scheduled) {
  ModelExtras extras;
  extras.template_text = options.chat_template;
  std::unique_ptr<LoadedModel> model = own_model(std::move(engine), std::move(extras), scheduled);
  if (!options.raw && model->form)
    for (const std::string& sentence : model->form->unusable)
      notice(fmt::format("{}; it chats {}", sentence, model->form->why));
  return model;
}

Result<MessageImage> image_of(const Engine& engine, const std::string& path) {
  if (const std::string& why = engine.model().blind_why; !why.empty())
    return error(Code::kInvalidArgument, "this model sees no images: it was loaded without its projector: " + why);
  if (!engine.model().sees_images)
    return error(Code::kInvalidArgument,
                 "this model sees no images: no projector (mmproj) was loaded with it; --mmproj names one");
  ASSIGN_OR_RETURN(std::string bytes, read_text(path));
  MessageImage image{
      .mark = new_image_mark(), .place = path, .file = std::make_shared<const std::string>(std::move(bytes))};
  const auto seen = engine.inspect_image(image.file);
  if (!seen) return Failure(seen.error().with_context(path));
  return image;
}

Result<Message> user_message(const Engine& engine, std::string text, const std::vector<std::string>& image_paths) {
  Message message{.role = "user", .content = std::move(text)};
  std::vector<MessageImage> images;
  for (const std::string& path : image_paths) {
    ASSIGN_OR_RETURN(MessageImage image, image_of(engine, path));
    images.push_back(std::move(image));
  }
  put_images_first(message, std::move(images));
  return message;
}

Result<PreparedCall> prepare_answer(const LoadedModel& model, const RunOptions& options,
                                    const std::vector<Message>& messages, bool cut) {
  Call call;
  call.model = model.entry.name.shown();
  call.kind = kind_of(model, options, cut);
  if (call.kind != CallKind::kChat) {
    call.prompt = messages.back().content;
    if (!messages.back().images.empty()) call.messages = {messages.back()};
    if (!options.system.empty()) call.system = options.system;
  } else {
    if (!options.system.empty()) call.messages.push_back({.role = "system", .content = options.system});
    call.messages.insert(call.messages.end(), options.examples.begin(), options.examples.end());
    call.messages.insert(call.messages.end(), messages.begin(), messages.end());
  }
  call.options.stop = options.generation.stop;
  call.options.num_predict = options.generation.max_tokens;
  call.ignore_eos = options.generation.ignore_eos;
  call.truncate = call.shift = cut;
  call.think = options.thinking.think;
  call.effort = options.thinking.effort;
  auto prepared = prepare_call(model, call);
  if (!prepared && prepared.error().code() == Code::kContextOverflow)
    return error(Code::kInvalidArgument, prepared.error().message() + ": raise --context");
  if (!prepared) return prepared;
  prepared->request.sampling = options.generation.sampling;
  return prepared;
}

}  // namespace spillway
