// SPDX-License-Identifier: MIT
// gpt-oss writes messages of its own:
// <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>… The channel says what they are:
// thoughts (analysis), text for the reader (final, or commentary to nobody), a call (to=functions.NAME).
#pragma once

#include "chat/output_parser.h"

namespace spillway {

std::unique_ptr<OutputParser> make_harmony_parser(ParserOptions options);

}  // namespace spillway
