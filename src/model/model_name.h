// SPDX-License-Identifier: MIT
// The name of a model, as Ollama writes it: [host/][namespace/]model[:tag]; of one on Hugging Face as model/hub_name.h
// says. Pure.
//
// Only names that are safe as file names exist: every part begins with a letter, digit or '_', and none can hold a '/',
// so a name never leads out of the folder it is looked up in.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

struct ModelName {
  static constexpr std::string_view kDefaultHost = "registry.ollama.ai";
  static constexpr std::string_view kDefaultNamespace = "library";
  static constexpr std::string_view kDefaultTag = "latest";

  std::string host, name_space, model, tag;  // none empty
  bool plain_http = false;                   // was written with http:// in front; no part of what it names

  // What people are shown: without the defaults in front, always with the tag. "llama3.2:latest", "hf.co/me/it:Q4_K_M".
  // It is a name again, of the same model.
  std::string shown() const;

  // All four parts: "registry.ollama.ai/library/llama3.2:latest".
  std::string full() const;

  // Below a store's manifests folder: "registry.ollama.ai/library/llama3.2/latest".
  std::string manifest_path() const;

  bool is_hugging_face() const;  // its files come from Hugging Face's own API, not from a registry

  // Case does not distinguish names ("Qwen3:8B" is "qwen3:8b").
  friend bool same_name(const ModelName& a, const ModelName& b);
  friend bool operator==(const ModelName&, const ModelName&) = default;
};

// Fills in the defaults for what is left out.
//   InvalidArgument   "invalid model name: ..." for anything else
Result<ModelName> parse_model_name(std::string_view text);

// A name for the file or folder at `path`, made of its last part: characters that names do not have become '-'.
//   "/models/My Model.gguf" -> my name is "My-Model:latest"
ModelName name_for_path(std::string_view path);

}  // namespace spillway
