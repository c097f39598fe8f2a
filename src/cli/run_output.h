// SPDX-License-Identifier: MIT
// Where the answers of `spillway run` go: text or JSON to stdout, progress and reports to stderr.
#pragma once

#include "cli/answer_printer.h"
#include "cli/generator.h"
#include "cli/progress_bar.h"
#include "cli/run_options.h"
#include "cli/run_stats.h"

namespace spillway {

// Output of one answer. `options` must outlive it.
class AnswerOutput {
 public:
  explicit AnswerOutput(const RunOptions& options);

  // To be called by the generator while it generates; refers to this object.
  GenerationHooks hooks();

  // Ends the text, and prints the report that was asked for. False: stdout's reader went away.
  //   Io   stdout could not be written
  Result<bool> finish(Engine& engine, const Generation& generation);

 private:
  const RunOptions& options_;
  AnswerPrinter printer_;
  ProgressBar progress_;
};

// The report of an answer on stderr.
void print_run_table(const Engine& engine, const Generation& generation);

}  // namespace spillway
