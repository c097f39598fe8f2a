// SPDX-License-Identifier: MIT
// Any text as a Modelfile: refused in one line, or read so that it can be written and read again as the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "model/modelfile.h"

namespace spillway {
namespace {

// Three quotes at the end of a line end the text.
bool can_be_written(std::string text) {
  text += '\n';
  for (size_t at = 0; (at = text.find("\"\"\"", at)) != std::string::npos; ++at)
    if (const size_t end = text.find_first_not_of(" \t\r\"", at); end == std::string::npos || text[end] == '\n')
      return false;
  return text.find('\r') == std::string::npos;
}

void check(const CreateRequest& request) {
  CHECK(!request.from.empty() && check_parameters(request.parameters).has_value());
  ModelExtras extras;
  extras.template_text = request.template_text.value_or("");
  extras.system = request.system.value_or("");
  extras.licenses = request.licenses.value_or(std::vector<std::string>{});
  extras.messages = request.messages.value_or(std::vector<ModelMessage>{});
  extras.parameters = request.parameters;
  extras.renderer = valid_utf8(request.renderer.value_or(""));
  std::string all = request.from + extras.template_text + "\n" + extras.system + "\n";
  for (const std::string& license : extras.licenses) all += license + "\n";
  for (const ModelMessage& message : extras.messages) all += message.content + "\n";
  const std::string parameters = parameters_text(extras.parameters);
  const bool odd_names = parameters.find('\n') != std::string::npos && extras.parameters.size() > 50;
  if (!can_be_written(all) || odd_names || valid_utf8(parameters) != parameters) return;
  if (all.find("\"\"\"") != std::string::npos && valid_utf8(all) != all) return;  // written as JSON, which is UTF-8
  if (request.from.find_first_of("\n\" \t#") != std::string::npos) return;
  const auto again = parse_modelfile(modelfile_text(request.from, extras));
  CHECK(again && again->from == request.from);
  CHECK(again->renderer.value_or("") == extras.renderer);
  CHECK(again->template_text.value_or("") == extras.template_text && again->system.value_or("") == extras.system);
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  const auto request = parse_modelfile({reinterpret_cast<const char*>(data), bytes});
  if (request)
    check(*request);
  else
    CHECK(request.error().message().find('\n') == std::string::npos);
  return 0;
}
