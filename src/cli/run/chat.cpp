// SPDX-License-Identifier: MIT
#include "cli/run/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/notice.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/run/line_reader.h"
#include "cli/run/run_output.h"
#include "cli/stderr_text.h"
#include "cli/text_input.h"
#include "serve/message_images.h"

namespace spillway {
namespace {

constexpr const char* kHelp = R"(/help          this list
/clear         forget what was said
/system TEXT   another system message; forgets what was said
/image FILE    an image that goes with the next message; words behind the file are that message
/think WORD    on or off; low, medium or high where a model knows degrees
/stats         figures of the last answer
/ram SIZE      another memory budget from now on (as --ram: 6G, 900M)
/quit          leave (also /bye, Ctrl-D)
A \ at the end of a line continues the message on the next one. Ctrl-C stops an answer.
A message that begins with / is sent with a blank in front of it.
)";

// What a line of input leads to.
enum class Next { kGoOn, kLeave };

class Chat {
 public:
  Chat(const LoadedModel& model, const RunOptions& options)
      : model_(model), options_(options), conversation_(model, options, print_note) {}

  Result<int> run(const std::optional<std::string>& first_message) {
    for (const std::string& path : options_.image_paths) {
      ASSIGN_OR_RETURN(MessageImage image, image_of(*model_.engine, path));
      attached_.push_back(std::move(image));
    }
    if (interactive_) print_to_stderr(title() + ". /help lists the commands.\n");
    if (first_message) RETURN_IF_ERROR(answer(*first_message));
    Next next = Next::kGoOn;
    std::string message;
    while (next == Next::kGoOn && exit_code_ == kExitOk) {
      ASSIGN_OR_RETURN(const bool read, read_message(message));
      if (!read) break;
      ASSIGN_OR_RETURN(next, message.starts_with('/') ? obey(message) : answer(message));
    }
    return exit_code_;
  }

 private:
  static void print_note(const std::string& sentence) { print_to_stderr(fmt::format("spillway: {}\n", sentence)); }

  std::string title() const {
    return fmt::format("{}, {} mode", model_.info.name.empty() ? model_.info.description : model_.info.name,
                       mode_name(model_.engine->placement().mode));
  }

  void show_prompt(const char* prompt) const {
    if (interactive_) print_to_stderr(prompt);
  }

  static Failure too_long() {
    return error(Code::kInvalidArgument, fmt::format("standard input: a message is larger than {}, which is the most",
                                                     format_bytes(LineReader::kBytesMax)));
  }

  // False at the end of input.
  //   InvalidArgument   more than a message may be     Cancelled   Ctrl-C, and nobody sits here who could go on
  Result<bool> read_message(std::string& message) {
    message.clear();
    show_prompt("> ");
    std::string line;
    while (true) {
      switch (reader_.read(line)) {
        case LineReader::Outcome::kTooLong:
          return too_long();
        case LineReader::Outcome::kEnd:
          if (interactive_) print_to_stderr("\n");
          return !message.empty();
        case LineReader::Outcome::kInterrupted:
          if (!interactive_) return error(Code::kCancelled, "stopped");
          clear_interrupt();
          print_to_stderr("\n(/quit or Ctrl-D leaves)\n");
          message.clear();
          show_prompt("> ");
          break;
        case LineReader::Outcome::kLine:
          if (line.ends_with('\r')) line.pop_back();
          if (line.ends_with('\\')) {
            line.back() = '\n';
            message += line;
            if (message.size() > LineReader::kBytesMax) return too_long();
            show_prompt(". ");
            break;
          }
          message += line;
          if (!message.empty()) return true;
          show_prompt("> ");
          break;
      }
    }
  }

  Result<Next> obey(const std::string& command) {
    const size_t end = command.find(' ');
    const std::string name = command.substr(0, end);
    const std::string argument = end == std::string::npos ? "" : command.substr(end + 1);
    if (name == "/quit" || name == "/bye" || name == "/exit") return Next::kLeave;
    if (name == "/help")
      print_to_stderr(kHelp);
    else if (name == "/clear")
      forget({});
    else if (name == "/system")
      forget(argument);
    else if (name == "/image")
      return show_image(argument);
    else if (name == "/think")
      change_thinking(argument);
    else if (name == "/stats")
      show_stats();
    else if (name == "/ram")
      change_budget(argument);
    else
      print_note(fmt::format("{} is no command; /help lists them", name));
    return Next::kGoOn;
  }

  // What was said, and images that were to go with the next message; `system`: another system message.
  void forget(const std::optional<std::string>& system) {
    attached_.clear();
    if (system)
      conversation_.set_system(*system);
    else
      conversation_.clear();
  }

  // A mistake in a file's name costs the line alone, a script's as well as a person's.
  Result<Next> show_image(const std::string& argument) {
    const auto is_file = [](const std::string& path) {
      std::error_code ignored;
      return std::filesystem::is_regular_file(path, ignored);
    };
    const auto asked = split_file_and_words(argument, is_file);
    const auto outcome = [&]() -> Result<void> {
      if (!asked) return Failure(asked.error());
      if (!is_file(asked->file)) return error(Code::kNotFound, asked->file + ": there is no such file");
      ASSIGN_OR_RETURN(MessageImage image, image_of(*model_.engine, asked->file));
      attached_.push_back(std::move(image));
      return {};
    }();
    if (!outcome)
      print_note(outcome.error().message());
    else if (!asked->words.empty())
      return answer(asked->words);
    else if (interactive_)
      print_note(attached_.size() == 1 ? "the image goes with your next message"
                                       : fmt::format("{} images go with your next message", attached_.size()));
    return Next::kGoOn;
  }

  void show_stats() const {
    if (last_)
      print_run_table(*model_.engine, *last_);
    else
      print_note("nothing was answered yet");
  }

  void change_budget(const std::string& argument) {
    const auto bytes = parse_bytes(argument);
    if (!bytes) return print_note(fmt::format("/ram wants a size such as 6G or 900M, not '{}'", argument));
    const auto changed = model_.scheduler->run([&](Engine& engine) { return engine.set_budget(*bytes); });
    print_note(changed ? fmt::format("the budget is {} now", format_bytes(*bytes)) : changed.error().message());
  }

  void change_thinking(const std::string& argument) {
    if (argument == "on" || argument == "off")
      conversation_.set_thinking({.think = argument == "on"});
    else if (argument == "low" || argument == "medium" || argument == "high")
      conversation_.set_thinking({.think = true, .effort = argument});
    else
      print_note(fmt::format("/think is on, off, low, medium or high, not '{}'", argument));
  }

  Result<Next> answer(const std::string& text) {
    if (interactive_) clear_interrupt();  // else one that came between two answers ends this one, and the chat
    Message message{.role = "user", .content = text};
    put_images_first(message, std::exchange(attached_, {}));
    std::optional<AnswerOutput> output(std::in_place, options_);
    auto generation =
        conversation_.say(std::move(message),
                          {.on_part = [&](const AnswerPart& part) { return output->show(part.content, part.thinking); },
                           .on_prompt = [&](size_t done, size_t total) { output->show_prompt_progress(done, total); },
                           .is_interrupted = interrupted});
    if (interactive_) clear_interrupt();
    if (!generation) {
      output.reset();  // what it shows ends before more is said
      return survive(generation.error());
    }
    // The scheduler may still put away what it computed.
    bool written = false;
    RETURN_IF_ERROR(model_.scheduler->run([&](Engine& engine) -> Result<void> {
      ASSIGN_OR_RETURN(written, output->finish(engine, *generation));
      return {};
    }));
    if (!written)
      exit_code_ = kExitPipeClosed;
    else if (!interactive_ && generation->stop_reason == StopReason::kInterrupted)
      exit_code_ = kExitInterrupted;
    last_ = std::move(*generation);
    return Next::kGoOn;
  }

  // A message that failed need not be the last one where somebody sits and reads.
  Result<Next> survive(const Status& status) {
    if (interactive_ && status.code() == Code::kCancelled) {
      print_note("stopped; the message is forgotten");
      return Next::kGoOn;
    }
    if (!interactive_ || status.code() == Code::kChanged || status.code() == Code::kUnsupported) return Failure(status);
    print_note(status.message());
    return Next::kGoOn;
  }

  const LoadedModel& model_;
  const RunOptions& options_;
  const bool interactive_ = isatty(STDIN_FILENO) == 1;
  Conversation conversation_;
  std::vector<MessageImage> attached_;  // go with the next message
  LineReader reader_;
  std::optional<Generation> last_;
  int exit_code_ = kExitOk;
};

}  // namespace

Result<int> run_chat(std::unique_ptr<Engine> engine, const RunOptions& options,
                     const std::optional<std::string>& first_message) {
  const auto model = model_of_run(std::move(engine), options, true);
  if (!model->form) return Failure(model->form.error());
  if (model->form->completes) notice(fmt::format("the model was not made for chats; it chats {}", model->form->why));
  return Chat(*model, options).run(first_message);
}

}  // namespace spillway
