// SPDX-License-Identifier: MIT
// What requests about models say (Ollama's show, create, delete, …). Pure, but for check_template_of().
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "model/catalog.h"
#include "serve/json_input.h"
#include "serving/asker.h"

namespace spillway {

// "model", or "name" as older clients say.
//   InvalidArgument   neither, or no text
Result<std::string> model_field(const Json& json);

// The body of /api/create. Its template is looked at by check_template_of().
//   InvalidArgument   a wrong type, an option that is none, nothing to make it of
//   Unsupported       what is not done here: quantize, ...; the message names it
Result<CreateRequest> parse_create(const Json& json);

//   InvalidArgument, Busy   of check_template()
//   Busy, Cancelled         of place_for_template()
Result<void> check_template_of(const CreateRequest& create, const Asker& asker);

// What of such a body has no effect: fields nobody knows, parameters that nothing here reads. As they are called.
std::vector<std::string> unused_in_create(const Json& json);

}  // namespace spillway
