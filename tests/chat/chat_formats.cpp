// SPDX-License-Identifier: MIT
// Holds chat templates to what Spillway derives from them: what a template writes of calls is read back as those calls
// and as nothing else, whole and in random pieces; the grammar of calls admits it; and all that the grammar admits is
// read as calls alone.
//
//   chat_formats [--verbose] [--without NAME]... FILE...
//
// One line for each template: its name, and "ok" and its format, "none" where it is announced without tools, or what is
// wrong. Exit code 1 where anything is, or where tools are announced of another set of templates than of all but those
// named --without.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "chat/answer_grammar.h"
#include "chat/call_writer.h"
#include "chat/output_parser.h"
#include "chat/template.h"
#include "gbnf_matcher.h"

namespace spillway {
namespace {

using Json = nlohmann::json;

const std::vector<Tool> kTools = {
    {.name = "find_file",
     .description = "Finds a file.",
     .parameters =
         R"({"type":"object","properties":{"data":{"type":"object","properties":{"deep":{"type":"array","items":{"type":"string"}},"on":{"type":"boolean"}},"additionalProperties":{"type":"string"},"description":"d"},"flag":{"type":"boolean","description":"d"},"list":{"type":"array","items":{"type":"integer"},"description":"d"},"number":{"type":"integer","description":"d"},"share":{"type":"number","description":"d"},"text":{"type":"string","description":"d"}},"required":["text"]})"},
    {.name = "list_all", .description = "Lists.", .parameters = R"({"type":"object","properties":{}})"}};

const std::vector<std::string> kArguments = {
    R"({"text": "plain"})",
    R"({"text": "two words, (a) [b] {c} = d: e"})",
    R"({"text": "12"})",
    R"({"text": "true"})",
    R"({"text": "{\"a\": [1]}"})",
    R"({"text": "say \"yes\" and 'no'"})",
    R"({"text": "line one\nline two\n\n    indented"})",
    R"({"text": "<p class=\"x\">a</p> & <b>"})",
    R"({"text": "back\\slash é 😀"})",
    R"({"text": ""})",
    R"({"number": 17, "text": "a"})",
    R"({"share": 0.25, "text": "a"})",
    R"({"number": -3, "text": "a"})",
    R"({"flag": true, "text": "a"})",
    R"({"flag": false, "text": "a"})",
    R"({"list": [1, 2, 3], "text": "a"})",
    R"({"data": {"deep": ["x", "y z"], "on": true}, "text": "a"})",
    R"({"data": {"deep": ["x, 'y'", "q \"z\" q"], "on": false}, "flag": true, "list": [4], "number": 1, "share": 1.5, "text": "all"})",
};

const Message kAsk{.role = "user", .content = "the-question"};

struct FormatFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string behind_question(const std::string& text) {
  const size_t at = text.rfind("the-question");
  return at == std::string::npos ? "" : text.substr(at);
}

class Check {
 public:
  explicit Check(const ChatTemplate& chat) : chat_(chat), format_(chat.traits().output) {}

  void run() {
    prompt_ = behind_question(render({kAsk}, true));
    const std::string text = behind_question(render({kAsk, {.role = "assistant", .content = "the-answer"}}, false));
    const size_t at = text.find("the-answer");
    turn_end_ = at == std::string::npos ? "" : text.substr(at + 10);
    check_calls();
    check_thoughts();
    check_grammar();
  }
  size_t rendered() const { return rendered_; }

 private:
  std::string render(const std::vector<Message>& messages, bool for_answer) const {
    PromptOptions options;
    options.add_generation_prompt = for_answer;
    const auto prompt = chat_.render(messages, kTools, options);
    return prompt ? prompt->text : "";
  }

  // What the template writes of an answer behind its prompt.
  std::string written(const Message& answer, bool answered) const {
    std::vector<Message> messages = {kAsk, answer};
    if (answered)
      for (const ToolCall& call : answer.tool_calls)
        messages.push_back({.role = "tool", .content = "the-result", .tool_name = call.name, .tool_call_id = call.id});
    const std::string whole = behind_question(render(messages, false));
    size_t same = 0;
    while (same < std::min(whole.size(), prompt_.size()) && whole[same] == prompt_[same]) ++same;
    if (same < prompt_.size())  // not in the middle of a mark
      while (same > 0 && whole[same - 1] != '>' && whole[same - 1] != '\n' && whole[same - 1] != ']') --same;
    std::string behind = whole.substr(same);
    // What a template says behind every conversation, and in front of an answer.
    size_t tail = 0;
    while (tail < std::min(behind.size(), turn_end_.size()) &&
           behind[behind.size() - 1 - tail] == turn_end_[turn_end_.size() - 1 - tail])
      ++tail;
    if (tail > 100) behind.resize(behind.size() - tail);
    for (size_t size = std::min<size_t>(behind.size(), 40); size > 3 && tail > 100; --size)
      if (prompt_.ends_with(behind.substr(0, size))) {
        behind.erase(0, size);
        break;
      }
    // The prompt opened a thought, or history has lost its beginning.
    const std::string& end = format_.think_end;
    const size_t begins = behind.find_first_not_of(" \n");
    if (!end.empty() && begins != std::string::npos && behind.compare(begins, end.size(), end) == 0)
      behind.erase(0, begins + end.size());
    return behind;
  }

  OutputDelta read(const std::string& text, bool pieces) {
    const auto parser = OutputParser::make({.format = format_, .tools = kTools});
    OutputDelta all;
    const auto add = [&](OutputDelta delta) {
      all.content += delta.content;
      all.thinking += delta.thinking;
      for (ToolCall& call : delta.tool_calls) all.tool_calls.push_back(std::move(call));
    };
    for (size_t at = 0; at < text.size();) {
      const size_t size = pieces ? 1 + random_() % 9 : text.size();
      add(parser->push(std::string_view(text).substr(at, size)));
      at += size;
    }
    add(parser->finish());
    return all;
  }

  // Empty, or nothing but the end of a turn, which no answer holds.
  bool is_turn_end(std::string text) const {
    const auto trim = [](std::string& s) {
      s.erase(0, s.find_first_not_of(" \n"));
      s.erase(s.find_last_not_of(" \n") + 1);
    };
    std::string end = turn_end_;
    trim(text);
    trim(end);
    if (text.empty() || end.ends_with(text) || text.starts_with(end.substr(0, end.find('>') + 1))) return true;
    for (const char* token :
         {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "</s>", "<end_of_turn>", "<turn|>",
          "<｜end▁of▁sentence｜>", "<|call|>", "<|calls|>", "<|tool_response>", "<|eot|>", "<sep>", "</assistant>",
          "<|END_OF_TURN_TOKEN|>", "<|end_of_text|>", "[e~[", "<SPECIAL_12>", "<|message_sep|>"})
      if (text.starts_with(token)) return true;
    return false;
  }

  void expect(const std::string& text, const std::vector<ToolCall>& calls, const std::string& content,
              const char* what) {
    for (int round = 0; round < 4; ++round) {
      const OutputDelta all = read(text, round > 0);
      std::string got = all.content;
      if (!content.empty()) got.erase(0, got.find_first_not_of(" \n"));
      bool same = all.tool_calls.size() == calls.size();
      for (size_t i = 0; same && i < calls.size(); ++i)
        same = all.tool_calls[i].name == calls[i].name &&
               Json::parse(all.tool_calls[i].arguments, nullptr, false) == Json::parse(calls[i].arguments);
      bool text_same = got == content;
      if (!text_same && got.starts_with(content)) text_same = is_turn_end(got.substr(content.size()));
      if (same && text_same) continue;
      std::string shown;
      for (const ToolCall& call : all.tool_calls) shown += " " + call.name + call.arguments;
      throw FormatFailure(fmt::format("{}{}: {} → content {}, thought {}, calls{}", what, round > 0 ? " in pieces" : "",
                                      Json(text).dump(), Json(all.content).dump(), Json(all.thinking).dump(), shown));
    }
  }

  void check_calls() {
    const bool answered = written({.role = "assistant", .tool_calls = {one(kArguments[0])}}, false).find("find_file") ==
                          std::string::npos;
    for (const std::string& arguments : kArguments) {
      const std::vector<ToolCall> calls = {one(arguments)};
      const std::string text = written({.role = "assistant", .tool_calls = calls}, answered);
      if (text.find("find_file") == std::string::npos) return;  // nothing is shown of calls
      ++rendered_;
      expect(text, calls, "", "one call");
      canonical_.push_back(text);
    }
    const ToolCall none{.id = "abcdef124", .name = "list_all", .arguments = "{}"};
    expect(written({.role = "assistant", .tool_calls = {none}}, answered), {none}, "", "no arguments");
    if (format_.harmony || !format_.calls->between) return;
    const std::vector<ToolCall> both = {one(kArguments[7]), none};
    const std::string two = written({.role = "assistant", .tool_calls = both}, answered);
    if (two.find("list_all") != std::string::npos) expect(two, both, "", "two calls");
    const Message says{.role = "assistant", .content = "I look.", .tool_calls = both};
    const std::string text = written(says, answered);
    // Some templates put the text behind its calls, or in a turn of its own.
    if (text.find("find_file") != std::string::npos && text.find("I look.") < text.find("find_file") &&
        text.find(kAsk.role) == std::string::npos &&
        (trimmed_end().empty() || text.find(trimmed_end()) > text.find("find_file")))
      expect(text, both, "I look.", "text and calls");
  }
  std::string trimmed_end() const {
    const size_t begin = turn_end_.find_first_not_of(" \n");
    return begin == std::string::npos ? "" : turn_end_.substr(begin, turn_end_.find_last_not_of(" \n") + 1 - begin);
  }

  void check_thoughts() {
    const std::string text = written({.role = "assistant", .content = "the-answer", .thinking = "the-thought"}, false);
    const size_t at = text.find("the-thought");
    if (at == std::string::npos || text.find("the-answer") < at) return;
    // The prompt may have opened the thought.
    const bool opened = at == 0 || text.find_first_not_of(" \n") == at;
    const auto parser = OutputParser::make({.format = format_, .starts_in_thinking = opened, .tools = kTools});
    OutputDelta all = parser->push(text), rest = parser->finish();
    all.content += rest.content;
    all.thinking += rest.thinking;
    if (all.thinking != "the-thought" || !all.content.starts_with("the-answer") || !is_turn_end(all.content.substr(10)))
      throw FormatFailure(fmt::format("a thought: {} → content {}, thought {}", Json(text).dump(),
                                      Json(all.content).dump(), Json(all.thinking).dump()));
    thoughts_ = true;
  }

  void check_grammar() {
    for (const bool several : {false, true}) {
      const auto text = grammar_of_calls(format_, kTools, several);
      if (!text) throw FormatFailure("no grammar");
      GbnfMatcher grammar(*text);
      for (int round = 0; round < 60; ++round) {
        const std::string answer = grammar.sample(random_);
        OutputDelta all = read(answer, round % 2 == 0);
        if (!all.content.empty() || all.tool_calls.empty() || (!several && all.tool_calls.size() > 1))
          throw FormatFailure(fmt::format("the grammar admits {} → content {}, {} calls",
                                          Json(answer).dump(-1, ' ', false, Json::error_handler_t::replace),
                                          Json(all.content).dump(-1, ' ', false, Json::error_handler_t::replace),
                                          all.tool_calls.size()));
        for (const ToolCall& call : all.tool_calls) {
          const Json arguments = Json::parse(call.arguments, nullptr, false);
          if (!arguments.is_object() || (call.name == "find_file" && !arguments.value("text", Json()).is_string()))
            throw FormatFailure(fmt::format("the grammar admits {} → {}",
                                            Json(answer).dump(-1, ' ', false, Json::error_handler_t::replace),
                                            call.arguments));
        }
      }
      // As the template writes it, but for what ends the turn.
      for (const std::string& canonical : canonical_) {
        if (format_.harmony) break;
        bool admitted = false;
        const std::string_view whole(canonical);
        const size_t thought =
            format_.think_end.empty() ? std::string::npos : whole.rfind(format_.think_end, whole.find("find_file"));
        const std::string_view text_of =
            thought == std::string::npos ? whole : whole.substr(thought + format_.think_end.size());
        for (size_t from = 0; from < 3 && !admitted; ++from)
          for (size_t size = text_of.size(); size > from && !admitted; --size)
            admitted = grammar.matches(text_of.substr(from, size - from));
        // Some write \u where they need not, leave out python's escapes, spread JSON over lines,
        // or never end a single call.
        const bool odd = text_of.find("\\u") != std::string_view::npos ||
                         text_of.find(": {\n") != std::string_view::npos ||
                         (format_.calls->arguments.values.text == ValueSyntax::Text::kPython &&
                          text_of.find_first_of("\"\\\n") != std::string_view::npos);
        admitted = admitted || odd || grammar.matches(std::string(text_of) + format_.calls->end);
        if (!admitted) throw FormatFailure(fmt::format("the grammar does not admit {}", Json(canonical).dump()));
      }
    }
  }

  static ToolCall one(const std::string& arguments) {
    return {.id = "abcdef123", .name = "find_file", .arguments = arguments};
  }

  const ChatTemplate& chat_;
  const OutputFormat& format_;
  std::string prompt_, turn_end_;
  std::vector<std::string> canonical_;
  std::mt19937 random_{7};
  size_t rendered_ = 0;
  bool thoughts_ = false;
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

int run(int argc, char** argv) {
  bool verbose = false;
  int wrong = 0;
  std::vector<std::string> without;
  for (int i = 1; i < argc; ++i) {
    const std::string path = argv[i];
    if (path == "--verbose") {
      verbose = true;
      continue;
    }
    if (path == "--without" && i + 1 < argc) {
      without.emplace_back(argv[++i]);
      continue;
    }
    const std::string name = std::filesystem::path(path).stem().string();
    const auto chat = ChatTemplate::open({.text = read_file(path), .bos_token = "<s>", .eos_token = "</s>"});
    if (!chat) {
      std::cout << name << ": cannot be opened: " << chat.error().message() << "\n";
      ++wrong;
      continue;
    }
    const TemplateTraits& traits = (*chat)->traits();
    const std::string format = show(traits.output);
    const bool expects_none = std::find(without.begin(), without.end(), name) != without.end();
    if (!without.empty() && traits.tools == expects_none) ++wrong;
    if (!traits.tools) {
      std::cout << name << ": none (" << format << ")\n";
      continue;
    }
    Check check(**chat);
    try {
      check.run();
      std::cout << name << ": ok" << (check.rendered() == 0 ? " (calls are not shown)" : "");
      if (verbose) std::cout << ": " << format;
      std::cout << "\n";
    } catch (const std::exception& failure) {
      ++wrong;
      std::cout << name << ": WRONG: " << failure.what() << "\n   " << format << "\n";
    }
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv) { return spillway::run(argc, argv); }
