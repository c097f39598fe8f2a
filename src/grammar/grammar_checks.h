// SPDX-License-Identifier: MIT
// What a program must be before anything follows it. Pure, in time linear in the program.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "grammar/grammar.h"

namespace spillway {

// A rule that comes back to itself before any character, so that following it would not end; nullopt: none does.
std::optional<size_t> left_recursive_rule(const std::vector<Instruction>& program,
                                          std::span<const uint32_t> rule_starts);

// Marks calls behind which their rule returns at once: those need no place to come back to.
void mark_last_calls(std::vector<Instruction>& program);

}  // namespace spillway
