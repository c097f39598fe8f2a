// SPDX-License-Identifier: MIT
// What people write where a verb wants a model: a path, or a name of the catalog.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "fetch/pull.h"
#include "fetch/remote_model.h"
#include "model/catalog.h"
#include "model/model_name.h"

namespace spillway {

inline constexpr const char* kModelHelp = "A name (see 'spillway list') or a GGUF file; of a split one, its first part";
inline constexpr const char* kAnyModelHelp =
    "A name, also of a model that is not here (llama3.3:70b, hf.co/USER/REPO:QUANT), or a GGUF file";

// The catalog of the user's environment.
Result<std::unique_ptr<Catalog>> open_user_catalog();

// The GGUF that `argument` means: a file that exists wins over a name. What looks like a path ("/x", "./x", "x.gguf")
// is one, also when nothing is there.
//   NotFound   neither a file nor a name, and what to do      Corrupt  Unsupported  Io   as Catalog::find()
Result<std::string> resolve_model(const std::string& argument);

// The same with what comes with the model; nothing does with a file that is named by path.
struct NamedModel {
  std::string path;
  std::optional<ModelExtras> extras;
};
Result<NamedModel> resolve_named_model(const std::string& argument);

// The name that `argument` is when it may be that of a model elsewhere; none for what is a file, or looks like a path.
std::optional<ModelName> remote_name(const std::string& argument);

// Where pulls go and what they need not fetch, by the user's environment. Ctrl-C cancels them.
PullOptions user_pull_options();

// What a server says of a model of that name, which is not here. Few tries: somebody waits.
//   errors of inspect_remote(), with what was looked for here in front
Result<RemoteModel> find_remote(const std::string& argument, const ModelName& name);

}  // namespace spillway
