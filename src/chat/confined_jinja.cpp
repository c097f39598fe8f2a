// SPDX-License-Identifier: MIT
// Messages: 'P', limits and the template; 'R', the time and the variables. Answers: a Result of a text.
#include "chat/confined_jinja.h"

#include <fmt/format.h>

#include <ctime>

#include "os/servant_message.h"
#include "os/servant_process.h"

namespace spillway {
namespace {

// Beyond what the interpreter may take: the program itself, and texts on their way.
constexpr uint64_t kOtherMemoryBytes = 2ull << 30;
// A machine that is busy with other things; the process's own time is bounded by itself.
constexpr double kPatience = 30;
// No prompt is longer (TemplateLimits::prompt_bytes_max).
constexpr uint64_t kAnswerBytesMax = 65ull << 20;

// Not a word about the template: the system has no process, no descriptor or no memory to give.
Failure no_process(const Status& why) {
  return error(Code::kBusy, fmt::format("there is no process for a chat template now ({}); try again", why.message()));
}

class ConfinedJinja : public Jinja {
 public:
  ConfinedJinja(std::unique_ptr<ServantProcess> servant, const JinjaLimits& limits)
      : servant_(std::move(servant)), limits_(limits) {}

  Result<void> parse(std::string_view text) {
    std::string message = "P";
    put_value(message, limits_.seconds_max);
    put_value(message, limits_.memory_bytes_max);
    const auto answer = ask(message.append(text));
    return answer ? Result<void>() : Failure(answer.error());
  }

  Result<std::string> render(const std::string& variables, std::time_t now) override {
    std::string message = "R";
    put_value(message, int64_t{now});
    return ask(message.append(variables));
  }

  double child_cpu_s() const override { return servant_->cpu_s(); }

 private:
  Result<std::string> ask(std::string_view message) {
    auto answer = servant_->ask(message, limits_.seconds_max * kPatience, kAnswerBytesMax);
    if (!answer && answer.error().code() == Code::kBusy) return no_process(answer.error());
    if (!answer)
      return error(Code::kOutOfBudget,
                   answer.error().code() == Code::kIo
                       ? fmt::format("the chat template ran for more than {} s, or broke down", limits_.seconds_max)
                       : fmt::format("the chat template was stopped: {}", answer.error().message()));
    return result_of(std::move(*answer));
  }

  const std::unique_ptr<ServantProcess> servant_;
  const JinjaLimits limits_;
};

}  // namespace

Result<std::unique_ptr<Jinja>> parse_confined(const std::string& program, std::string_view text,
                                              const JinjaLimits& limits) {
  auto servant = ServantProcess::start(program, {kJinjaArgument});
  if (!servant && servant.error().code() == Code::kIo) return no_process(servant.error());
  if (!servant) return Failure(servant.error());
  auto jinja = std::make_unique<ConfinedJinja>(std::move(*servant), limits);
  RETURN_IF_ERROR(jinja->parse(text));
  return std::unique_ptr<Jinja>(std::move(jinja));
}

namespace {

std::string& program_of_templates() {
  static std::string program;
  return program;
}

}  // namespace

void confine_templates_to(std::string program) { program_of_templates() = std::move(program); }
const std::string& template_program() { return program_of_templates(); }

void answer_as_jinja() {
  ::tzset();  // needs a file
  std::unique_ptr<Jinja> jinja;
  JinjaLimits limits;
  confine_this_process(kOtherMemoryBytes);
  answer_messages([&](std::string message) {
    std::string_view rest = message;
    const char kind = take_value<char>(rest);
    if (kind == 'P') {
      limits.seconds_max = take_value<double>(rest);
      limits.memory_bytes_max = take_value<uint64_t>(rest);
      limit_cpu_from_now(limits.seconds_max);
      auto parsed = Jinja::parse(rest, limits);
      if (!parsed) return answer_of(Failure(parsed.error()));
      jinja = std::move(*parsed);
      return answer_of(std::string());
    }
    if (jinja == nullptr) return answer_of(error(Code::kInternal, "no chat template"));
    limit_cpu_from_now(limits.seconds_max);
    const auto now = static_cast<std::time_t>(take_value<int64_t>(rest));
    return answer_of(jinja->render(std::string(rest), now));
  });
}

}  // namespace spillway
