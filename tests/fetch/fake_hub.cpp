// SPDX-License-Identifier: MIT
#include "fake_hub.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace spillway {
namespace {

TestAnswer refused(int status, const std::string& code, const std::string& message) {
  return {.status = status,
          .body = R"({"error":")" + message + R"("})",
          .headers = {"X-Error-Code: " + code, "X-Error-Message: " + message}};
}

}  // namespace

std::string FakeHub::decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    out += static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
    i += 2;
  }
  return out;
}

uint64_t FakeHub::size_of(const File& file) {
  if (file.total_bytes > 0) return file.total_bytes;
  return file.disk_path.empty() ? file.content.size() : std::filesystem::file_size(file.disk_path);
}

const FakeHub::File* FakeHub::find(const std::string& repository, const std::string& revision,
                                   const std::string& path) const {
  const auto files = files_.find({repository, revision});
  if (files == files_.end()) return nullptr;
  const auto found =
      std::find_if(files->second.begin(), files->second.end(), [&](const auto& one) { return one.first == path; });
  return found == files->second.end() ? nullptr : &found->second;
}

TestAnswer FakeHub::list(const std::string& repository, const std::string& revision) const {
  const auto files = files_.find({repository, revision});
  if (files == files_.end()) {
    const bool known =
        std::any_of(files_.begin(), files_.end(), [&](const auto& one) { return one.first.first == repository; });
    // Of what does not exist the site says, to strangers, that one may not see it.
    return known ? refused(404, "RevisionNotFound", "Invalid rev id: " + revision)
                 : refused(401, "RepoNotFound", "Invalid username or password.");
  }
  std::string entries =
      R"({"type":"directory","oid":"x","size":0,"path":"folder"},{"type":"file","oid":"x","size":7,"path":"README.md"})";
  for (const auto& [path, file] : files->second) entries += "," + entry(path, file);
  return {.body = "[" + entries + "]", .headers = {"X-Repo-Commit: 0123456789abcdef"}};
}

// /api/models/USER/REPO/tree/REVISION?recursive=true, /USER/REPO/resolve/REVISION/PATH
TestAnswer FakeHub::answer(const TestRequest& request) {
  std::string_view rest = request.target;
  rest = rest.substr(0, rest.find('?'));
  const auto take_part = [&] {
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string part(rest.substr(0, slash));
    rest.remove_prefix(std::min(slash + 1, rest.size()));
    return part;
  };
  const bool api = take(rest, "/api/models/");
  if (!api) rest.remove_prefix(1);
  std::string repository = take_part();
  repository += "/" + take_part();
  const std::string verb = take_part(), revision = decoded(take_part());
  if (api && verb == "tree" && rest.empty()) return list(repository, revision);
  if (api || verb != "resolve") return refused(404, "EntryNotFound", "no such page");
  if (busy > 0) {
    --busy;
    return {.status = 429, .headers = {R"(RateLimit: "resolvers";r=0;t=0)"}};
  }
  if (repository == gated && request.header("authorization") != "Bearer " + token)
    return request.header("authorization").empty()
               ? refused(401, "GatedRepo", "Access to model " + repository + " is restricted.")
               : refused(403, "GatedRepo", "You are not in the authorized list.");
  const std::string path = decoded(rest);
  if (find(repository, revision, path) == nullptr) return refused(404, "EntryNotFound", "Entry not found");
  return {.status = 302,
          .headers = {"Location: " + network_.url() + "/" + repository + "?revision=" + revision +
                          "&path=" + std::string(rest) + "&signature=" + std::to_string(++n_addresses_),
                      "X-Repo-Commit: 0123456789abcdef"}};
}

TestAnswer FakeHub::content(const TestRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    if (++uses_[request.target] > address_uses) return {.status = 403};
  }
  const std::string target = request.target.substr(0, request.target.find("&signature="));
  const size_t question = target.find("?revision="), ampersand = target.find("&path=");
  const std::string repository = target.substr(1, question - 1),
                    revision = target.substr(question + 10, ampersand - question - 10);
  const File* file = find(repository, revision, decoded(target.substr(ampersand + 6)));
  if (file == nullptr || !request.header("authorization").empty()) return {.status = 403};
  const uint64_t total = size_of(*file);
  std::string range = request.header("range");
  uint64_t from = 0, last = total - 1;
  const bool part = knows_ranges && range.starts_with("bytes=");
  if (part) {
    char* dash = nullptr;
    from = std::strtoull(range.c_str() + 6, &dash, 10);
    if (dash[1] != '\0') last = std::min<uint64_t>(last, std::strtoull(dash + 1, nullptr, 10));
    if (from >= total) return {.status = 416};
  }
  TestAnswer answer{.status = part ? 206 : 200, .headers = {"ETag: \"" + sha256_hex(target) + "\""}};
  if (file->disk_path.empty()) {
    answer.body = from < file->content.size() ? file->content.substr(from, last + 1 - from) : "";
  } else {
    answer.body.resize(last + 1 - from);
    std::ifstream stream(file->disk_path, std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(from));
    stream.read(answer.body.data(), static_cast<std::streamsize>(answer.body.size()));
  }
  // Of a file that claims more than there is, some zeros come, and then nothing.
  constexpr uint64_t kZerosMax = 16 << 20;
  answer.body.resize(std::min(last + 1 - from, answer.body.size() + kZerosMax));
  answer.content_length = last + 1 - from;
  if (part)
    answer.headers.push_back("Content-Range: bytes " + std::to_string(from) + "-" + std::to_string(last) + "/" +
                             std::to_string(total));
  bytes_sent_ += answer.body.size();
  return answer;
}

}  // namespace spillway
