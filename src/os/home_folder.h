// SPDX-License-Identifier: MIT
// Where this user's files are.
#pragma once

#include <string>

namespace spillway {

// $HOME, or where that is unset or empty, as it is for some services, what the system knows of this user; empty when it
// knows none. What is below "" would be below the current folder: another place each time. Any thread.
std::string home_folder();

// A path that begins with "~/" is below home_folder(); others, and all where there is none, stay as they are.
std::string below_home(std::string path);

}  // namespace spillway
