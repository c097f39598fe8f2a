// SPDX-License-Identifier: MIT
// Messages: 'P', limits and the template; 'R', the time and the variables. Answers: 'K' and a text; 'E', the code of a
// Status and its message.
#include "chat/confined_jinja.h"

#include <fmt/format.h>

#include <cstring>
#include <ctime>

#include "base/utf8.h"
#include "os/servant_process.h"

namespace spillway {
namespace {

// Beyond what the interpreter may take: the program itself, and texts on their way.
constexpr uint64_t kOtherMemoryBytes = 2ull << 30;
// A machine that is busy with other things; the process's own time is bounded by itself.
constexpr double kPatience = 30;
// What an answer has beyond its text.
constexpr uint64_t kAnswerBytesMax = 256ull << 20;

template <typename T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}
template <typename T>
T take(std::string_view& from) {
  T value{};
  if (from.size() >= sizeof value) std::memcpy(&value, from.data(), sizeof value);
  from.remove_prefix(std::min(from.size(), sizeof value));
  return value;
}

class ConfinedJinja : public Jinja {
 public:
  ConfinedJinja(std::unique_ptr<ServantProcess> servant, const JinjaLimits& limits)
      : servant_(std::move(servant)), limits_(limits) {}

  Result<void> parse(std::string_view text) {
    std::string message = "P";
    put(message, limits_.seconds_max);
    put(message, limits_.memory_bytes_max);
    const auto answer = ask(message.append(text));
    return answer ? Result<void>() : Failure(answer.error());
  }

  Result<std::string> render(const std::string& variables, std::time_t now) override {
    std::string message = "R";
    put(message, int64_t{now});
    return ask(message.append(variables));
  }

  double child_cpu_s() const override { return servant_->cpu_s(); }

 private:
  Result<std::string> ask(std::string_view message) {
    auto answer = servant_->ask(message, limits_.seconds_max * kPatience, kAnswerBytesMax);
    if (!answer)
      return error(Code::kOutOfBudget,
                   answer.error().code() == Code::kIo
                       ? fmt::format("the chat template ran for more than {} s, or broke down", limits_.seconds_max)
                       : fmt::format("the chat template was stopped: {}", answer.error().message()));
    if (answer->starts_with('K')) return answer->substr(1);
    std::string_view rest = std::string_view(*answer).substr(std::min<size_t>(answer->size(), 1));
    const auto code = take<int32_t>(rest);
    const bool known = code >= 0 && code <= static_cast<int32_t>(Code::kInternal);
    return error(known ? static_cast<Code>(code) : Code::kInternal, shortened(rest));
  }

  const std::unique_ptr<ServantProcess> servant_;
  const JinjaLimits limits_;
};

std::string answer_of(const Result<std::string>& result) {
  if (result) return "K" + *result;
  std::string answer = "E";
  put(answer, static_cast<int32_t>(result.error().code()));
  return answer + result.error().message();
}

}  // namespace

Result<std::unique_ptr<Jinja>> parse_confined(const std::string& program, std::string_view text,
                                              const JinjaLimits& limits) {
  ASSIGN_OR_RETURN(auto servant, ServantProcess::start(program, {kJinjaArgument}));
  auto jinja = std::make_unique<ConfinedJinja>(std::move(servant), limits);
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
    const char kind = take<char>(rest);
    if (kind == 'P') {
      limits.seconds_max = take<double>(rest);
      limits.memory_bytes_max = take<uint64_t>(rest);
      limit_cpu_from_now(limits.seconds_max);
      auto parsed = Jinja::parse(rest, limits);
      if (!parsed) return answer_of(Failure(parsed.error()));
      jinja = std::move(*parsed);
      return answer_of(std::string());
    }
    if (jinja == nullptr) return answer_of(error(Code::kInternal, "no chat template"));
    limit_cpu_from_now(limits.seconds_max);
    const auto now = static_cast<std::time_t>(take<int64_t>(rest));
    return answer_of(jinja->render(std::string(rest), now));
  });
}

}  // namespace spillway
