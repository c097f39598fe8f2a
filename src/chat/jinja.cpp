// SPDX-License-Identifier: MIT
#include "chat/jinja.h"

#include <fmt/format.h>
#include <quickjs.h>

#include <array>

#include "base/check.h"
#include "base/utf8.h"
#include "os/machine.h"

namespace spillway {

extern const std::string_view kJinjaScript;

namespace {

// Templates nest a few levels; a thread of a server has 8 MiB, of which this is a part. Sanitizers make frames several
// times larger.
constexpr size_t kStackBytesMax = 2ull << 20;

struct FreeRuntime {
  void operator()(JSRuntime* runtime) const { JS_FreeRuntime(runtime); }
};
struct FreeContext {
  void operator()(JSContext* context) const { JS_FreeContext(context); }
};

// A reference to a JavaScript value.
class Value {
 public:
  Value(JSContext* context, JSValue value) : context_(context), value_(value) {}
  ~Value() { JS_FreeValue(context_, value_); }
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;

  JSValue get() const { return value_; }
  bool is_exception() const { return JS_IsException(value_); }

  std::string text() const {
    size_t bytes = 0;
    const char* data = JS_ToCStringLen(context_, &bytes, value_);
    if (data == nullptr) {
      JS_FreeValue(context_, JS_GetException(context_));
      return "";
    }
    std::string text(data, bytes);
    JS_FreeCString(context_, data);
    return text;
  }
  std::string property(const char* name) const {
    return Value(context_, JS_GetPropertyStr(context_, value_, name)).text();
  }

 private:
  JSContext* const context_;
  const JSValue value_;
};

class QuickJsJinja : public Jinja {
 public:
  static Result<std::unique_ptr<Jinja>> parse(std::string_view text, const JinjaLimits& limits) {
    std::unique_ptr<QuickJsJinja> jinja(new QuickJsJinja(limits));
    RETURN_IF_ERROR(jinja->start());
    const Value source(jinja->context(), JS_NewStringLen(jinja->context(), text.data(), text.size()));
    RETURN_IF_ERROR(jinja->call("spillwayParse", {source.get(), JS_UNDEFINED}));
    return jinja;
  }

  Result<std::string> render(const std::string& variables, std::time_t now) override {
    now_ = now;
    const Value json(context(), JS_NewStringLen(context(), variables.data(), variables.size()));
    const Value format_time(context(), JS_NewCFunction(context(), format_time_now, "strftime", 1));
    return call("spillwayRender", {json.get(), format_time.get()});
  }

 private:
  explicit QuickJsJinja(const JinjaLimits& limits) : limits_(limits), runtime_(JS_NewRuntime()) {
    CHECK(runtime_ != nullptr);
    JS_SetMemoryLimit(runtime_.get(), limits.memory_bytes_max);
    JS_SetMaxStackSize(runtime_.get(), kStackBytesMax);
    JS_SetInterruptHandler(runtime_.get(), is_late, this);
  }

  JSContext* context() const { return context_.get(); }

  // Reads our script. What is not for templates (promises, typed arrays, weak references) is not even there.
  Result<void> start() {
    context_.reset(JS_NewContextRaw(runtime_.get()));
    if (context_ == nullptr) return error(Code::kOutOfBudget, "the chat template's interpreter has no memory");
    JSContext* const c = context();
    JS_SetContextOpaque(c, this);
    const bool ready = JS_AddIntrinsicBaseObjects(c) == 0 && JS_AddIntrinsicEval(c) == 0 &&
                       JS_AddIntrinsicRegExp(c) == 0 && JS_AddIntrinsicJSON(c) == 0 && JS_AddIntrinsicMapSet(c) == 0 &&
                       JS_AddIntrinsicBigInt(c) == 0;
    if (!ready) return error(Code::kOutOfBudget, "the chat template's interpreter has no memory");
    begin();
    const std::string script(kJinjaScript);  // ends with a zero, as JS_Eval wants it
    const Value result(c, JS_Eval(c, script.c_str(), script.size(), "jinja", JS_EVAL_TYPE_GLOBAL));
    if (result.is_exception()) return Failure(failure());
    return {};
  }

  void begin() {
    JS_UpdateStackTop(runtime_.get());  // another thread may have called before
    deadline_s_ = thread_cpu_s() + limits_.seconds_max;
  }

  Result<std::string> call(const char* name, std::array<JSValue, 2> arguments) {
    begin();
    const Value global(context(), JS_GetGlobalObject(context()));
    const Value function(context(), JS_GetPropertyStr(context(), global.get(), name));
    const Value result(context(), JS_Call(context(), function.get(), JS_UNDEFINED, 2, arguments.data()));
    if (result.is_exception()) return Failure(failure());
    if (JS_IsUndefined(result.get())) return std::string();
    return result.text();
  }

  // What was thrown, as a Status.
  Status failure() {
    const Value thrown(context(), JS_GetException(context()));
    if (JS_IsUncatchableError(thrown.get())) {
      JS_ResetUncatchableError(context());
      return {Code::kOutOfBudget, fmt::format("the chat template ran for more than {} s", limits_.seconds_max)};
    }
    const std::string name = thrown.property("name");
    // Anybody's words: a template says what it is refused with, and a syntax error repeats it.
    const std::string message = shortened(thrown.property("message"));
    if (name == "Refusal")
      return {Code::kInvalidArgument, message.empty() ? "the chat template refuses this conversation" : message};
    const bool too_large = message.find("memory") != std::string::npos || message.find("too long") != std::string::npos;
    if ((name == "InternalError" || name == "RangeError") && too_large)
      return {Code::kOutOfBudget,
              fmt::format("the chat template needs more than {} MiB of memory", limits_.memory_bytes_max >> 20)};
    if ((name == "RangeError" || name == "InternalError") && message.find("stack") != std::string::npos)
      return {Code::kOutOfBudget, "the chat template, or the conversation, is nested too deeply"};
    // Where the heap ran out so that not even the error could be made.
    if (name.empty() || name == "undefined" || name == "null")
      return {Code::kOutOfBudget, "the chat template needs too much memory"};
    return {Code::kUnsupported, fmt::format("the chat template failed: {}", message)};
  }

  static int is_late(JSRuntime*, void* self) {
    return thread_cpu_s() > static_cast<const QuickJsJinja*>(self)->deadline_s_ ? 1 : 0;
  }

  // strftime in the C locale: English names of days and months, as python's has by default.
  static JSValue format_time_now(JSContext* context, JSValueConst, int, JSValueConst* arguments) {
    const auto* self = static_cast<const QuickJsJinja*>(JS_GetContextOpaque(context));
    const char* format = JS_ToCString(context, arguments[0]);
    if (format == nullptr) return JS_EXCEPTION;
    std::tm local{};
    localtime_r(&self->now_, &local);
    std::array<char, 512> text{};
    const size_t bytes = std::strftime(text.data(), text.size(), format, &local);
    JS_FreeCString(context, format);
    return JS_NewStringLen(context, text.data(), bytes);
  }

  const JinjaLimits limits_;
  const std::unique_ptr<JSRuntime, FreeRuntime> runtime_;
  std::unique_ptr<JSContext, FreeContext> context_;  // goes before its runtime
  double deadline_s_ = 0;  // of the calling thread's own time: a busy machine makes no template slow
  std::time_t now_ = 0;
};

}  // namespace

Result<std::unique_ptr<Jinja>> Jinja::parse(std::string_view text, const JinjaLimits& limits) {
  return QuickJsJinja::parse(text, limits);
}

}  // namespace spillway
