// SPDX-License-Identifier: MIT
// Any bytes as the body of a request, of every protocol: refused in one line that is an error of that protocol, or a
// call that makes sense. Any text as an answer: what the writers make of it is framed, and JSON in UTF-8.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "chat/json_text.h"
#include "model/modelfile.h"
#include "serve/anthropic.h"
#include "serve/model_requests.h"
#include "serve/ollama.h"
#include "serve/openai.h"
#include "serve/openai_responses.h"

namespace spillway {
namespace {

using WriterOf = std::function<std::unique_ptr<AnswerWriter>(const Call&)>;

void check_json(std::string_view text) { CHECK(is_json_object(text) && valid_utf8(text) == text); }

void check_refusal(const Status& status) {
  CHECK(http_status(status) == 400);
  CHECK(!status.message().empty());
  for (const std::string& body : {ollama_error(status), openai_error(status), anthropic_error(status, "id")})
    check_json(body);
}

void check_call(const Call& call) {
  CHECK(!call.model.empty());
  CHECK(call.top_scores <= 20);
  CHECK(is_json_object(call.template_variables));
  CHECK(call.schema.empty() || is_json(call.schema));
  for (const Tool& tool : call.tools) CHECK(!tool.name.empty() && is_json(tool.parameters));
  for (const Message& message : call.messages) {
    CHECK(!message.role.empty());  // any other than the four is the template's affair
    for (const ToolCall& one : message.tool_calls) CHECK(is_json_object(one.arguments));
  }
  for (const TokenId id : call.tokens) CHECK(id >= 0);
}

// NDJSON: an object per line. Events: "event: ", "data: " or a comment, and an empty line behind each.
void check_stream(std::string_view bytes, std::string_view type) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    CHECK(end != std::string_view::npos);
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (type == "application/x-ndjson") {
      check_json(line);
    } else if (line.starts_with("data: ")) {
      line.remove_prefix(6);
      if (line != "[DONE]") check_json(line);
      CHECK(bytes.starts_with('\n'));
    } else {
      CHECK(line.empty() || line.starts_with("event: ") || line.starts_with(':'));
    }
  }
}

AnswerPart part_of(std::string_view text) {
  AnswerPart part;
  const size_t a = text.size() / 3, b = text.size() * 2 / 3;
  part.content = text.substr(0, a);
  part.thinking = text.substr(a, b - a);
  part.tool_calls.push_back({.id = "call_1", .name = std::string(text.substr(b)), .arguments = std::string(text)});
  part.scores.push_back({.id = 1, .bytes = std::string(text.substr(0, 4)), .logprob = -1, .top = {}});
  return part;
}

void check_writer(AnswerWriter& writer, std::string_view text) {
  const AnswerPart part = part_of(text);
  const std::string_view type = writer.stream_type();
  check_stream(writer.part(part), type);
  check_stream(writer.heartbeat(), type);
  check_stream(writer.part({.content = std::string(text), .thinking = {}, .tool_calls = {}, .scores = {}}), type);
  check_stream(writer.failure({Code::kIo, std::string(text)}), type);
  check_stream(writer.end({.stop_string = std::string(text.substr(0, 9)), .context = {}}), type);
}

void check(Result<Call> call, std::string_view body, const WriterOf& writer_of) {
  if (!call) return check_refusal(call.error());
  check_call(*call);
  check_writer(*writer_of(*call), body);
  std::string whole = writer_of(*call)->whole(part_of(body), {.stop_string = {}, .context = {}});
  if (whole.ends_with('\n')) whole.pop_back();
  check_json(whole);
}

void check(Result<EmbedCall> call) {
  if (!call) return check_refusal(call.error());
  CHECK(!call->model.empty());
  CHECK(call->texts.empty() || call->token_texts.empty());
  CHECK(!call->dimensions || *call->dimensions >= 1);
}

void check_create(std::string_view body) {
  const auto json = parse_json_object(body);
  if (!json) return check_refusal(json.error());
  const auto name = model_field(*json);
  if (!name) check_refusal(name.error());
  const auto create = parse_create(*json);
  if (!create) return check_refusal(create.error());
  CHECK(!create->from.empty() || !create->blobs.empty());
  CHECK(check_parameters(create->parameters).has_value());
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  const std::string_view body(reinterpret_cast<const char*>(data), bytes);
  const WriterOf ollama = [](const Call& call) { return make_ollama_writer(call, [] { return 1.7e9; }); };
  check(parse_ollama_chat(body), body, ollama);
  check(parse_ollama_generate(body), body, ollama);
  check(parse_openai_chat(body), body, [](const Call& call) { return make_openai_chat_writer(call, "id", 1); });
  check(parse_openai_completion(body), body,
        [](const Call& call) { return make_openai_completion_writer(call, "id", 1); });
  check(parse_openai_responses(body), body,
        [](const Call& call) { return make_openai_responses_writer(call, "id", 1); });
  for (const bool counting : {false, true})
    check(parse_anthropic_messages(body, counting), body,
          [](const Call& call) { return make_anthropic_writer(call, "id", "request"); });
  check(parse_ollama_embed(body));
  check(parse_ollama_embeddings(body));
  check(parse_openai_embeddings(body));
  check_create(body);
  return 0;
}
