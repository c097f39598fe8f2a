// SPDX-License-Identifier: MIT
#include "chat/harmony_parser.h"

#include <array>

#include "chat/call_reader.h"
#include "chat/json_text.h"
#include "chat/stepped_parser.h"
#include "chat/text_tail.h"

namespace spillway {
namespace {

constexpr std::string_view kMessage = "<|message|>", kStart = "<|start|>", kChannel = "<|channel|>";
constexpr std::string_view kFunctions = "to=functions.";
// What ends the text of a message. <|return|> and <|call|> end the generation, and then are often not shown.
constexpr std::array<std::string_view, 5> kEnds = {"<|end|>", "<|return|>", "<|call|>", kStart, kChannel};

class HarmonyParser : public SteppedParser {
 public:
  explicit HarmonyParser(ParserOptions options) : options_(std::move(options)) {
    if (options_.starts_in_answer) part_ = Part::kContent;
    answers_ = options_.starts_in_answer;
    if (options_.starts_in_thinking) part_ = Part::kThinking;
  }

  bool in_thinking() const override { return !answers_; }

 private:
  enum class Part { kHeader, kThinking, kContent, kCall };

  bool step(OutputDelta& delta) override {
    if (buffer_.empty()) return false;
    return part_ == Part::kHeader ? read_header() : read_text(delta);
  }

  bool read_header() {
    const std::string_view text = std::string_view(buffer_).substr(blanks_before(buffer_));
    if (text.empty() && !ended_) return false;
    const bool may_be_header = looks_like(text, kStart) || looks_like(text, kChannel) ||
                               looks_like(text, "assistant") || looks_like(text, "to=");
    // Text that was written without any header is for the reader.
    if (!may_be_header) {
      part_ = Part::kContent;
      answers_ = true;
      return true;
    }
    const size_t end = buffer_.find(kMessage);
    if (end != std::string::npos) {
      header_ = buffer_.substr(0, end);
      buffer_.erase(0, end + kMessage.size());
      part_ = part_of(header_);
      answers_ = answers_ || part_ != Part::kThinking;
      return true;
    }
    if (ended_) buffer_.clear();  // a header without a message says nothing
    return false;
  }

  static bool looks_like(std::string_view text, std::string_view mark) {
    return text.starts_with(mark) || mark.starts_with(text);
  }

  Part part_of(std::string_view header) const {
    if (!options_.tools.empty() && header.find(kFunctions) != std::string_view::npos) return Part::kCall;
    const size_t at = header.find(kChannel);
    const bool thinks = at != std::string_view::npos && header.substr(at + kChannel.size()).starts_with("analysis");
    return thinks ? Part::kThinking : Part::kContent;
  }

  bool read_text(OutputDelta& delta) {
    size_t end = std::string::npos, mark_size = 0;
    for (const std::string_view mark : kEnds) {
      const size_t found = buffer_.find(mark);
      if (found >= end) continue;
      end = found;
      // What begins the next header belongs to it.
      mark_size = mark == kStart || mark == kChannel ? 0 : mark.size();
    }
    if (end != std::string::npos || (ended_ && part_ == Part::kCall)) {
      const size_t size = std::min(end, buffer_.size());
      close(std::string_view(buffer_).substr(0, size), delta);
      buffer_.erase(0, size + mark_size);
      part_ = Part::kHeader;
      return true;
    }
    if (part_ == Part::kCall) return false;
    size_t certain = buffer_.size();
    if (!ended_) {
      size_t begun = 0;
      for (const std::string_view mark : kEnds) begun = std::max(begun, begun_size(buffer_, mark));
      certain = end_of_whole_characters(buffer_, certain - begun);
    }
    pass_on(std::string_view(buffer_).substr(0, certain), delta);
    buffer_.erase(0, certain);
    return false;
  }

  void pass_on(std::string_view text, OutputDelta& delta) const {
    (part_ == Part::kThinking ? delta.thinking : delta.content) += text;
  }

  // The rest of a message.
  void close(std::string_view text, OutputDelta& delta) {
    if (part_ == Part::kCall) {
      const size_t at = header_.find(kFunctions) + kFunctions.size();
      const std::string name = header_.substr(at, header_.find_first_of(" <\n", at) - at);
      const bool offered = std::any_of(options_.tools.begin(), options_.tools.end(),
                                       [&](const Tool& tool) { return tool.name == name; });
      if (offered && is_json_object(text)) {
        delta.tool_calls.push_back({.name = name, .arguments = std::string(without_blanks(text))});
        return;
      }
      // A cut in the middle of a call leaves half of its arguments.
      if (cut_ && offered) {
        dropped_half_call_ = true;
        return;
      }
    }
    pass_on(text, delta);
  }

  const ParserOptions options_;
  std::string header_;
  Part part_ = Part::kHeader;
  bool answers_ = false;
};

}  // namespace

std::unique_ptr<OutputParser> make_harmony_parser(ParserOptions options) {
  return std::make_unique<HarmonyParser>(std::move(options));
}

}  // namespace spillway
