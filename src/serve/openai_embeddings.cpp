// SPDX-License-Identifier: MIT
// /v1/embeddings.
#include <fmt/format.h>

#include <cstring>

#include "serve/call_json.h"
#include "serve/openai.h"

namespace spillway {

Result<EmbedCall> parse_openai_embeddings(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  static constexpr const char* kFields[] = {"input", "encoding_format", "user"};
  ASSIGN_OR_RETURN(EmbedCall call, parse_embed_call(json, kFields));
  ASSIGN_OR_RETURN(const auto format, string_field(json, "encoding_format"));
  if (format && *format != "float" && *format != "base64")
    return invalid(fmt::format("invalid encoding_format '{}'; it is float or base64", format->substr(0, 40)));
  call.as_base64 = format.value_or("float") == "base64";
  call.truncate = false;
  const Json* input = find_field(json, "input");
  if (input == nullptr) return invalid("input is required");
  if (input->is_string()) {
    call.texts.push_back(input->get<std::string>());
  } else if (input->is_array() && !input->empty() && input->front().is_number()) {
    const auto ids = token_ids(*input);
    if (!ids) return invalid("invalid input type");
    call.token_texts.push_back(*ids);
  } else if (input->is_array() && !input->empty()) {
    for (const Json& item : *input) {
      if (item.is_string()) {
        call.texts.push_back(item.get<std::string>());
      } else if (const auto ids = token_ids(item); ids && !ids->empty()) {
        call.token_texts.push_back(*ids);
      } else {
        return invalid("invalid input type");
      }
    }
    if (!call.texts.empty() && !call.token_texts.empty()) return invalid("input mixes texts and token ids");
  } else {
    return invalid("invalid input type");
  }
  return call;
}

std::string openai_embed_reply(const EmbedCall& call, const EmbedResult& result) {
  size_t index = 0;
  const auto item_of = [&](const std::vector<float>& vector) {
    Json item = {{"object", "embedding"}, {"index", index++}};
    if (call.as_base64) {
      std::string bytes(vector.size() * sizeof(float), '\0');  // little-endian, as all machines we run on
      std::memcpy(bytes.data(), vector.data(), bytes.size());
      item["embedding"] = base64(bytes);
    } else {
      item["embedding"] = vector;
    }
    return item;
  };
  const Json usage = {{"prompt_tokens", result.prompt_tokens}, {"total_tokens", result.prompt_tokens}};
  return fmt::format(R"({{"object":"list","data":{},"model":{},"usage":{}}})", list_of_vectors(result, item_of),
                     to_text(call.model), to_text(usage));
}

}  // namespace spillway
