// SPDX-License-Identifier: MIT
#include "base/status.h"

namespace spillway {

const char* code_name(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return "invalid argument";
    case Code::kNotFound:
      return "not found";
    case Code::kPermissionDenied:
      return "permission denied";
    case Code::kCorrupt:
      return "corrupt file";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kOutOfBudget:
      return "out of budget";
    case Code::kIo:
      return "read error";
    case Code::kDiskFull:
      return "disk full";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kChanged:
      return "file changed";
    case Code::kCancelled:
      return "cancelled";
    case Code::kBusy:
      return "busy";
    case Code::kContextOverflow:
      return "context overflow";
    case Code::kInternal:
      return "internal error";
  }
  return "unknown";
}

}  // namespace spillway
