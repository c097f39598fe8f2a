// SPDX-License-Identifier: MIT
#include "serve/error_body.h"

#include "serve/json_input.h"

namespace spillway {

bool speaks_anthropic(const WebRequest& request) {
  return request.path.starts_with("/v1/messages") ||
         (request.path.starts_with("/v1/") && !request.header("anthropic-version").empty());
}

std::string error_body(const WebRequest& request, int http_status, const std::string& message) {
  if (request.path == "/" || request.path.starts_with("/api/")) return to_text({{"error", message}});
  const bool anthropic = speaks_anthropic(request);
  const char* type = http_status == 401                ? "authentication_error"
                     : http_status == 403              ? "permission_error"
                     : http_status == 404              ? "not_found_error"
                     : http_status == 413 && anthropic ? "request_too_large"
                     : http_status < 500               ? "invalid_request_error"
                                                       : "api_error";
  Json error = {{"type", type}, {"message", message}};
  if (anthropic) return to_text({{"type", "error"}, {"error", std::move(error)}, {"request_id", request.id}});
  error.update({{"param", nullptr}, {"code", http_status == 401 ? Json("invalid_api_key") : Json(nullptr)}});
  return to_text({{"error", std::move(error)}});
}

}  // namespace spillway
