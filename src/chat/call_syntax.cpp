// SPDX-License-Identifier: MIT
#include "chat/call_syntax.h"

#include <fmt/format.h>

namespace spillway {
namespace {

std::string items_text(const MarkedItems& items) {
  std::string out = show(items.begin + items.key) + "VALUE" + show(items.value_end) + "[" + show(items.between) + "…]" +
                    show(items.end);
  return items.empty.empty() ? out : out + " or " + show(items.empty);
}

std::string values_text(const ValueSyntax& values) {
  constexpr const char* kTexts[] = {"raw", "JSON", "python", "XML"};
  std::string out = fmt::format("text {}{}{}", show(values.text_open), kTexts[static_cast<int>(values.text)],
                                show(values.text_close));
  out += fmt::format(", other {}VALUE{}", show(values.other_open), show(values.other_close));
  if (values.true_word != "true") out += ", " + values.true_word;
  if (values.nested == ValueSyntax::Nested::kPython) out += ", nested as python's";
  if (values.nested == ValueSyntax::Nested::kMarked)
    out += fmt::format(", objects {}, lists {}", items_text(values.object), items_text(values.list));
  return out;
}

}  // namespace

std::string show(const Pattern& pattern) {
  std::string out;
  for (const char c : pattern) {
    switch (c) {
      case placeholder::kName:
        out += "NAME";
        break;
      case placeholder::kArguments:
        out += "ARGUMENTS";
        break;
      case placeholder::kId:
        out += "ID";
        break;
      case placeholder::kIndex:
        out += "INDEX";
        break;
      case placeholder::kKey:
        out += "KEY";
        break;
      case '\n':
        out += "\\n";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string show(const CallSyntax& syntax) {
  std::string out = show(syntax.begin) + "⟨" + show(syntax.call_begin + syntax.call + syntax.call_end) + "⟩";
  if (syntax.between) out += "[" + show(*syntax.between) + "⟨…⟩]";
  out += show(syntax.end);
  if (!syntax.arguments.is_json)
    out += "; arguments " + items_text(syntax.arguments.items) + "; " + values_text(syntax.arguments.values);
  return out;
}

}  // namespace spillway
