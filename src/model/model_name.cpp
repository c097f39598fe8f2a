// SPDX-License-Identifier: MIT
#include "model/model_name.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/hub_name.h"

namespace spillway {
namespace {

constexpr size_t kPartBytesMax = 80, kHostBytesMax = 255;  // each is a folder or file of a store
// What a refused name is quoted to.
constexpr size_t kQuotedBytesMax = 100;

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_shown_text(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

// `punctuation`: what may stand behind the first character besides letters, digits and '_'.
bool is_part(std::string_view part, std::string_view punctuation, size_t bytes_max) {
  return !part.empty() && part.size() <= bytes_max && is_word(part.front()) &&
         std::all_of(part.begin(), part.end(),
                     [&](char c) { return is_word(c) || punctuation.find(c) != std::string_view::npos; });
}

bool is_name(const ModelName& name) {
  return is_part(name.host, "-.:", kHostBytesMax) && is_part(name.name_space, "-", kPartBytesMax) &&
         is_part(name.model, "-.", kPartBytesMax) && is_part(name.tag, "-.", kPartBytesMax);
}

// Where people copy names from; the registry is another host.
bool is_ollama_site(std::string_view host) {
  return same_shown_text(host, "ollama.com") || same_shown_text(host, "www.ollama.com");
}

// Takes what stands behind the last `separator` off `text`; all of it when there is none.
std::string_view take_last(std::string_view& text, char separator) {
  const size_t at = text.rfind(separator);
  const std::string_view last = at == std::string_view::npos ? text : text.substr(at + 1);
  text = at == std::string_view::npos ? std::string_view() : text.substr(0, at);
  return last;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (text.size() < prefix.size() || !same_shown_text(text.substr(0, prefix.size()), prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Names come from anybody: a message shows what can be printed, and not a page of it.
std::string quoted(std::string_view text) {
  std::string out(text.substr(0, kQuotedBytesMax));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return text.size() > kQuotedBytesMax ? out + "..." : out;
}

// Of a tag on Hugging Face: "Q4/model.gguf@refs/pr/1" as people write it.
std::string with_slashes(std::string text) {
  constexpr std::string_view kSlash = "%2F";
  for (size_t at = text.find(kSlash); at != std::string::npos; at = text.find(kSlash, at))
    text.replace(at, kSlash.size(), "/");
  return text;
}

}  // namespace

std::string ModelName::full() const { return fmt::format("{}/{}/{}:{}", host, name_space, model, tag); }

std::string ModelName::manifest_path() const { return fmt::format("{}/{}/{}/{}", host, name_space, model, tag); }

std::string ModelName::shown() const {
  if (is_hugging_face()) return with_slashes(full());
  if (!same_shown_text(host, kDefaultHost)) return full();
  if (!same_shown_text(name_space, kDefaultNamespace)) return fmt::format("{}/{}:{}", name_space, model, tag);
  return fmt::format("{}:{}", model, tag);
}

bool ModelName::is_hugging_face() const {
  return same_shown_text(host, "hf.co") || same_shown_text(host, "huggingface.co");
}

bool same_name(const ModelName& a, const ModelName& b) {
  const bool same_host = same_shown_text(a.host, b.host) || (a.is_hugging_face() && b.is_hugging_face());
  return same_host && same_shown_text(a.model, b.model) && same_shown_text(a.tag, b.tag) &&
         same_shown_text(a.name_space, b.name_space);
}

Result<ModelName> parse_model_name(std::string_view text) {
  const auto invalid = [&] {
    return error(Code::kInvalidArgument, fmt::format("invalid model name: '{}'", quoted(text)));
  };
  std::string_view rest = text;
  ModelName name{.host = std::string(ModelName::kDefaultHost),
                 .name_space = std::string(ModelName::kDefaultNamespace),
                 .model = {},
                 .tag = std::string(ModelName::kDefaultTag),
                 .plain_http = take_prefix(rest, "http://")};
  if (!name.plain_http) take_prefix(rest, "https://");
  if (auto host = take_hub_host(rest, rest)) {
    auto hub = parse_hub_name(rest);
    if (!hub)
      return error(Code::kInvalidArgument,
                   fmt::format("invalid model name: '{}': {}", quoted(text), hub.error().message()));
    name.host = std::move(*host);
    name.name_space = std::move(hub->user);
    name.model = std::move(hub->repository);
    name.tag = std::move(hub->tag);
    return name;
  }

  // From the right: the only part that must be there is the model. A ':' before the last '/' is a host's port.
  const size_t colon = rest.rfind(':'), slash = rest.rfind('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    name.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  const auto has_more = [&] { return rest.find('/') != std::string_view::npos; };
  const bool has_namespace = has_more();
  name.model = take_last(rest, '/');
  if (has_namespace) {
    const bool has_host = has_more();
    name.name_space = take_last(rest, '/');
    if (has_host) name.host = is_ollama_site(rest) ? ModelName::kDefaultHost : rest;
  }
  if (!is_name(name)) return invalid();
  return name;
}

ModelName name_for_path(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  std::string_view stem = take_last(path, '/');
  constexpr std::string_view kSuffix = ".gguf";
  if (stem.size() > kSuffix.size() && same_shown_text(stem.substr(stem.size() - kSuffix.size()), kSuffix))
    stem.remove_suffix(kSuffix.size());
  std::string model;
  for (const char c : stem.substr(0, kPartBytesMax)) model += is_word(c) || c == '-' || c == '.' ? c : '-';
  if (model.empty() || !is_word(model.front())) model = "m" + model.substr(0, kPartBytesMax - 1);
  return {.host = std::string(ModelName::kDefaultHost),
          .name_space = std::string(ModelName::kDefaultNamespace),
          .model = model,
          .tag = std::string(ModelName::kDefaultTag),
          .plain_http = false};
}

}  // namespace spillway
