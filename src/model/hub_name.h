// SPDX-License-Identifier: MIT
// Names of models on Hugging Face, in the forms that people type or paste, and what each asks for. Pure.
//
//   hf.co/USER/REPO                      the quantization that is preferred
//   hf.co/USER/REPO:Q4_K_M               a quantization, or a file's name
//   hf.co/USER/REPO/folder/file.gguf     a file
//   hf.co/USER/REPO@REVISION[:TAG|/FILE] any of them at a branch, tag or commit; "refs/pr/1" is one; also at the end
//   https://huggingface.co/USER/REPO/blob/REVISION/file.gguf   as browsers show it; resolve, raw and tree, too
//
// A ModelName keeps what is asked for in its tag, "WANTED" or "WANTED@REVISION". What tags and file names can not hold
// is percent-encoded there: "Q4%2Fmodel.gguf@refs%2Fpr%2F1".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

struct HubReference {
  std::string wanted = "latest";  // a quantization, a file's name or path, or "latest": the preferred quantization
  std::string revision = "main";
};

// The host in front of `text` ("hf.co", "huggingface.co", of any case) when it is one of Hugging Face's; `rest` is then
// what stands behind it.
std::optional<std::string> take_hub_host(std::string_view text, std::string_view& rest);

struct HubName {
  std::string user, repository, tag;
};

// `rest`: what stands behind the host and its '/'.
//   InvalidArgument   why, in a few words; the caller quotes the name
Result<HubName> parse_hub_name(std::string_view rest);

// What a tag asks for, and the tag that asks for it.
HubReference hub_reference(std::string_view tag);
std::string hub_tag(const HubReference& reference);

// All but letters, digits and "-._", and a first '-' or '.', as %XX. Undone by percent_decoded().
std::string percent_encoded(std::string_view text);
std::string percent_decoded(std::string_view text);  // what is no escape stays as it is

}  // namespace spillway
