// SPDX-License-Identifier: MIT
// Models as /v1/models shows them to Anthropic's clients. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/catalog.h"
#include "serve/json_input.h"

namespace spillway {

Json json_of_anthropic_model(const ModelEntry& entry);

// {data, has_more, first_id, last_id}; `query` may say limit (1 to 1000; 20), and after_id or before_id.
//   InvalidArgument   a limit that is none, an id that is not in the list
Result<Json> anthropic_model_page(const std::vector<ModelEntry>& entries,
                                  const std::map<std::string, std::string>& query);

}  // namespace spillway
