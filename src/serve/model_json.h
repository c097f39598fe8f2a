// SPDX-License-Identifier: MIT
// Models, loaded or on disk, as the protocols write them. Pure.
#pragma once

#include <string>

#include "model/catalog.h"
#include "serve/forecast.h"
#include "serve/json_input.h"
#include "serve/model_manager.h"

namespace spillway {

Json json_of_details(const ModelDetails& details);
Json json_of_tag(const ModelEntry& entry);                                              // an element of /api/tags
Json json_of_description(const ModelDescription& description);                          // /api/show
Json json_of_running(const RunningModel& running, const ServedName& name);              // an element of /api/ps
Json json_of_openai_model(const ModelEntry& entry);                                     // an element of /v1/models
Json json_of_forecast(const Forecast& forecast, const ModelEntry& entry, bool loaded);  // /api/spillway/forecast
Json json_of_live(const RunningModel& running);                        // an element of /api/spillway/live
std::string prometheus_text(const std::vector<RunningModel>& models);  // /metrics

}  // namespace spillway
