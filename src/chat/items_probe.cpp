// SPDX-License-Identifier: MIT
#include "chat/items_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "chat/json_text.h"
#include "chat/mark_text.h"
#include "chat/pattern_reader.h"
#include "chat/value_text.h"

namespace spillway {
namespace {

using nlohmann::json;

constexpr const char* kNumber = "918273";

std::string with_part(std::string text, std::string_view part, char placeholder) {
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at)
    text.replace(at, part.size(), 1, placeholder);
  return text;
}

// Bytes that both begin with, or end with, marks or not.
size_t same_begin(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}
size_t same_end(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend()).first - a.rbegin());
}

// Text around one keyed value:  front KEY middle VALUE tail, with the key in the tail as a placeholder.
struct Parts {
  std::string front, middle, tail;
};
std::optional<Parts> parts_of(const std::string& text, std::string_view key, std::string_view value) {
  const size_t at = text.find(key);
  if (at == std::string::npos) return std::nullopt;
  const size_t behind = at + key.size(), found = text.find(value, behind);
  if (found == std::string::npos) return std::nullopt;
  return Parts{text.substr(0, at), text.substr(behind, found - behind),
               with_part(text.substr(found + value.size()), key, placeholder::kKey)};
}

// Items from  front ITEM tail  and what stands between two of them.
MarkedItems items_of(const std::string& front, const std::string& middle, const std::string& between,
                     const std::string& tail, bool keyed) {
  MarkedItems items;
  const size_t lead = common_suffix(between, front);
  items.begin = front.substr(0, front.size() - lead);
  items.between = between.substr(0, between.size() - lead);
  items.end = tail;
  items.key = front.substr(front.size() - lead) + (keyed ? placeholder::kKey + middle : middle);
  const size_t ends = common_prefix(items.between, items.end);
  items.value_end = items.between.substr(0, ends);
  items.between.erase(0, ends);
  items.end.erase(0, ends);
  return items;
}

class ItemsProber {
 public:
  explicit ItemsProber(const ItemsProbe& probe) : probe_(probe) {}

  std::optional<ProbedItems> run() {
    if (!probe_items()) return std::nullopt;
    probe_escapes();
    probe_words();
    probe_nested();
    arguments_.is_json = false;
    const MarkedItems& items = arguments_.items;
    const ValueSyntax& values = arguments_.values;
    std::string span = items.begin + with_placeholder(items.key, placeholder::kKey, probe_key::kText) +
                       values.text_open + probe_value::kText + values.text_close +
                       with_placeholder(items.value_end, placeholder::kKey, probe_key::kText) + items.end;
    return ProbedItems{std::move(arguments_), std::move(span)};
  }

 private:
  // Behind the name of the function; nullopt: it is not there.
  std::optional<std::string> behind_name(const std::string& arguments) const {
    const std::string text = probe_.written(arguments);
    const size_t at = text.find(probe_.name);
    if (at == std::string::npos) return std::nullopt;
    return with_part(probe_.without_turn_end(text.substr(at + probe_.name.size())), probe_.name, placeholder::kName);
  }
  std::optional<std::string> behind_name(const char* key, const std::string& value) const {
    return behind_name(fmt::format(R"({{"{}": {}}})", key, value));
  }

  bool probe_items() {
    const std::string a = fmt::format("\"{}\"", probe_value::kText), b = fmt::format("\"{}\"", probe_value::kMore);
    const auto one = behind_name(probe_key::kText, a), number = behind_name(probe_key::kNumber, kNumber),
               none = behind_name("{}"),
               two = behind_name(fmt::format(R"({{"{}": {}, "{}": {}}})", probe_key::kText, a, probe_key::kMore, b));
    if (!one || !number || !two) return false;
    const auto text = parts_of(*one, probe_key::kText, probe_value::kText);
    const auto other = parts_of(*number, probe_key::kNumber, kNumber);
    if (!text || !other) return false;
    const size_t first_end = two->find(probe_value::kText) + std::string_view(probe_value::kText).size();
    const size_t second = two->find(probe_key::kMore, first_end);
    if (two->find(probe_value::kText) == std::string::npos || second == std::string::npos) return false;
    std::string between = with_part(two->substr(first_end, second - first_end), probe_key::kText, placeholder::kKey);

    // 1. What tells text from other values: the marks that differ.
    ValueSyntax& values = arguments_.values;
    const size_t middle = same_begin(text->middle, other->middle), tail = same_end(text->tail, other->tail);
    values.text_open = text->middle.substr(middle);
    values.other_open = other->middle.substr(middle);
    values.text_close = text->tail.substr(0, text->tail.size() - tail);
    values.other_close = other->tail.substr(0, other->tail.size() - tail);
    other_tail_ = other->tail;
    if (!between.starts_with(values.text_close)) return false;
    between.erase(0, values.text_close.size());
    std::string behind = text->tail.substr(values.text_close.size()), front = text->front;

    // 2. What is there without any argument is not theirs.
    std::string empty;
    if (none) {
      size_t before = common_prefix(front, *none), after = common_suffix(behind, *none);
      if (before + after > none->size()) after = none->size() - before;
      empty = none->substr(before, none->size() - before - after);
      front.erase(0, before);
      behind.resize(behind.size() - after);
    } else {
      // At least the first mark behind a value is.
      front.erase(0, front.size() - common_suffix(between, front));
      behind.resize(common_prefix(between, behind));
    }
    arguments_.items = items_of(front, text->middle.substr(0, middle), between, behind, true);
    arguments_.items.empty = empty;
    const auto has_key = [](const Pattern& pattern) { return pattern.find(placeholder::kKey) != std::string::npos; };
    return !has_key(arguments_.items.between) && !has_key(arguments_.items.end);
  }

  // The value of `key` as it is written, without what is around it.
  std::optional<std::string> written_value(const char* key, const std::string& value) const {
    const auto text = behind_name(key, value);
    if (!text) return std::nullopt;
    const size_t at = text->find(key);
    if (at == std::string::npos) return std::nullopt;
    const Pattern& pattern = arguments_.items.key;
    const std::string middle = pattern.substr(pattern.find(placeholder::kKey) + 1) + arguments_.values.other_open;
    const std::string tail = with_placeholder(other_tail_, placeholder::kKey, key);
    const std::string rest = text->substr(at + std::string_view(key).size());
    if (!rest.starts_with(middle) || !rest.ends_with(tail) || rest.size() < middle.size() + tail.size())
      return std::nullopt;
    return rest.substr(middle.size(), rest.size() - middle.size() - tail.size());
  }

  void probe_escapes() {
    const std::string plain = "pra\"prb'prc\\prd\npr<&>pre";
    const auto text = behind_name(probe_key::kText, json(plain).dump());
    if (!text) return;
    const size_t begin = text->find("pra"), end = text->rfind("pre");
    if (begin == std::string::npos || end == std::string::npos) return;
    const std::string written = text->substr(begin, end + 3 - begin);
    ValueSyntax& values = arguments_.values;
    if (written.find("&lt;&amp;&gt;") != std::string::npos) values.text = ValueSyntax::Text::kXml;
    if (written == plain || values.text_open.empty() || values.text == ValueSyntax::Text::kXml) return;
    values.text = "\"" + written + "\"" == json(plain).dump() ? ValueSyntax::Text::kJson : ValueSyntax::Text::kPython;
  }

  void probe_words() {
    ValueSyntax& values = arguments_.values;
    const auto take = [&](const char* value, std::string& word) {
      if (const auto written = written_value(probe_key::kFlag, value); written && !written->empty()) word = *written;
    };
    take("true", values.true_word);
    take("false", values.false_word);
    take("null", values.null_word);
  }

  // ---- Objects and lists ----

  void probe_nested() {
    const json object = {{"pna", "pvb"}, {"pnb", {true, "pvd", 918273}}};
    const auto written = written_value(probe_key::kObject, object.dump());
    if (!written || json::parse(*written, nullptr, false) == object) return;
    ValueSyntax& values = arguments_.values;
    if (json::parse(whole_literal(*written), nullptr, false) == object) {
      values.nested = ValueSyntax::Nested::kPython;
      return;
    }
    const auto members =
        nested_items(probe_key::kObject, R"({"pna": "pvb"})", R"({"pna": "pvb", "pnb": "pvd"})", "{}", true);
    const auto elements = nested_items(probe_key::kList, R"(["pvb"])", R"(["pvb", "pvd"])", "[]", false);
    if (!members || !elements) return;
    ValueSyntax marked = values;
    marked.nested = ValueSyntax::Nested::kMarked;
    marked.object = *members;
    marked.list = *elements;
    if (json::parse(whole_marked(*written, marked), nullptr, false) == object) values = std::move(marked);
  }

  std::optional<MarkedItems> nested_items(const char* key, const std::string& one, const std::string& two,
                                          const std::string& none, bool keyed) const {
    const auto single = written_value(key, one), pair = written_value(key, two), empty = written_value(key, none);
    if (!single || !pair) return std::nullopt;
    const ValueSyntax& values = arguments_.values;
    // A list has no keys: its front is what stands before the first value.
    const std::string_view name = keyed ? "pna" : "";
    const auto parts = parts_of(*single, name.empty() ? std::string_view("pvb") : name, "pvb");
    Parts around;
    if (keyed) {
      if (!parts) return std::nullopt;
      around = *parts;
    } else {
      const size_t at = single->find("pvb");
      if (at == std::string::npos) return std::nullopt;
      around = {single->substr(0, at), "", single->substr(at + 3)};
      if (!around.front.ends_with(values.text_open)) return std::nullopt;
      around.front.resize(around.front.size() - values.text_open.size());
    }
    const size_t from = pair->find("pvb"), next = pair->find(keyed ? "pnb" : "pvd", from + 3);
    if (from == std::string::npos || next == std::string::npos) return std::nullopt;
    std::string between = pair->substr(from + 3, next - from - 3);
    if (keyed) between = with_part(between, "pna", placeholder::kKey);
    const auto drop = [&](std::string& text, const std::string& mark, bool at_end) {
      if (at_end ? !text.ends_with(mark) : !text.starts_with(mark)) return false;
      text.erase(at_end ? text.size() - mark.size() : 0, mark.size());
      return true;
    };
    if (!drop(around.tail, values.text_close, false) || !drop(between, values.text_close, false)) return std::nullopt;
    if (!drop(keyed ? around.middle : between, values.text_open, true)) return std::nullopt;
    MarkedItems items = items_of(around.front, around.middle, between, around.tail, keyed);
    items.empty = empty.value_or("");
    return items;
  }

  const ItemsProbe& probe_;
  ArgumentSyntax arguments_;
  std::string other_tail_;  // behind a number
};

}  // namespace

std::optional<ProbedItems> probe_items(const ItemsProbe& probe) { return ItemsProber(probe).run(); }

}  // namespace spillway
