// SPDX-License-Identifier: MIT
// The text goes through a buffer that holds what is not certain yet: a mark that may be beginning, a call that is not
// complete, blanks that are dropped if a mark follows, a character that is cut.
#include "chat/output_parser.h"

#include <algorithm>

#include "chat/call_reader.h"
#include "chat/harmony_parser.h"
#include "chat/json_text.h"
#include "chat/stepped_parser.h"
#include "chat/text_tail.h"

namespace spillway {
namespace {

class MarkedParser : public SteppedParser {
 public:
  explicit MarkedParser(ParserOptions options)
      : options_(std::move(options)), reader_(options_.format.calls, options_.tools) {
    trim_ = options_.skips_first_blanks;
    may_reopen_ = options_.starts_in_thinking;
    if (options_.starts_in_thinking) begin_thinking();
    if (options_.starts_in_answer) state_ = State::kContent;
  }

  bool in_thinking() const override { return state_ == State::kThinking; }

 private:
  enum class State {
    kStart,  // of the answer, or of what follows thoughts or calls: only blanks so far
    kThinking,
    kContent,
    kBehindCalls,
  };

  bool step(OutputDelta& delta) override {
    if (buffer_.empty()) return false;
    switch (state_) {
      case State::kStart:
        return start(delta);
      case State::kThinking:
        return think(delta);
      case State::kContent:
        return write(delta);
      case State::kBehindCalls:
        return behind_calls(delta);
    }
    return false;
  }

  // Decides what begins here.
  bool start(OutputDelta& delta) {
    const size_t blanks = blanks_before(buffer_);
    if (trim_) buffer_.erase(0, blanks);
    const std::string_view rest = std::string_view(buffer_).substr(trim_ ? 0 : blanks);
    if (rest.empty() && !ended_) return false;
    if (!has_thought_ && !options_.format.think_begin.empty()) {
      const std::string& mark = options_.format.think_begin;
      if (rest.starts_with(mark)) {
        buffer_.erase(0, buffer_.size() - rest.size() + mark.size());
        begin_thinking();
        return true;
      }
      if (!ended_ && mark.starts_with(rest)) return false;
    }
    bool may_begin = false;
    for (const CallMark& mark : reader_.marks()) {
      if (rest.starts_with(mark.text)) {
        const CallAttempt attempt = reader_.read(rest);
        if (attempt.outcome == CallAttempt::kMore && !ended_) return false;
        if (attempt.outcome == CallAttempt::kCalls) return take(attempt, buffer_.size() - rest.size(), delta);
        if (attempt.outcome == CallAttempt::kMore && (attempt.is_call || is_cut_in(mark))) return drop_cut_call();
      } else if (mark.text.starts_with(rest) && !rest.empty()) {
        if (is_cut_in(mark)) return drop_cut_call();
        may_begin = may_begin || !ended_;
      }
    }
    const std::string& begin = options_.format.text_begin;
    if (!begin.empty() && rest.starts_with(begin)) {
      buffer_.erase(0, buffer_.size() - rest.size() + begin.size());
      state_ = State::kContent;
      return true;
    }
    if (may_begin || (!ended_ && !begin.empty() && begin.starts_with(rest))) return false;
    state_ = State::kContent;
    return true;
  }

  // The answer ended within a call. Half of its marks are nothing to read.
  bool drop_cut_call() {
    buffer_.clear();
    dropped_half_call_ = true;
    return false;
  }

  // Where calls are bare JSON, JSON that was cut may be the answer itself, unless a call was to come.
  bool is_cut_in(const CallMark& mark) const {
    const bool is_json = mark.text == "{" || mark.text == "[" || mark.text == "```json";
    return cut_ && (options_.calls_are_forced || !is_json);
  }

  void begin_thinking() {
    state_ = State::kThinking;
    has_thought_ = true;
    trim_ = true;
  }

  bool think(OutputDelta& delta) {
    const std::string& end = options_.format.think_end;
    if (trim_) {
      buffer_.erase(0, blanks_before(buffer_));
      // The prompt opened the thought, and some models open it again.
      const std::string& begin = options_.format.think_begin;
      if (may_reopen_ && !ended_ && buffer_.size() < begin.size() && begin.starts_with(buffer_)) return false;
      if (std::exchange(may_reopen_, false) && buffer_.starts_with(begin)) buffer_.erase(0, begin.size());
      buffer_.erase(0, blanks_before(buffer_));
      if (buffer_.empty()) return false;
      if (!end.starts_with(buffer_.substr(0, end.size()))) trim_ = false;
    }
    const size_t found = buffer_.find(end);
    if (found != std::string::npos) {
      delta.thinking += std::string_view(buffer_).substr(0, end_without_blanks(buffer_, found));
      buffer_.erase(0, found + end.size());
      state_ = State::kStart;
      trim_ = true;
      return true;
    }
    size_t certain = buffer_.size();
    if (!ended_) {
      certain = end_without_blanks(buffer_, certain - begun_size(buffer_, end));
      certain = end_of_whole_characters(buffer_, certain);
    }
    pass_on(certain, delta.thinking);
    return false;
  }

  bool write(OutputDelta& delta) {
    size_t found = std::string::npos, mark_size = 0;
    for (const CallMark& mark : reader_.marks())
      if (!mark.at_start) found = std::min(found, buffer_.find(mark.text));
    for (const std::string& mark : options_.format.text_ends)
      if (const size_t end = buffer_.find(mark); end < found) {
        found = end;
        mark_size = mark.size();
      }
    if (mark_size > 0) {
      pass_on(end_without_blanks(buffer_, found), delta.content);
      buffer_.erase(0, blanks_before(buffer_) + mark_size);
      state_ = State::kStart;
      trim_ = true;
      return true;
    }
    if (found != std::string::npos) {
      const CallAttempt attempt = reader_.read(std::string_view(buffer_).substr(found));
      if (attempt.outcome == CallAttempt::kCalls) {
        delta.content += std::string_view(buffer_).substr(0, end_without_blanks(buffer_, found));
        return take(attempt, found, delta);
      }
      if (attempt.outcome == CallAttempt::kMore && (!ended_ || cut_ || attempt.is_call)) {
        pass_on(end_without_blanks(buffer_, found), delta.content);
        return ended_ ? drop_cut_call() : false;
      }
      pass_on(found + 1, delta.content);  // no call: the mark is text, what follows is looked at again
      return true;
    }
    size_t certain = buffer_.size(), begun = 0;
    for (const CallMark& mark : reader_.marks())
      if (!mark.at_start) begun = std::max(begun, begun_size(buffer_, mark.text));
    if (cut_ && begun > 0) {
      pass_on(end_without_blanks(buffer_, certain - begun), delta.content);
      return drop_cut_call();
    }
    if (!ended_) {
      for (const std::string& mark : options_.format.text_ends) begun = std::max(begun, begun_size(buffer_, mark));
      certain -= begun;
      // Blanks in front of a call are dropped.
      if (!reader_.marks().empty() || !options_.format.text_ends.empty())
        certain = end_without_blanks(buffer_, certain);
      certain = end_of_whole_characters(buffer_, certain);
    }
    pass_on(certain, delta.content);
    return false;
  }

  bool take(const CallAttempt& attempt, size_t at, OutputDelta& delta) {
    delta.tool_calls.insert(delta.tool_calls.end(), attempt.calls.begin(), attempt.calls.end());
    last_call_ = attempt.calls.back().name;
    buffer_.erase(0, at + attempt.consumed);
    state_ = State::kBehindCalls;
    return true;
  }

  // Another call, or what ends them all.
  bool behind_calls(OutputDelta& delta) {
    const CallAttempt attempt = reader_.read_next(buffer_, last_call_);
    if (attempt.outcome == CallAttempt::kCalls) return take(attempt, 0, delta);
    if (attempt.outcome == CallAttempt::kMore && !ended_) return false;
    if (attempt.outcome == CallAttempt::kMore) {
      const size_t ends = reader_.rest_of_calls(buffer_, last_call_, true).value_or(0);
      if (attempt.is_call || begins_call(std::string_view(buffer_).substr(ends))) return drop_cut_call();
      if (cut_) buffer_.clear();  // what ends calls, or goes on to another
    }
    const auto rest = reader_.rest_of_calls(buffer_, last_call_, ended_);
    if (!rest) return false;
    buffer_.erase(0, *rest);
    state_ = State::kStart;
    trim_ = true;
    return true;
  }

  // A cut left the mark of another call, or so much of it that nothing else can have been meant.
  bool begins_call(std::string_view text) const {
    text.remove_prefix(blanks_before(text));
    const auto& marks = reader_.marks();
    return cut_ && std::any_of(marks.begin(), marks.end(), [&](const CallMark& mark) {
             return text.starts_with(mark.text) || (text.size() > 1 && mark.text.starts_with(text));
           });
  }

  void pass_on(size_t bytes, std::string& to) {
    to += std::string_view(buffer_).substr(0, bytes);
    buffer_.erase(0, bytes);
  }

  const ParserOptions options_;
  const CallReader reader_;
  State state_ = State::kStart;
  std::string last_call_;     // the function's name
  bool trim_ = false;         // blanks at the start of this part say nothing
  bool has_thought_ = false;  // thoughts come once, first
  bool may_reopen_ = false;
};

}  // namespace

std::unique_ptr<OutputParser> OutputParser::make(ParserOptions options) {
  if (options.format.harmony) return make_harmony_parser(std::move(options));
  return std::make_unique<MarkedParser>(std::move(options));
}

}  // namespace spillway
