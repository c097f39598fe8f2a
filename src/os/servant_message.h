// SPDX-License-Identifier: MIT
// What is said between this program and a ServantProcess that is this program, too: values one after the other, as they
// lie in memory, and a Result as the answer. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

template <typename T>
void put_value(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void take_bytes(std::string_view& from, void* to, size_t bytes);  // nothing where `from` is too short, and ends it

// Zeros where `from` is too short.
template <typename T>
T take_value(std::string_view& from) {
  T value{};
  take_bytes(from, &value, sizeof value);
  return value;
}

std::string answer_of(Result<std::string> result);

// What answer_of() was given. The child handles what strangers wrote, so the message of an error is made one short
// line.
//   Internal   it is no such answer
Result<std::string> result_of(std::string answer);

}  // namespace spillway
