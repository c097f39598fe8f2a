// SPDX-License-Identifier: MIT
// Hugging Face's own API: the list of a repository's files, with the sha256 of the large ones.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "fetch/http.h"
#include "fetch/hugging_face_files.h"
#include "fetch/pull_plan.h"
#include "fetch/retry.h"

namespace spillway {
namespace {

constexpr uint64_t kListBytesMax = 64 * MiB;
constexpr int kPagesMax = 100;  // of 1000 files

// `<URL>; rel="next"` among the links; empty when there is none.
std::string next_page(const std::string& link) {
  const size_t rel = link.find("rel=\"next\"");
  if (rel == std::string::npos) return "";
  const size_t begin = link.rfind('<', rel), end = link.find('>', begin == std::string::npos ? 0 : begin);
  if (begin == std::string::npos || end == std::string::npos || end > rel) return "";
  return link.substr(begin + 1, end - begin - 1);
}

Result<HttpText> get_page(const std::string& url, const PullOptions& options) {
  Retry retry(options);
  bool reached = true;
  for (;;) {
    auto page = http_get_text({.url = url,
                               .accept = "application/json",
                               .bearer_token = options.hf_token,
                               .if_range = {},
                               .connect_timeout_s = std::min(options.connect_timeout_s, kFirstConnect_s),
                               .stall_timeout_s = options.stall_timeout_s,
                               .cancelled = options.cancelled,
                               .reached = &reached},
                              kListBytesMax);
    if (page && page->head.status == 200) return page;
    const Status failure = page ? http_status_error(page->head, url) : page.error();
    RETURN_IF_ERROR(retry.wait_after(failure, page ? retry_after_s(page->head.header("retry-after")) : 0, reached));
  }
}

}  // namespace

Result<PullPlan> plan_from_hugging_face(const ModelName& name, const PullOptions& options) {
  const std::string base = options.hf_url, repository = fmt::format("{}/{}", name.name_space, name.model);
  // Of one that does not exist, the site says that one may not see it.
  const auto explained = [&](const Status& status) -> Status {
    if (status.code() == Code::kPermissionDenied)
      return {Code::kPermissionDenied,
              fmt::format("hf.co/{}: no such repository, or not for everybody (set HF_TOKEN)", repository)};
    return status.with_context("hf.co/" + repository);
  };
  std::vector<HfFile> files;
  std::string url = fmt::format("{}/api/models/{}/tree/main?recursive=true", base, repository);
  for (int page = 0; !url.empty() && page < kPagesMax; ++page) {
    // The token goes nowhere else.
    if (origin_of_url(url) != origin_of_url(base))
      return error(Code::kCorrupt, fmt::format("hf.co/{}: the list goes on at another host", repository));
    const auto answer = get_page(url, options);
    if (!answer) return tl::unexpected<Status>(explained(answer.error()));
    auto some = parse_hf_files(answer->body);
    if (!some) return tl::unexpected<Status>(explained(some.error()));
    files.insert(files.end(), some->begin(), some->end());
    url = next_page(answer->head.header("link"));
  }
  const auto chosen = choose_hf_files(files, name.tag);
  if (!chosen) return tl::unexpected<Status>(explained(chosen.error()));
  PullPlan plan;
  for (const HfFile& file : *chosen) {
    if (file.sha256.empty())
      return error(Code::kUnsupported, fmt::format("hf.co/{}: {} has no sha256 to check it by", repository, file.path));
    plan.blobs.push_back({.url = fmt::format("{}/{}/resolve/main/{}", base, repository, percent_encode_path(file.path)),
                          .digest = "sha256:" + file.sha256,
                          .size_bytes = file.size_bytes,
                          .bearer_token = options.hf_token});
  }
  return plan;
}

}  // namespace spillway
