// SPDX-License-Identifier: MIT
#include "base/jinja_text.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace spillway
