// SPDX-License-Identifier: MIT
#include "serve/part_text.h"

#include <fmt/format.h>

#include <array>

#include "base/utf8.h"

namespace spillway {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool is_media(const Json& json) {
  const Json* type = json.is_object() ? find_field(json, "type") : nullptr;
  return type != nullptr && (*type == "base64" || *type == "image" || *type == "input_image");
}

}  // namespace

std::string unseen(std::string_view what, std::string_view details) {
  return fmt::format("[{}{}{}: the model cannot see it]", what, details.empty() ? "" : " ", details);
}

std::string document_text(std::string_view title, std::string_view context, std::string_view text) {
  std::string out = title.empty() ? "<document>\n" : fmt::format("<document title=\"{}\">\n", title);
  if (!context.empty()) out += fmt::format("{}\n", context);
  out += text;
  append_part(out, "</document>");
  return out;
}

void append_part(std::string& text, std::string_view part) {
  if (!text.empty() && !part.empty() && !text.ends_with('\n') && !part.starts_with('\n')) text += '\n';
  text += part;
}

std::optional<std::string> bytes_of_base64(std::string_view base64) {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) values[static_cast<unsigned char>(kDigits[i])] = static_cast<int8_t>(i);
  values['-'] = values['+'];
  values['_'] = values['/'];
  std::string bytes;
  bytes.reserve(base64.size() / 4 * 3);
  uint32_t bits = 0;
  int n_bits = 0;
  while (base64.ends_with('=')) base64.remove_suffix(1);
  for (const char c : base64) {
    if (c == '\n' || c == '\r') continue;
    const int8_t value = values[static_cast<unsigned char>(c)];
    if (value < 0) return std::nullopt;
    bits = (bits << 6 | static_cast<uint32_t>(value)) & 0xFFFFFF;
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    bytes += static_cast<char>(bits >> n_bits & 0xFF);
  }
  return bytes;
}

Result<std::string> text_of_file(const std::string& data, const std::string& name, const std::string& place) {
  std::string_view rest = data;
  std::string media;
  if (rest.starts_with("data:")) {
    const size_t comma = rest.find(',');
    if (comma == std::string_view::npos) return invalid(place + ": a data URL has no data");
    media = rest.substr(5, rest.find_first_of(";,") - 5);
    rest.remove_prefix(comma + 1);
  }
  const auto bytes = bytes_of_base64(rest);
  if (!bytes) return invalid(place + ": the data is not base64");
  if (media == "application/pdf" || bytes->starts_with("%PDF-"))
    return invalid(place + ": Could not process PDF: this server does not support PDF input; send its text");
  if (bytes->find('\0') != std::string::npos || valid_utf8(*bytes) != *bytes)
    return invalid(fmt::format("{}: '{}' is no text ({}), and no model here reads anything else", place,
                               name.substr(0, 100), media.empty() ? "of an unknown type" : media));
  return document_text(name, "", *bytes);
}

Json readable(const Json& json) {
  if (is_media(json)) return unseen("data");
  if (json.is_array()) {
    Json list = Json::array();
    for (const Json& element : json) list.push_back(readable(element));
    return list;
  }
  if (!json.is_object()) return json;
  Json::object_t rest;
  // At the end without looking for another of the same name, which there is not: a search for each takes the square.
  std::vector<Json::object_t::value_type>& members = rest;
  for (const auto& [key, value] : json.items())
    if (!key.starts_with("encrypted_") && key != "signature" && key != "cache_control" && key != "caller")
      members.emplace_back(key, readable(value));
  return rest;
}

}  // namespace spillway
