// SPDX-License-Identifier: MIT
#include "model/model_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "model/adapter_file.h"
#include "model/projector_file.h"
#include "os/file.h"

namespace spillway {
namespace {

// Of how many parts the first one says that it is.
Result<size_t> count_of_parts(const std::string& first) {
  ASSIGN_OR_RETURN(const auto file, open_file(first, {.direct = false}));
  ASSIGN_OR_RETURN(const GgufMetadata metadata,
                   read_gguf_metadata(*file, {.wanted = [](std::string_view key) { return key == "split.count"; }}));
  return std::max<size_t>(metadata.number("split.count"), 1);
}

// The parts of a split model find each other by names, which blobs do not have.
Result<GgufModel> open_parts(const std::string& name, const std::vector<std::string>& paths) {
  ASSIGN_OR_RETURN(const size_t count, count_of_parts(paths.front()));
  if (paths.size() > count)
    return error(Code::kCorrupt,
                 fmt::format("{}: there are {} files, and by the first one it has {}", name, paths.size(), count));
  const auto name_of = [&](size_t i) {
    return count == 1 ? name : fmt::format("{}-{:05}-of-{:05}.gguf", name, i + 1, count);
  };
  std::map<std::string, std::string> path_of;
  for (const std::string& path : paths) path_of.emplace(name_of(path_of.size()), path);
  return open_gguf_model(name_of(0), [&](const std::string& part) -> Result<std::unique_ptr<File>> {
    const auto found = path_of.find(part);
    if (found == path_of.end()) return error(Code::kCorrupt, fmt::format("{}: is missing", part));
    return open_file(found->second, {.direct = false});
  });
}

}  // namespace

Result<void> check_is_model(const GgufFacts& facts) {
  if (facts.kind == GgufKind::kModel) return {};
  return error(Code::kUnsupported, fmt::format("it is {}, and no model on its own", kind_phrase(facts.kind)));
}

Result<CheckedModel> check_model_parts(const std::string& name, const std::vector<std::string>& parts) {
  if (parts.empty()) return error(Code::kUnsupported, "it has no GGUF file");
  CheckedModel model;
  ASSIGN_OR_RETURN(model.facts, facts_of_files(parts));
  RETURN_IF_ERROR(check_is_model(model.facts));
  ASSIGN_OR_RETURN(model.gguf, open_parts(name, parts));
  return model;
}

Result<void> check_beside(const GgufModel& model, const ModelFiles& files) {
  RETURN_IF_ERROR(check_adapter_count(files.adapters.size()));
  for (const std::string& path : files.adapters) RETURN_IF_ERROR(open_adapter_file(path, model));
  for (const std::string& path : files.projectors) RETURN_IF_ERROR(check_is_projector(path));
  return {};
}

}  // namespace spillway
