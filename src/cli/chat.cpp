// SPDX-License-Identifier: MIT
#include "cli/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/bytes.h"
#include "base/notice.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/run_output.h"

namespace spillway {
namespace {

constexpr const char* kHelp = R"(/help          this list
/clear         forget what was said
/system TEXT   another system message; forgets what was said
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
  Chat(Engine& engine, const ChatPrompt& prompt, const RunOptions& options)
      : engine_(engine),
        options_(options),
        generator_(engine, prompt.for_answers(options.generation)),
        conversation_(engine, generator_, prompt, {.system = options.system, .examples = options.examples},
                      print_note) {}

  Result<int> run(const std::optional<std::string>& first_message) {
    if (interactive_) fmt::print(stderr, "{}. /help lists the commands.\n", title());
    if (first_message) RETURN_IF_ERROR(answer(*first_message));
    Next next = Next::kGoOn;
    std::string message;
    while (next == Next::kGoOn && exit_code_ == kExitOk && read_message(message)) {
      ASSIGN_OR_RETURN(next, message.starts_with('/') ? obey(message) : answer(message));
    }
    return exit_code_;
  }

 private:
  static void print_note(const std::string& sentence) { fmt::print(stderr, "spillway: {}\n", sentence); }

  std::string title() const {
    const ModelInfo& model = engine_.model();
    return fmt::format("{}, {} mode", model.name.empty() ? model.description : model.name,
                       mode_name(engine_.placement().mode));
  }

  void show_prompt(const char* prompt) const {
    if (interactive_) fmt::print(stderr, "{}", prompt);
  }

  // False at the end of input.
  bool read_message(std::string& message) {
    message.clear();
    show_prompt("> ");
    std::string line;
    while (true) {
      switch (reader_.read(line)) {
        case LineReader::Outcome::kEnd:
          if (interactive_) fmt::print(stderr, "\n");
          return !message.empty();
        case LineReader::Outcome::kInterrupted:
          clear_interrupt();
          fmt::print(stderr, "\n(/quit or Ctrl-D leaves)\n");
          message.clear();
          show_prompt("> ");
          break;
        case LineReader::Outcome::kLine:
          if (line.ends_with('\r')) line.pop_back();
          if (line.ends_with('\\')) {
            line.back() = '\n';
            message += line;
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
      fmt::print(stderr, "{}", kHelp);
    else if (name == "/clear")
      conversation_.clear();
    else if (name == "/system")
      conversation_.set_system(argument);
    else if (name == "/stats")
      show_stats();
    else if (name == "/ram")
      change_budget(argument);
    else
      print_note(fmt::format("{} is no command; /help lists them", name));
    return Next::kGoOn;
  }

  void show_stats() const {
    if (last_)
      print_run_table(engine_, *last_);
    else
      print_note("nothing was answered yet");
  }

  void change_budget(const std::string& argument) {
    const auto bytes = parse_bytes(argument);
    if (!bytes) return print_note(fmt::format("/ram wants a size such as 6G or 900M, not '{}'", argument));
    const auto changed = engine_.set_budget(*bytes);
    print_note(changed ? fmt::format("the budget is {} now", format_bytes(*bytes)) : changed.error().message());
  }

  Result<Next> answer(const std::string& message) {
    clear_interrupt();
    AnswerOutput output(options_);
    auto generation = conversation_.say(message, output.hooks());
    clear_interrupt();
    if (!generation) return survive(generation.error());
    ASSIGN_OR_RETURN(const bool written, output.finish(engine_, *generation));
    if (!written) exit_code_ = kExitPipeClosed;
    last_ = std::move(*generation);
    return Next::kGoOn;
  }

  // A message that failed need not be the last one where somebody sits and reads.
  Result<Next> survive(const Status& status) {
    if (status.code() == Code::kCancelled) {
      print_note("stopped; the message is forgotten");
      return Next::kGoOn;
    }
    if (!interactive_ || status.code() == Code::kChanged || status.code() == Code::kUnsupported)
      return tl::unexpected<Status>(status);
    print_note(status.message());
    return Next::kGoOn;
  }

  Engine& engine_;
  const RunOptions& options_;
  const bool interactive_ = isatty(STDIN_FILENO) == 1;
  Generator generator_;
  Conversation conversation_;
  LineReader reader_;
  std::optional<Generation> last_;
  int exit_code_ = kExitOk;
};

}  // namespace

Result<int> run_chat(Engine& engine, const RunOptions& options, const std::optional<std::string>& first_message) {
  ASSIGN_OR_RETURN(const ChatPrompt prompt, ChatPrompt::open(engine, options.chat_template));
  if (prompt.completes()) notice(fmt::format("the model was not made for chats; it chats {}", prompt.why()));
  return Chat(engine, prompt, options).run(first_message);
}

}  // namespace spillway
