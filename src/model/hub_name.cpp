// SPDX-License-Identifier: MIT
#include "model/hub_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

namespace spillway {
namespace {

constexpr size_t kHubPartBytesMax = 96;  // the site's own limit
constexpr size_t kTagBytesMax = 200;     // a tag is a file's name in a store
constexpr std::string_view kMain = "main", kLatest = "latest";

char hub_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_hub_text(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return hub_lower(x) == hub_lower(y); });
}

bool ends_with(std::string_view text, std::string_view ending) {
  return text.size() > ending.size() && same_hub_text(text.substr(text.size() - ending.size()), ending);
}

bool is_hub_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (hub_lower(c) >= 'a' && hub_lower(c) <= 'f') return hub_lower(c) - 'a' + 10;
  return -1;
}

Failure invalid(const std::string& why) { return error(Code::kInvalidArgument, why); }

// The user's or the repository's name.
bool is_repository_part(std::string_view part) {
  return !part.empty() && part.size() <= kHubPartBytesMax && is_hub_word(part.front()) && part.back() != '.' &&
         part.find("..") == std::string_view::npos &&
         std::all_of(part.begin(), part.end(), [](char c) { return is_hub_word(c) || c == '-' || c == '.'; });
}

// A path below a repository, or a revision: no part of it leads elsewhere.
bool is_path(std::string_view path) {
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (std::any_of(part.begin(), part.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
      return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
  return false;
}

// What is in front of the first `separator`; `text` keeps what is behind it.
std::string_view take_first(std::string_view& text, char separator) {
  const size_t at = text.find(separator);
  const std::string_view first = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return first;
}

// The revision that `path` begins with. Of revisions with '/' in them only those that the site itself makes are known:
// "refs/pr/1/file.gguf".
std::string_view take_revision(std::string_view& path) {
  for (const std::string_view special : {"refs/pr/", "refs/convert/"}) {
    if (!path.starts_with(special)) continue;
    const size_t end = std::min(path.find('/', special.size()), path.size());
    const std::string_view revision = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    return revision;
  }
  return take_first(path, '/');
}

// Behind "USER/REPO@".
HubReference behind_at(std::string_view rest) {
  HubReference reference;
  const size_t colon = rest.find(':');
  if (colon != std::string_view::npos) {
    reference.revision = rest.substr(0, colon);
    reference.wanted = rest.substr(colon + 1);
  } else if (ends_with(rest, ".gguf")) {
    reference.revision = take_revision(rest);
    reference.wanted = rest;
  } else {
    reference.revision = rest;
  }
  return reference;
}

// "WANTED" or "WANTED@REVISION". A file's name may have an '@' of its own.
HubReference wanted_at(std::string_view text) {
  HubReference reference;
  const size_t at = text.rfind('@');
  const bool has_revision = at != std::string_view::npos && !ends_with(text.substr(at), ".gguf");
  reference.wanted = text.substr(0, has_revision ? at : std::string_view::npos);
  if (has_revision) reference.revision = text.substr(at + 1);
  return reference;
}

// Behind "USER/REPO/": a path, or what browsers show.
HubReference behind_slash(std::string_view rest) {
  std::string_view path = rest;
  const std::string_view page = take_first(path, '/');
  const bool is_file_page = page == "blob" || page == "resolve" || page == "raw";
  if (path.empty() || !(is_file_page || page == "tree")) return wanted_at(rest);
  path = path.substr(0, path.find_first_of("?#"));
  HubReference reference;
  reference.revision = take_revision(path);
  if (!path.empty()) reference.wanted = path;
  return reference;
}

}  // namespace

std::optional<std::string> take_hub_host(std::string_view text, std::string_view& rest) {
  struct Form {
    std::string_view prefix, host;
  };
  constexpr std::array<Form, 4> kForms = {{{"hf.co/", "hf.co"},
                                           {"huggingface.co/", "huggingface.co"},
                                           {"www.huggingface.co/", "huggingface.co"},
                                           {"hf://", "hf.co"}}};
  for (const Form& form : kForms) {
    if (text.size() < form.prefix.size() || !same_hub_text(text.substr(0, form.prefix.size()), form.prefix)) continue;
    rest = text.substr(form.prefix.size());
    return std::string(form.host);
  }
  return std::nullopt;
}

Result<HubName> parse_hub_name(std::string_view rest) {
  while (rest.ends_with('/')) rest.remove_suffix(1);
  HubName name;
  name.user = take_first(rest, '/');
  if (name.user == "datasets" || name.user == "spaces")
    return invalid(fmt::format("that is one of the {}, and no model", name.user));
  const size_t end = std::min(rest.find_first_of("/:@"), rest.size());
  name.repository = rest.substr(0, end);
  if (!is_repository_part(name.user) || !is_repository_part(name.repository))
    return invalid("hf.co/USER/REPO[:QUANT][@REVISION] or hf.co/USER/REPO/FILE.gguf");
  HubReference reference;
  if (end < rest.size()) {
    const std::string_view more = rest.substr(end + 1);
    reference = rest[end] == '/' ? behind_slash(more) : rest[end] == '@' ? behind_at(more) : wanted_at(more);
  }
  reference.wanted = percent_decoded(reference.wanted);
  reference.revision = percent_decoded(reference.revision);
  if (!is_path(reference.wanted)) return invalid("no quantization and no file is named like that");
  if (!is_path(reference.revision)) return invalid("no revision is named like that");
  name.tag = hub_tag(reference);
  if (name.tag.size() > kTagBytesMax) return invalid("the file's name and revision are too long");
  return name;
}

HubReference hub_reference(std::string_view tag) {
  HubReference reference;
  reference.wanted = percent_decoded(take_first(tag, '@'));
  if (!tag.empty()) reference.revision = percent_decoded(tag);
  return reference;
}

std::string hub_tag(const HubReference& reference) {
  std::string wanted = percent_encoded(reference.wanted.empty() ? kLatest : reference.wanted);
  if (reference.revision.empty() || reference.revision == kMain) return wanted;
  // One that ends like a file's name would be read as the end of that.
  std::string revision = percent_encoded(reference.revision);
  constexpr std::string_view kEnd = ".gguf";
  if (ends_with(revision, kEnd)) revision.replace(revision.size() - kEnd.size(), 1, "%2E");
  return fmt::format("{}@{}", wanted, revision);
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool plain = is_hub_word(c) || (i > 0 && (c == '-' || c == '.'));
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low < 0) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

}  // namespace spillway
