// SPDX-License-Identifier: MIT
// A conversation put into the order that a template takes: what it refuses, or would drop, is said in a way that it
// does not. Pure.
#pragma once

#include <span>
#include <vector>

#include "chat/message.h"
#include "chat/template_habits.h"

namespace spillway {

std::vector<Message> arranged(std::span<const Message> messages, const TemplateHabits& habits);

// The same tools; parameters that have no description have an empty one.
std::vector<Tool> with_descriptions(std::span<const Tool> tools);

}  // namespace spillway
