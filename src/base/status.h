// SPDX-License-Identifier: MIT
// How the world's failures travel: a Status says what kind and, in one sentence a user can act on, what to do.
// Bugs of our own are CHECK (base/check.h), never a Status.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace spillway {

enum class Code {
  kInvalidArgument,   // the caller or the user asked for something that makes no sense
  kNotFound,          // no such file, tensor or name
  kPermissionDenied,  // the system refused
  kCorrupt,           // a file does not hold what its header promises
  kUnsupported,       // valid, but not something this build, kernel or model can do
  kOutOfBudget,       // would need more memory than was granted
  kIo,                // the disk or the file system failed
  kDiskFull,          // no room is left on the disk, or in the user's quota
  kUnavailable,       // a server can not be reached, is busy or failed: trying again later may help
  kChanged,           // a model file was replaced or shrank while in use
  kCancelled,         // the caller asked to stop
  kBusy,              // others wait, or hold what this needs: the same again may succeed later
  kContextOverflow,   // the input has more tokens than the context
  kInternal,          // a library we call failed without a better reason
};

const char* code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // A word that programs know this failure by, where a protocol defines one ("thread_unsupported_request"); else empty.
  const std::string& reason() const { return reason_; }

  // The same failure, with the place where it happened in front: "PATH: message".
  Status with_context(const std::string& context) const { return with_message(context + ": " + message_); }
  Status with_message(std::string message) const {
    Status other(code_, std::move(message));
    other.reason_ = reason_;
    return other;
  }
  Status with_reason(std::string reason) const {
    Status other = *this;
    other.reason_ = std::move(reason);
    return other;
  }

 private:
  Code code_;
  std::string message_, reason_;
};

template <typename T>
using Result = tl::expected<T, Status>;

// What a function returns that failed: of any Result.
using Failure = tl::unexpected<Status>;

inline Failure error(Code code, std::string message) { return Failure(Status(code, std::move(message))); }

}  // namespace spillway

#define SPILLWAY_CONCAT_(a, b) a##b
#define SPILLWAY_CONCAT(a, b) SPILLWAY_CONCAT_(a, b)

// ASSIGN_OR_RETURN(Fd fd, open_file(path)): binds the value, or returns the error to our caller.
#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_(SPILLWAY_CONCAT(result_, __LINE__), declaration, expression)
#define ASSIGN_OR_RETURN_(result, declaration, expression)                           \
  auto result = (expression);                                                        \
  if (!result) return tl::unexpected<::spillway::Status>(std::move(result).error()); \
  declaration = std::move(*result)

#define RETURN_IF_ERROR(expression)                                                                                   \
  do {                                                                                                                \
    if (auto status_ = (expression); !status_) return tl::unexpected<::spillway::Status>(std::move(status_).error()); \
  } while (false)
