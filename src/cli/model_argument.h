// SPDX-License-Identifier: MIT
// What people write where a verb wants a model: a path, or a name of the catalog.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "model/catalog.h"

namespace spillway {

inline constexpr const char* kModelHelp = "A name (see 'spillway list') or a GGUF file; of a split one, its first part";

// The catalog of the user's environment.
Result<std::unique_ptr<Catalog>> open_user_catalog();

// The GGUF that `argument` means: a file that exists wins over a name. What looks like a path ("/x", "./x", "x.gguf")
// is one, also when nothing is there.
//   NotFound   neither a file nor a name, and what to do      Corrupt  Unsupported  Io   as Catalog::find()
Result<std::string> resolve_model(const std::string& argument);

// The same with what the model brings along; a file that is named by path brings nothing but itself.
struct NamedModel {
  std::string path;
  std::optional<ModelExtras> extras;
};
Result<NamedModel> resolve_named_model(const std::string& argument);

}  // namespace spillway
