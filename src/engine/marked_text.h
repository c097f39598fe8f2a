// SPDX-License-Identifier: MIT
// Texts with marks where images belong, as token ids: what stands for each image is put between the texts around it,
// which are split into tokens one by one, as libmtmd does it.
//
// Threads: one at a time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/prompt_image.h"

namespace spillway {

class MarkedImages {
 public:
  // The file that belongs where `mark`, of new_image_mark(), stands.
  //   errors of Engine::inspect_image
  Result<void> add(const Engine& engine, const std::string& mark, std::shared_ptr<const std::string> file);

  bool empty() const { return by_mark_.empty(); }

  //   errors of Engine::tokenize
  Result<std::vector<TokenId>> tokenize(const Engine& engine, const std::string& text, bool add_special,
                                        bool parse_special) const;

  // Whether each mark stands in `text`, once.
  bool all_in(const std::string& text) const;

  // Of all marks, also of those that no text has.
  const PromptImages& images() const { return images_; }

  // `text` for people: "[img-0]" where the first image is.
  static std::string readable(const std::string& text);

 private:
  std::map<std::string, std::vector<TokenId>, std::less<>> by_mark_;
  PromptImages images_;
};

}  // namespace spillway
