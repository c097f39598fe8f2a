// SPDX-License-Identifier: MIT
#include "engine/text_cuts.h"

#include <algorithm>
#include <cctype>
#include <functional>

#include "base/saturating_sub.h"

namespace spillway {
namespace {

std::string key_of(std::string_view text) { return std::string(text.substr(0, 2)); }

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

}  // namespace

TextCuts::TextCuts(const std::vector<SpecialText>& specials) {
  for (const SpecialText& special : specials) {
    if (special.text.empty()) continue;
    any_strips_ = any_strips_ || special.strips;
    bytes_max_ = std::max(bytes_max_, special.text.size());
    const auto [place, is_new] = specials_.emplace(special.text, special.is_control);
    if (!is_new) place->second = place->second && special.is_control;
    if (special.text.find_first_not_of(special.text.front()) == std::string::npos) {
      RunBytes& run = runs_[static_cast<unsigned char>(special.text.front())];
      run.all = std::max(run.all, special.text.size());
      if (!special.is_control) run.without_control = std::max(run.without_control, special.text.size());
    }
    std::vector<size_t>& lengths = lengths_[key_of(special.text)];
    if (std::find(lengths.begin(), lengths.end(), special.text.size()) == lengths.end())
      lengths.push_back(special.text.size());
  }
  for (auto& [key, lengths] : lengths_) std::sort(lengths.begin(), lengths.end(), std::greater<>());
}

TextCuts::Found TextCuts::longest_at(std::string_view text, size_t at) const {
  Found longest;
  for (const size_t key_bytes : {size_t{2}, size_t{1}}) {
    const auto lengths = lengths_.find(std::string(text.substr(at, key_bytes)));
    if (lengths == lengths_.end()) continue;
    for (const size_t bytes : lengths->second) {
      if (bytes <= longest.bytes || at + bytes > text.size()) continue;
      const auto special = specials_.find(std::string(text.substr(at, bytes)));
      if (special != specials_.end()) longest = {bytes, special->second};
    }
  }
  return longest;
}

// Blanks that a special text may take make its neighbours uncertain.
bool TextCuts::may_cut(std::string_view text, size_t begin, const Found& found, bool finds_control) const {
  if (found.is_control && !finds_control) return false;
  if (!any_strips_) return true;
  const size_t end = begin + found.bytes;
  return !is_blank(text[begin]) && !is_blank(text[end - 1]) && (begin == 0 || !is_blank(text[begin - 1])) &&
         (end == text.size() || !is_blank(text[end]));
}

// Special texts that overlap are one group. libllama takes longer ones first, so one that covers its whole group is
// certain to be a token; of any other group that cannot be said.
size_t TextCuts::next_cut(std::string_view text, size_t from, bool finds_control) const {
  size_t begin = 0, end = 0;  // of the group
  Found whole;                // that covers it; 0 bytes: none does
  for (size_t at = saturating_sub(from, bytes_max_); at < text.size(); ++at) {
    if (end > begin && at >= end) {
      if (begin >= from && whole.bytes == end - begin && may_cut(text, begin, whole, finds_control)) return end;
      begin = end = 0;
    }
    const Found found = longest_at(text, at);
    if (found.bytes == 0) continue;
    if (end == begin) {
      begin = at;
      end = at + found.bytes;
      whole = found;
    } else if (at + found.bytes > end) {
      end = at + found.bytes;
      whole = {};
    }
  }
  return text.size();
}

// A run of one byte, such as spaces, is one long group where specials of two and more of them exist. libllama divides
// it from its begin on into the longest of these, until one that is no run could overlap: behind each of those it may
// be cut.
size_t TextCuts::next_cut_of_run(std::string_view text, size_t from, bool finds_control, const char*& run_end) const {
  const char byte = text[from];
  const RunBytes& longest = runs_[static_cast<unsigned char>(byte)];
  const size_t piece = finds_control ? longest.all : longest.without_control;
  if (piece < 2 || (any_strips_ && is_blank(byte))) return 0;
  size_t begin = from;
  while (begin > 0 && text[begin - 1] == byte) --begin;
  // What is as long, and begins before the run, may be taken before the run's first piece.
  for (size_t at = saturating_sub(begin, bytes_max_); at < begin; ++at)
    if (const size_t bytes = longest_at(text, at).bytes; bytes >= piece && at + bytes > begin) return 0;
  const size_t cut = begin + std::max<size_t>((from - begin + piece - 1) / piece, 1) * piece;
  if (run_end <= text.data() + from) run_end = text.data() + std::min(text.find_first_not_of(byte, from), text.size());
  return cut + bytes_max_ <= static_cast<size_t>(run_end - text.data()) ? cut : 0;
}

std::vector<std::string_view> TextCuts::parts(std::string_view text, size_t part_bytes, bool finds_control) const {
  std::vector<std::string_view> all;
  size_t begin = 0;
  const char* run_end = text.data();
  while (text.size() - begin > part_bytes) {
    // Each part is divided as if nothing were before it.
    const size_t in_run = next_cut_of_run(text.substr(begin), part_bytes, finds_control, run_end);
    const size_t end = in_run > 0 ? begin + in_run : next_cut(text, begin + part_bytes, finds_control);
    all.push_back(text.substr(begin, end - begin));
    begin = end;
    if (begin == text.size()) return all;
  }
  all.push_back(text.substr(begin));
  return all;
}

}  // namespace spillway
