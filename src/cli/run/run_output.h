// SPDX-License-Identifier: MIT
// Where the answers of `spillway run` go: text or JSON to stdout, progress and reports to stderr.
#pragma once

#include <memory>

#include "chat/output_parser.h"
#include "cli/answer_printer.h"
#include "cli/progress_bar.h"
#include "cli/run/generator.h"
#include "cli/run/run_options.h"
#include "cli/run/run_stats.h"

namespace spillway {

// Output of one answer. `options` must outlive it.
class AnswerOutput {
 public:
  // `parser`: takes thoughts out of a generator's text; null: it is shown as it is.
  explicit AnswerOutput(const RunOptions& options, std::unique_ptr<OutputParser> parser = nullptr);

  // To be called by the generator while it generates; refers to this object.
  GenerationHooks hooks();

  // What became certain of the answer; false when nobody reads it any more.
  bool show(std::string_view content, std::string_view thinking);
  void show_prompt_progress(size_t done, size_t total);

  // Ends the text, and prints the report that was asked for. False: stdout's reader went away.
  //   Io   stdout could not be written
  Result<bool> finish(Engine& engine, Generation& generation);

 private:
  const RunOptions& options_;
  const std::unique_ptr<OutputParser> parser_;
  std::string content_, thinking_;  // as shown
  AnswerPrinter printer_;
  ThoughtPrinter thoughts_;
  ProgressBar progress_;
};

// The report of an answer on stderr.
void print_run_table(const Engine& engine, const Generation& generation);

}  // namespace spillway
