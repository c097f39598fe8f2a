// SPDX-License-Identifier: MIT
#include "base/jinja_text.h"

#include <gtest/gtest.h>

#include <string>

namespace spillway {
namespace {

TEST(JinjaText, StatementsAndNamesWithoutADotAreJinja) {
  for (const char* text : {"{% for m in messages %}{{ m }}{% endfor %}", "{{ bos_token }}hi",
                           "{{- messages[0]['content'] }}", "{{ raise_exception('no') }}",
                           "{{ 'a' ~ messages }}{{ eos_token }}", "{{ range(3) }}", "{{ index }}{% if x %}"})
    EXPECT_TRUE(is_jinja(text)) << text;
}

TEST(JinjaText, FieldsVariablesKeywordsAndFunctionsAreGo) {
  for (const char* text :
       {"{{ .Prompt }}", "{{.Prompt}}", "{{- .System -}}", "{{ if .System }}x{{ end }}",
        "{{ range $i, $m := .Messages }}", "{{- /* a comment */ -}}", "{{ $x := 1 }}", "{{ json .Tools }}",
        "{{ len .Messages }}", "only text", "", "{{ nosuch }}{{ .Prompt }}", "{{ \"text\" }}"})
    EXPECT_FALSE(is_jinja(text)) << text;
}

// Each of them begins an action that has no end: gone through to the end of the text for each, these took hours.
TEST(JinjaText, BracesThatNothingClosesAreNeither) {
  EXPECT_FALSE(is_jinja(std::string(4 << 20, '{')));
  EXPECT_FALSE(is_jinja("{{" + std::string(4 << 20, ' ')));
  std::string words;
  while (words.size() < 4 << 20) words += "{{\"";
  EXPECT_FALSE(is_jinja(words));
  EXPECT_TRUE(is_jinja(words + "{{ name }}"));
}

TEST(JinjaText, BracesInFrontOfAnActionAreText) {
  EXPECT_FALSE(is_jinja("{{{{ .Prompt }}"));
  EXPECT_FALSE(is_jinja("{{{ .Prompt }}}"));
  EXPECT_TRUE(is_jinja("{{{{ bos_token }}"));
}

}  // namespace
}  // namespace spillway
