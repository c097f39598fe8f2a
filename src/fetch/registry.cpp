// SPDX-License-Identifier: MIT
// An Ollama registry: a manifest under /v2/, and its blobs by digest.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "base/bytes.h"
#include "base/json_reader.h"
#include "base/utf8.h"
#include "fetch/http.h"
#include "fetch/pull_plan.h"
#include "fetch/retry.h"
#include "model/manifest.h"

namespace spillway {
namespace {

constexpr uint64_t kManifestBytesMax = 4 * MiB;
constexpr uint64_t kTokenBytesMax = 64 * KiB;  // it goes into a line of each request
constexpr std::string_view kManifestType = "application/vnd.docker.distribution.manifest.v2+json";

// `key="value"` of a WWW-Authenticate header; empty when there is none.
std::string challenge_value(const std::string& header, const std::string& key) {
  const std::string start = key + "=\"";
  const size_t at = header.find(start);
  if (at == std::string::npos) return "";
  const size_t begin = at + start.size(), end = header.find('"', begin);
  return end == std::string::npos ? "" : header.substr(begin, end - begin);
}

// "5000" of "http://a:5000/x", "443" of "https://a".
std::string port_of(const std::string& url) {
  const std::string host = host_of_url(url);
  const size_t colon = host.find(':', host.starts_with('[') ? host.find(']') : 0);
  if (colon != std::string::npos) return host.substr(colon + 1);
  return url.starts_with("http://") ? "80" : "443";
}

// Of "registry.example.com", "example.com"; a name of two parts, or an address, is its own. Of "a.co.uk" too: those
// below "co.uk" have nothing to do with each other.
std::string domain_of(const std::string& host) {
  const auto is_number = [](char c) { return (c >= '0' && c <= '9') || c == '.'; };
  if (host.find(':') != std::string::npos || std::all_of(host.begin(), host.end(), is_number)) return host;
  const size_t first = host.find('.');
  const std::string parent = first == std::string::npos ? "" : host.substr(first + 1);
  const size_t dot = parent.find('.');
  if (dot == std::string::npos) return host;
  const bool is_of_country = parent.find('.', dot + 1) == std::string::npos && dot <= 3 && parent.size() - dot - 1 == 2;
  return is_of_country ? host : parent;
}

class Registry {
 public:
  Registry(std::string base, PullOptions options) : base_(std::move(base)), options_(std::move(options)) {}

  Result<std::string> manifest(const ModelName& name) {
    const std::string url = fmt::format("{}/v2/{}/{}/manifests/{}", base_, name.name_space, name.model, name.tag);
    Retry retry(options_);
    bool asked_for_token = false;
    for (;;) {
      const auto answer = get(url, std::string(kManifestType), token_);
      if (answer) from_outside_ = !answer->head.in_own_network;
      if (answer && answer->head.status == 200) return answer->body;
      // Some registries give anybody a token, and want to see it.
      if (answer && answer->head.status == 401 && !asked_for_token) {
        asked_for_token = true;
        RETURN_IF_ERROR(ask_for_token(answer->head.header("www-authenticate"), url));
        continue;
      }
      const Status failure = answer ? http_status_error(answer->head, url) : answer.error();
      if (failure.code() == Code::kNotFound)
        return error(Code::kNotFound, fmt::format("model '{}' not found on {}", name.shown(), host_of_url(base_)));
      RETURN_IF_ERROR(retry.wait_after(failure, answer ? server_wait_s(answer->head) : 0, reached_));
    }
  }

  BlobSource blob(const ModelName& name, const Layer& layer) const {
    return {.url = fmt::format("{}/v2/{}/{}/blobs/{}", base_, name.name_space, name.model, layer.digest),
            .digest = layer.digest,
            .size_bytes = layer.size_bytes,
            .bearer_token = token_,
            .from_outside = from_outside_};
  }

  // A download may take longer than a token lives. By the same rules as the first one; what was given to another
  // file meanwhile is not asked for again.
  Result<std::string> another_token(const std::string& refused, const std::string& challenge, const std::string& url) {
    if (token_ == refused) RETURN_IF_ERROR(ask_for_token(challenge.empty() ? challenge_ : challenge, url));
    return token_;
  }

 private:
  Result<HttpText> get(const std::string& url, const std::string& accept, const std::string& token) {
    return http_get_text({.url = url,
                          .accept = accept,
                          .bearer_token = token,
                          .if_range = {},
                          .connect_timeout_s = std::min(options_.connect_timeout_s, kFirstConnect_s),
                          .stall_timeout_s = options_.stall_timeout_s,
                          .cancelled = options_.cancelled,
                          .reached = &reached_,
                          .from_outside = from_outside_},
                         kManifestBytesMax);
  }

  Result<void> ask_for_token(const std::string& challenge, const std::string& url) {
    const std::string realm = challenge_value(challenge, "realm");
    const Failure denied = error(Code::kPermissionDenied, fmt::format("{}: access denied (401)", host_of_url(url)));
    if (!challenge.starts_with("Bearer") || realm.empty()) return denied;
    if (!may_give_tokens(realm))
      return error(Code::kPermissionDenied, fmt::format("{}: sends us to {} for a token, which is not of its domain",
                                                        host_of_url(url), shortened(host_of_url(realm))));
    std::string token_url =
        fmt::format("{}?service={}", realm, percent_encode_path(challenge_value(challenge, "service")));
    if (const std::string scope = challenge_value(challenge, "scope"); !scope.empty())
      token_url += "&scope=" + percent_encode_path(scope);
    ASSIGN_OR_RETURN(const HttpText answer, get(token_url, "application/json", ""));
    if (answer.head.status != 200) return denied;
    const auto json = read_json(answer.body).value_or(nlohmann::ordered_json());
    if (!json.is_object()) return denied;
    std::string token;
    for (const char* key : {"token", "access_token"})
      if (const auto found = json.find(key); found != json.end() && found->is_string())
        token = found->get<std::string>();
    if (token.empty() || token.size() > kTokenBytesMax || token.find_first_of("\r\n") != std::string::npos)
      return denied;
    token_ = std::move(token);
    challenge_ = challenge;
    return {};
  }

  // By https, the registry's own host at any port (docker_auth has 5001), or another of its domain; by http, the
  // registry itself where it was asked by http. These at the registry's own port, or at that of all sites: others are
  // of programs that give no tokens.
  bool may_give_tokens(const std::string& realm) const {
    const std::string own = name_of_url(base_), other = name_of_url(realm), port = port_of(realm);
    const bool is_plain = realm.starts_with("http://");
    if (own == other && realm.starts_with("https://")) return true;
    if (port != port_of(base_) && port != (is_plain ? "80" : "443")) return false;
    if (is_plain) return base_.starts_with("http://") && own == other;
    if (!realm.starts_with("https://")) return false;
    // Ollama's registry has another name than its site, which gives the tokens.
    for (const std::string& domain : {domain_of(own), std::string(own == "registry.ollama.ai" ? "ollama.com" : "")})
      if (!domain.empty() && (other == domain || other.ends_with("." + domain))) return true;
    return false;
  }

  const std::string base_;
  const PullOptions options_;  // its own: it is there as long as what names its blobs
  std::string token_;
  std::string challenge_;      // that it was given for
  bool reached_ = true;        // by the last request
  bool from_outside_ = false;  // what it names for us to ask: it was not in our own network when it answered
};

}  // namespace

Result<PullPlan> plan_from_registry(const ModelName& name, const PullOptions& options) {
  if (name.plain_http && !options.insecure)
    return error(Code::kInvalidArgument,
                 fmt::format("insecure protocol http for '{}': allow it with --insecure", name.full()));
  std::string base = fmt::format("{}://{}", name.plain_http ? "http" : "https", name.host);
  if (name.host == ModelName::kDefaultHost && !options.registry_url.empty()) base = options.registry_url;
  // Shared with the blobs, which ask it for tokens when the plan is long made.
  const auto registry = std::make_shared<Registry>(std::move(base), options);
  PullPlan plan;
  ASSIGN_OR_RETURN(plan.manifest, registry->manifest(name));
  auto manifest = parse_manifest(plan.manifest);
  if (!manifest) return Failure(manifest.error().with_context(name.shown()));
  if (manifest->first(LayerKind::kModel) == nullptr)
    return error(Code::kUnsupported, fmt::format("{}: has no GGUF file; it runs elsewhere only", name.shown()));
  if (const auto sizes = check_text_sizes(*manifest); !sizes) return Failure(sizes.error().with_context(name.shown()));
  std::unordered_map<std::string, uint64_t> known;
  const auto add = [&](const Layer& layer) -> Result<void> {
    const auto [other, is_new] = known.emplace(layer.digest, layer.size_bytes);
    if (is_new) {
      BlobSource& blob = plan.blobs.emplace_back(registry->blob(name, layer));
      blob.another_token = [registry, url = blob.url](const std::string& refused, const std::string& challenge) {
        return registry->another_token(refused, challenge, url);
      };
    }
    if (other->second == layer.size_bytes) return {};
    return error(Code::kCorrupt, fmt::format("{}: the manifest is damaged: one layer has two sizes", name.shown()));
  };
  for (const Layer& layer : manifest->layers) RETURN_IF_ERROR(add(layer));
  if (!manifest->config.digest.empty()) RETURN_IF_ERROR(add(manifest->config));
  return plan;
}

}  // namespace spillway
