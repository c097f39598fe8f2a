// SPDX-License-Identifier: MIT
// Derives how arguments are marked one by one, from calls that differ in their arguments. Pure but for what it renders.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "chat/call_syntax.h"

namespace spillway {

// Words of the calls that are looked at. Keys are in the order of the alphabet.
namespace probe_key {
constexpr const char *kText = "pka_text", *kMore = "pkb_more", *kNumber = "pkc_number", *kFlag = "pkd_flag",
                     *kObject = "pke_object", *kList = "pkf_list";
}
namespace probe_value {
constexpr const char *kText = "probevaluea", *kMore = "probevalueb";
}

struct ItemsProbe {
  // What is written of a call with these arguments (JSON); "" where nothing is.
  std::function<std::string(const std::string& arguments)> written;
  std::function<std::string(const std::string&)> without_turn_end;
  std::string name;  // of the function
};

struct ProbedItems {
  ArgumentSyntax arguments;
  std::string span;  // the text of {kText: kText}
};

// nullopt: they are not marked one by one.
std::optional<ProbedItems> probe_items(const ItemsProbe& probe);

}  // namespace spillway
