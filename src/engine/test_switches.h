// SPDX-License-Identifier: MIT
// For tests that prove that the tests can fail. No program that is shipped calls load_for_test().
#pragma once

#include <memory>

#include "base/status.h"
#include "engine/engine.h"

namespace spillway {

struct TestSwitches {
  bool corrupt_extent = false;  // one bit of one streamed extent is wrong
  bool skip_gate = false;       // nothing of ours is used: the file's mapping alone keeps the result right
};

// As Engine::load, with that fault.
Result<std::unique_ptr<Engine>> load_for_test(const LoadOptions& options, const TestSwitches& test);

}  // namespace spillway
