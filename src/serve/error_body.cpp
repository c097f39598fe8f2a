// SPDX-License-Identifier: MIT
#include "serve/error_body.h"

#include "serve/json_input.h"

namespace spillway {

std::string error_body(const std::string& path, int http_status, const std::string& message) {
  if (path == "/" || path.starts_with("/api/")) return to_text({{"error", message}});
  const bool anthropic = path.starts_with("/v1/messages");
  const char* type = http_status == 401                ? "authentication_error"
                     : http_status == 403              ? "permission_error"
                     : http_status == 413 && anthropic ? "request_too_large"
                     : http_status < 500               ? "invalid_request_error"
                                                       : "api_error";
  Json error = {{"type", type}, {"message", message}};
  if (anthropic) return to_text({{"type", "error"}, {"error", std::move(error)}});
  error.update({{"param", nullptr}, {"code", http_status == 401 ? Json("invalid_api_key") : Json(nullptr)}});
  return to_text({{"error", std::move(error)}});
}

}  // namespace spillway
