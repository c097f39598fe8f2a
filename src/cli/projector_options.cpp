// SPDX-License-Identifier: MIT
#include "cli/projector_options.h"

#include "model/projector_file.h"

namespace spillway {

void declare_projector_option(CLI::App& app, std::string& projector, const std::string& group) {
  CLI::Option* option =
      app.add_option("--mmproj", projector, "Projector to see images with, or none [the one beside the model]")
          ->type_name("FILE|none");
  if (!group.empty()) option->group(group);
}

std::string projector_path(const std::string& asked, const NamedModel& model) {
  if (asked == kNoProjector) return "";
  if (!asked.empty()) return asked;
  return model.extras ? model.extras->projector_path : find_projector(model.path);
}

Result<uint64_t> projector_bytes(const std::string& path) {
  if (path.empty()) return 0;
  ASSIGN_OR_RETURN(const ProjectorFile file, open_projector_file(path));
  return file.need_bytes();
}

}  // namespace spillway
