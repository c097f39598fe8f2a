// SPDX-License-Identifier: MIT
#include "serve/call.h"

namespace spillway {

CallOptions merge_options(CallOptions base, const CallOptions& over) {
  const auto take = [](auto& to, const auto& from) {
    if (from) to = from;
  };
  take(base.temperature, over.temperature);
  take(base.top_p, over.top_p);
  take(base.min_p, over.min_p);
  take(base.typical_p, over.typical_p);
  take(base.repeat_penalty, over.repeat_penalty);
  take(base.presence_penalty, over.presence_penalty);
  take(base.frequency_penalty, over.frequency_penalty);
  take(base.top_k, over.top_k);
  take(base.repeat_last_n, over.repeat_last_n);
  take(base.seed, over.seed);
  take(base.num_predict, over.num_predict);
  take(base.num_ctx, over.num_ctx);
  take(base.num_keep, over.num_keep);
  take(base.stop, over.stop);
  if (!over.logit_bias.empty()) base.logit_bias = over.logit_bias;
  return base;
}

std::string AnswerWriter::rendered(const std::string& prompt) { return prompt; }

int http_status(const Status& status) {
  switch (status.code()) {
    case Code::kInvalidArgument:
    case Code::kContextOverflow:
    case Code::kUnsupported:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kPermissionDenied:
      return 403;
    case Code::kBusy:
    case Code::kUnavailable:
      return 503;
    case Code::kCancelled:
      return 499;
    default:
      return 500;
  }
}

std::optional<int> retry_after_s(const Status& status) {
  if (status.code() == Code::kBusy) return 1;
  if (status.code() == Code::kUnavailable) return 5;  // what was lost has to be loaded or reached again
  return std::nullopt;
}

}  // namespace spillway
