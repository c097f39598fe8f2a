// SPDX-License-Identifier: MIT
// The paths that list, show, fetch, make and remove models.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/notice.h"
#include "base/utf8.h"
#include "fetch/pull.h"
#include "serve/anthropic_models.h"
#include "serve/body_reading.h"
#include "serve/error_body.h"
#include "serve/model_json.h"
#include "serve/model_requests.h"
#include "serve/ollama.h"
#include "serve/openai.h"
#include "serve/routes.h"

namespace spillway {
namespace {

// Each holds files open beside its connection, and a process may have 1,024 in all: 190 pulls of a registry that was
// silent left none to load a model with.
constexpr int kPullsMax = 16, kUploadsMax = 64;
std::atomic<int> n_pulls = 0, n_uploads = 0;

// Taken as long as it lives; null where all are.
std::shared_ptr<void> take_place(std::atomic<int>& n_taken, int n_max) {
  if (++n_taken > n_max) {
    --n_taken;
    return nullptr;
  }
  return {&n_taken, [](std::atomic<int>* taken) { --*taken; }};
}

// Whether it sees is also for --mmproj to say; of its own projector the catalog has said it.
ModelEntry as_served(const ModelManager& manager, ModelEntry entry) {
  const std::string used = manager.projector_of(entry);
  if (used == entry.projector_path) return entry;
  std::vector<std::string>& can = entry.capabilities;
  const auto has = [&](const char* capability) { return std::find(can.begin(), can.end(), capability) != can.end(); };
  if (used.empty()) std::erase(can, "vision");
  if (!used.empty() && has("completion") && !has("vision")) can.emplace_back("vision");
  return entry;
}

struct ShowRequest {
  std::string name;
  bool verbose = false;
};
Result<ShowRequest> parse_show(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  ASSIGN_OR_RETURN(std::string name, model_field(json));
  ASSIGN_OR_RETURN(const auto verbose, bool_field(json, "verbose"));
  return ShowRequest{.name = std::move(name), .verbose = verbose.value_or(false)};
}

// A few are described at a time: with its whole vocabulary a model takes 100 MB and more until the reply is a text, and
// each template that is looked at a process.
Result<FairPlaces::Place> place_to_show(const Asker& asker, bool verbose) {
  static FairPlaces places(4);
  return places.take(asker, verbose);
}

struct CopyRequest {
  std::string source, destination;
};
Result<CopyRequest> parse_copy(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  ASSIGN_OR_RETURN(auto source, string_field(json, "source"));
  ASSIGN_OR_RETURN(auto destination, string_field(json, "destination"));
  if (!source || !destination || source->empty() || destination->empty())
    return invalid("source and destination are required");
  return CopyRequest{.source = *std::move(source), .destination = *std::move(destination)};
}

Result<std::string> parse_remove(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  return model_field(json);
}

struct PullRequest {
  std::string name;
  bool stream = true, insecure = false;
};
Result<PullRequest> parse_pull(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  ASSIGN_OR_RETURN(std::string name, model_field(json));
  ASSIGN_OR_RETURN(const auto stream, bool_field(json, "stream"));
  ASSIGN_OR_RETURN(const auto insecure, bool_field(json, "insecure"));
  RETURN_IF_ERROR(parse_model_name(name));
  return PullRequest{.name = std::move(name), .stream = stream.value_or(true), .insecure = insecure.value_or(false)};
}

struct CreateBody {
  std::string name;
  bool stream = true;
  CreateRequest create;
  std::vector<std::string> unused;  // of its fields
};
Result<CreateBody> parse_create_body(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  ASSIGN_OR_RETURN(std::string name, model_field(json));
  RETURN_IF_ERROR(parse_model_name(name));
  ASSIGN_OR_RETURN(const auto stream, bool_field(json, "stream"));
  ASSIGN_OR_RETURN(CreateRequest create, parse_create(json));
  return CreateBody{.name = std::move(name),
                    .stream = stream.value_or(true),
                    .create = std::move(create),
                    .unused = unused_in_create(json)};
}

}  // namespace

WebReply Routes::tags(const WebRequest& request) {
  const auto entries = catalog_.list();
  if (!entries) return failure(entries.error(), Protocol::kOllama, request);
  Json models = Json::array();
  for (const ModelEntry& entry : *entries) models.push_back(json_of_tag(as_served(manager_, entry)));
  return {.body = to_text({{"models", std::move(models)}})};
}

WebReply Routes::show(const WebRequest& request) {
  const auto asked = read_body(request, parse_show);
  if (!asked) return failure(asked.error(), Protocol::kOllama, request);
  const auto place = place_to_show(request.asker(), asked->verbose);
  if (!place) return failure(place.error(), Protocol::kOllama, request);
  auto description = catalog_.describe(asked->name, asked->verbose);
  if (!description) return failure(description.error(), Protocol::kOllama, request);
  description->entry = as_served(manager_, std::move(description->entry));
  Json shown = json_of_description(*description);
  if (request.header("user-agent").starts_with("GitHubCopilotChat/"))
    shown["model_info"]["general.basename"] = asked->name;
  return {.body = to_text(shown)};
}

WebReply Routes::ps(const WebRequest&) {
  Json models = Json::array();
  std::vector<std::pair<double, Json>> names;
  for (const RunningModel& running : manager_.running())
    for (const ServedName& name : running.names)
      names.emplace_back(name.expires_unix_s, json_of_running(running, name));
  std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (auto& name : names) models.push_back(std::move(name.second));
  return {.body = to_text({{"models", std::move(models)}})};
}

WebReply Routes::openai_models(const WebRequest& request) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const bool anthropic = speaks_anthropic(request);
  const Protocol protocol = anthropic ? Protocol::kAnthropic : Protocol::kOpenAi;
  if (const std::string path = path_of(request); path.starts_with(kPrefix)) {
    const auto found = catalog_.find(path.substr(kPrefix.size()));
    if (!found) return failure(found.error(), protocol, request);
    const ModelEntry entry = as_served(manager_, *found);
    return {.body = to_text(anthropic ? json_of_anthropic_model(entry) : json_of_openai_model(entry))};
  }
  auto entries = catalog_.list();
  if (!entries) return failure(entries.error(), protocol, request);
  for (ModelEntry& entry : *entries) entry = as_served(manager_, std::move(entry));
  if (anthropic) {
    const auto page = anthropic_model_page(*entries, request.query);
    if (!page) return failure(page.error(), protocol, request);
    return {.body = to_text(*page)};
  }
  Json data = Json::array();
  for (const ModelEntry& entry : *entries) data.push_back(json_of_openai_model(entry));
  return {.body = to_text({{"object", "list"}, {"data", std::move(data)}})};
}

WebReply Routes::copy(const WebRequest& request) {
  const auto outcome = [&]() -> Result<void> {
    ASSIGN_OR_RETURN(const CopyRequest asked, read_body(request, parse_copy));
    auto copied = catalog_.copy(asked.source, asked.destination);
    if (!copied && copied.error().code() == Code::kNotFound)
      return error(Code::kNotFound, fmt::format("model \"{}\" not found", asked.source));
    return copied;
  }();
  if (!outcome) return failure(outcome.error(), Protocol::kOllama, request);
  return {.body = ""};
}

WebReply Routes::remove(const WebRequest& request) {
  const auto outcome = [&]() -> Result<void> {
    ASSIGN_OR_RETURN(const std::string name, read_body(request, parse_remove));
    // Not looked up: one that is damaged can not be found, and goes all the same.
    ASSIGN_OR_RETURN(const ModelName parsed, parse_model_name(name));
    RETURN_IF_ERROR(catalog_.remove(name));
    manager_.unload(parsed);
    return {};
  }();
  if (!outcome) return failure(outcome.error(), Protocol::kOllama, request);
  return {.body = ""};
}

// Work that says how it goes on: as NDJSON, or its last word alone. It runs on the request's own thread.
WebReply Routes::long_job(const WebRequest& request, bool stream,
                          std::function<Result<void>(const std::function<bool(Json)>&)> job) {
  if (!stream) {
    const auto outcome = job([](const Json&) { return true; });
    if (!outcome) return failure(outcome.error(), Protocol::kOllama, request);
    return {.body = to_text({{"status", "success"}})};
  }
  WebReply reply;
  reply.content_type = "application/x-ndjson";
  reply.stream = [job = std::move(job), is_stopping = request.is_stopping](const WebSink& sink) {
    bool reads = true;
    Result<void> outcome{};
    try {
      outcome = job([&](const Json& status) { return reads = reads && sink(to_text(status) + "\n"); });
    } catch (const std::exception& e) {
      notice(fmt::format("a job failed: {}", e.what()));
      outcome = error(Code::kInternal, "internal error");
    }
    if (!outcome) sink(ollama_error(as_told(outcome.error(), is_stopping)) + "\n");
  };
  return reply;
}

WebReply Routes::pull(const WebRequest& request) {
  const auto asked = read_body(request, parse_pull);
  if (!asked) return failure(asked.error(), Protocol::kOllama, request);
  auto place = take_place(n_pulls, kPullsMax);
  if (place == nullptr)
    return failure({Code::kBusy, fmt::format("{} pulls are under way; try again", kPullsMax)}, Protocol::kOllama,
                   request);
  return long_job(request, asked->stream,
                  [this, place = std::move(place), name = asked->name, insecure = asked->insecure,
                   is_gone = request.is_gone](const std::function<bool(Json)>& say) -> Result<void> {
                    PullOptions options = PullOptions::from_environment();
                    options.own_folder = catalog_.options().own_folder;
                    options.other_folders = catalog_.options().ollama_folders;
                    options.hub_cache_folders = catalog_.options().hub_cache_folders;
                    options.insecure = insecure;
                    bool reads = true;
                    options.cancelled = [&] { return !reads || (is_gone && is_gone()); };
                    options.progress = [&](const PullProgress& progress) {
                      Json line = {{"status", progress.status}};
                      if (!progress.digest.empty()) {
                        line["digest"] = progress.digest;
                        line["total"] = progress.total_bytes;
                        if (progress.completed_bytes > 0) line["completed"] = progress.completed_bytes;
                      }
                      reads = reads && say(std::move(line));
                    };
                    auto pulled = spillway::pull(name, options);
                    // What is here already, from wherever, is as good as pulled.
                    if (!pulled && pulled.error().code() == Code::kUnavailable && catalog_.find(name)) {
                      say({{"status", "success"}});
                      return {};
                    }
                    return pulled;
                  });
}

WebReply Routes::push(const WebRequest& request) {
  return failure({Code::kUnsupported, "this server does not push models"}, Protocol::kOllama, request);
}

WebReply Routes::create(const WebRequest& request) {
  auto asked = read_body(request, parse_create_body);
  if (!asked) return failure(asked.error(), Protocol::kOllama, request);
  if (const auto usable = check_template_of(asked->create, request.asker()); !usable)
    return failure(usable.error(), Protocol::kOllama, request);
  const std::vector<std::string> unused = std::move(asked->unused);
  WebReply reply = long_job(
      request, asked->stream,
      [this, name = asked->name, create = std::move(asked->create),
       unused](const std::function<bool(Json)>& say) -> Result<void> {
        for (const std::string& what : unused) say({{"status", fmt::format("not used: {}", what)}});
        auto made = catalog_.create(name, create, [&](const std::string& status) { say({{"status", status}}); });
        // What a model is made of is what the client named or sent.
        if (!made && made.error().code() == Code::kCorrupt)
          return error(Code::kInvalidArgument, made.error().message());
        return made;
      });
  if (!reply.stream && reply.status == 200 && !unused.empty())
    reply.body = to_text({{"status", "success"}, {"not_used", unused}});
  return reply;
}

WebReply Routes::blob(const WebRequest& request) {
  const std::string digest = request.path.substr(std::string_view("/api/blobs/").size());
  const auto has = catalog_.has_blob(digest);
  if (!has) return failure(has.error(), Protocol::kOllama, request);
  if (request.method == "HEAD") return {.status = *has ? 200 : 404, .body = ""};
  if (*has) {
    // To its end, however long: many clients send all of it before they read what we say.
    if (request.read_body) request.read_body([](std::string_view) { return true; });
    return {.status = 200, .body = ""};
  }
  const auto place = take_place(n_uploads, kUploadsMax);
  if (place == nullptr)
    return failure({Code::kBusy, fmt::format("{} uploads are under way; try again", kUploadsMax)}, Protocol::kOllama,
                   request);
  auto writer = catalog_.write_blob(digest);
  if (!writer) return failure(writer.error(), Protocol::kOllama, request);
  Result<void> written{};
  const auto take = [&](std::string_view piece) {
    written = (*writer)->write(piece);
    return written.has_value();
  };
  const bool whole = request.read_body ? request.read_body(take) : take(request.body);
  if (!written) return failure(written.error(), Protocol::kOllama, request);
  if (!whole) return failure({Code::kInvalidArgument, "the blob did not come whole"}, Protocol::kOllama, request);
  if (const auto finished = (*writer)->finish(); !finished)
    return failure(finished.error(), Protocol::kOllama, request);
  // Sent again it would be the same: who asks for it first finds none, and would send it for ever.
  if (const auto had = catalog_.has_blob(digest); had && !*had)
    return failure({Code::kInvalidArgument,
                    fmt::format("{} came as it was sent, and is a GGUF file that is cut or damaged: no model can be "
                                "made of it",
                                shortened(digest))},
                   Protocol::kOllama, request);
  return {.status = 201, .body = ""};
}

}  // namespace spillway
