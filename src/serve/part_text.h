// SPDX-License-Identifier: MIT
// Parts of messages that are no plain text, as text. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "serve/json_input.h"

namespace spillway {

// What stands in the place of something that the model cannot see: "[image: the model cannot see it]".
// `details`: what is known of it, such as a media type or a name.
std::string unseen(std::string_view what, std::string_view details = {});

// <document title="…"> and the text. Without a title: none is shown.
std::string document_text(std::string_view title, std::string_view context, std::string_view text);

// Appends a part of a message to those before it, in a line of its own.
void append_part(std::string& text, std::string_view part);

// The bytes that base64 stands for; nullopt: it is none.
std::optional<std::string> bytes_of_base64(std::string_view base64);

// A file that came as "data:MEDIA;base64,…" or as base64 alone, as text.
//   InvalidArgument   a PDF, something else that is no text; `place` names it
Result<std::string> text_of_file(const std::string& data, const std::string& name, const std::string& place);

// What a service's own tool did, as it stands in a history: JSON without what nobody but that service can read.
Json readable(const Json& json);

}  // namespace spillway
