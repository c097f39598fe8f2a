// SPDX-License-Identifier: MIT
#include "serve/ui/residency_json.h"

#include <nlohmann/json.hpp>

#include "base/json_writer.h"

namespace spillway {

using Json = nlohmann::ordered_json;

std::string residency_json(const std::string& model, const Residency& residency) {
  Json layers = Json::array();
  for (const LayerResidency& layer : residency.layers) {
    Json json = {{"dense", {{"gpu", layer.device_bytes}, {"ram", layer.ram_bytes}, {"disk", layer.disk_bytes}}},
                 {"experts", layer.experts}};
    if (!layer.heat.empty()) json["heat"] = layer.heat;
    layers.push_back(std::move(json));
  }
  Json json = {{"model", model}, {"n_layer", residency.layers.size()}, {"n_expert", residency.n_expert}};
  if (residency.page_cache) json["page_cache"] = true;
  json["layers"] = std::move(layers);
  return write_json(json);
}

}  // namespace spillway
