// SPDX-License-Identifier: MIT
// The web page, compiled in: HTML, CSS and ES modules as they stand in this folder. Nothing of it is read from disk,
// and it asks no other host for anything. What it asks the server for: docs/serve-ui.md.
#pragma once

#include <span>
#include <string_view>

namespace spillway {

struct UiFile {
  std::string_view path;  // "/ui/index.html"
  std::string_view content_type;
  std::string_view bytes;
};

// In no order. "/", "/ui" and "/ui/" mean "/ui/index.html".
std::span<const UiFile> ui_files();

}  // namespace spillway
