// SPDX-License-Identifier: MIT
// Whether a chat template can be used, and for what. Any thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/status.h"
#include "model/catalog.h"
#include "serving/asker.h"
#include "serving/fair_places.h"

namespace spillway {

// While it lives, its thread is one of the few that look at templates which requests bring: each is a process of 256
// MiB for seconds.
//   Busy        there was none for 30 s
//   Cancelled   nobody waits for it any more
Result<FairPlaces::Place> place_for_template(const Asker& asker);

// The same, for who waits for other things, too. He waits no longer than this.
inline constexpr std::chrono::seconds kTemplatePatience{30};
std::unique_ptr<FairPlaces::Turn> turn_for_template(const std::string& client);

// Of a Modelfile, of a request. Before anything is made with it.
//   InvalidArgument   it cannot be parsed; the message is one a user can act on
//   Busy              the system has no process for it now
Result<void> check_template(const std::string& text);

// For CatalogOptions::read_template: what is announced is what an answer is read for. Nothing where it cannot be used.
// Four at a time, others wait.
TemplateAbilities template_abilities(const std::string& text);

}  // namespace spillway
