// SPDX-License-Identifier: MIT
// spillway: picks the verb, and turns what it returns into an exit code and at most one line on stderr.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <sstream>
#include <string_view>
#include <system_error>

#include "base/notice.h"
#include "base/utf8.h"
#include "chat/confined_jinja.h"
#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/end_by_signal.h"
#include "cli/progress_bar.h"
#include "engine/confined_image.h"
#include "model/ggml_abort.h"
#include "os/own_program.h"
#include "os/process_setup.h"
#include "os/restart.h"

namespace spillway {
namespace {

constexpr const char* kFooter = R"(Examples:
  spillway run model.gguf                                 chat with a model, whatever its size
  spillway run model.gguf "Why is the sky blue?"          one answer
  spillway run big-moe.gguf --ram 8G --prompt "Hi" --stats
  spillway pull llama3.2 && spillway run llama3.2         by name; Ollama's models are there already
  spillway plan big-moe.gguf --ram 8G                     what that will do, and how fast, before it is done
  spillway verify big-moe.gguf --ram 8G                   prove that streaming changes nothing
  spillway serve --ram 8G                                 for Ollama, OpenAI and Anthropic clients
  spillway profile                                        what this machine can do, measured
  spillway completion bash > ~/.local/share/bash-completion/completions/spillway

'spillway VERB --help' lists the options of a verb.)";

// Messages repeat what anybody chose, of any length: what it is called stands at the begin, what is wrong at the end.
std::string without_middle(const std::string& message) {
  constexpr size_t kBeginBytes = 1000, kEndBytes = 500;
  if (message.size() <= kBeginBytes + kEndBytes) return message;
  return fmt::format("{}…{}", valid_utf8(message.substr(0, kBeginBytes)),
                     valid_utf8(message.substr(message.size() - kEndBytes)));
}

// Nothing can be done about a standard error that takes nothing: this must not throw.
void print_line(std::string message) {
  message = without_middle(message);
  std::replace(message.begin(), message.end(), '\n', ' ');
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  std::replace_if(message.begin(), message.end(), is_control, '?');
  const std::string line = fmt::format("spillway: {}\n", message);
  take_bar_off_stderr();
  std::fwrite(line.data(), 1, line.size(), stderr);
}

// What the system refuses is not our fault: who reads it can do something about it.
std::string words_of(const std::exception& e) {
  if (dynamic_cast<const std::bad_alloc*>(&e) != nullptr)
    return "the system gives no more memory (is there a limit, such as ulimit -v?)";
  const auto* refused = dynamic_cast<const std::system_error*>(&e);
  if (refused != nullptr && refused->code() == std::errc::resource_unavailable_try_again)
    return "the system gives no more threads (is there a limit, such as ulimit -u or a container's?)";
  return fmt::format("internal error: {}", e.what());
}

// An exception that nobody caught, on whatever thread. ggml has a handler of its own that runs a debugger and prints
// what that says.
[[noreturn]] void die_of_exception() {
  std::string what = "internal error: unknown";
  try {
    if (const std::exception_ptr current = std::current_exception()) std::rethrow_exception(current);
  } catch (const std::exception& e) {
    what = words_of(e);
  } catch (...) {
  }
  print_line(what);
  std::_Exit(kExitFailed);
}

// What cannot be contained: ggml ends the process. One line instead of a stack trace, and our exit code.
void die_of_ggml(const std::string& why) {
  print_line(fmt::format("ggml gave up ({}); if a GPU or its driver is to blame, run with --gpu-layers 0", why));
  std::_Exit(kExitFailed);
}

// "spillway run" of the verb that was named, else "spillway".
std::string command_so_far(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return verbs.empty() ? app.get_name() : fmt::format("{} {}", app.get_name(), verbs.front()->get_name());
}

// Which options exclude each other is said when it happens; in the list it hides what they do.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_items_expected_max() == 0 || option->get_positional()) return "";
    const std::string default_text = option->get_default_str();
    return " " + option->get_type_name() + (default_text.empty() ? "" : "=" + default_text);
  }
};

bool has_verb(const CLI::App& app, const std::string& name) {
  return !app.get_subcommands([&](const CLI::App* verb) { return verb->check_name(name); }).empty();
}

// What an action returned, as the exit code of the program.
int end_of(const Result<int>& outcome) {
  if (outcome) return *outcome;
  if (outcome.error().code() == Code::kCancelled) return kExitInterrupted;
  print_line(outcome.error().message());
  return kExitFailed;
}

// --help, --version
int print_help(const CLI::App& app, const CLI::ParseError& asked) {
  std::ostringstream text;
  app.exit(asked, text, text);
  return end_of(print_and_end(text.str()));
}

int run_program(int argc, char** argv) {
  CLI::App app("Runs GGUF language models that are larger than the memory of the machine.", "spillway");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", "spillway " SPILLWAY_VERSION, "Print the version and stop");
  app.set_help_flag("-h,--help", "Print this help and stop");
  app.require_subcommand(1);
  app.footer(kFooter);
  Action action;
  add_run_command(app, action);
  add_verify_command(app, action);
  add_bench_command(app, action);
  add_serve_command(app, action);
  add_profile_command(app, action);
  add_list_command(app, action);
  add_show_command(app, action);
  add_pull_command(app, action);
  add_create_command(app, action);
  add_copy_command(app, action);
  add_remove_command(app, action);
  add_plan_command(app, action);
  add_inspect_command(app, action);
  add_completion_command(app, action);
  add_manual_command(app, action);

  if (argc > 1 && argv[1][0] != '-' && !has_verb(app, argv[1])) {
    print_line(fmt::format("'{}' is none of the verbs (see spillway --help)", argv[1]));
    return kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return print_help(app, e);
    print_line(fmt::format("{} (see {} --help)", e.what(), command_so_far(app)));
    return kExitUsage;
  }
  return end_of(action());
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == spillway::kJinjaArgument) {
    spillway::answer_as_jinja();
    return spillway::kExitOk;
  }
  if (argc == 2 && std::string_view(argv[1]) == spillway::kImageArgument) {
    spillway::answer_as_image_decoder();
    return spillway::kExitOk;
  }
  spillway::restart_with_bounded_threads(argv);
  spillway::restart_with_short_spinning(argv);
  spillway::take_own_name();
  spillway::prepare_process();
  spillway::end_by_signals_as_first_process();
  spillway::confine_templates_to(spillway::own_program());
  spillway::confine_images_to(spillway::own_program());
  std::set_terminate(spillway::die_of_exception);
  if (!spillway::has_random_numbers()) {
    spillway::print_line(
        "the system refuses random numbers (getrandom), without which libraries end the process; is a "
        "sandbox too strict?");
    return spillway::kExitFailed;
  }
  if (!spillway::has_stack()) {
    spillway::print_line("the stack is limited to less than 256 KiB, which libraries need: raise ulimit -s");
    return spillway::kExitFailed;
  }
  spillway::set_notice_sink(spillway::print_line);
  spillway::on_ggml_abort(spillway::die_of_ggml);
  try {
    return spillway::run_program(argc, argv);
  } catch (const std::exception& e) {
    spillway::print_line(spillway::words_of(e));
    return spillway::kExitFailed;
  }
}
