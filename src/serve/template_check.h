// SPDX-License-Identifier: MIT
// Whether a chat template can be used, and for what. Any thread.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "model/catalog.h"

namespace spillway {

// While one lives, its thread is one of the few that look at templates which requests bring: each is a process of 256
// MiB for seconds.
class TemplateTurn {
 public:
  // Waits for its turn.
  //   Busy   it did not come in 30 s
  static Result<TemplateTurn> take();
  TemplateTurn(TemplateTurn&&) = default;
  TemplateTurn& operator=(TemplateTurn&&) = default;

 private:
  struct End {
    void operator()(const void*) const;
  };
  explicit TemplateTurn(const void* turn) : turn_(turn) {}

  std::unique_ptr<const void, End> turn_;
};

// Of a Modelfile, of a request. Before anything is made with it.
//   InvalidArgument   it cannot be parsed; the message is one a user can act on
Result<void> check_template(const std::string& text);

// For CatalogOptions::read_template: what is announced is what an answer is read for. Nothing where it cannot be used.
TemplateAbilities template_abilities(const std::string& text);

}  // namespace spillway
