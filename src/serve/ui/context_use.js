// SPDX-License-Identifier: MIT
// How full the context of a conversation is. Pure.
import {formatCount} from "./format.js";

const NEARLY = 0.85;

// `n_ctx`: of the server; the answers' statistics are the server's counts. null: nothing is known yet.
//   {used, n_ctx, fraction, level, text}   level: "", "high", "full"
export function contextUse(conversation, run, n_ctx_loaded) {
  const last = conversation.messages.findLast((message) => message.role === "assistant" && message.stats?.prompt_tokens > 0);
  let used = last ? last.stats.prompt_tokens + (last.stats.answer_tokens ?? 0) : 0;
  let n_ctx = last?.stats.n_ctx;
  if (run?.prompt_tokens > 0) {
    used = run.prompt_tokens + run.n_pieces;
    n_ctx = run.n_ctx ?? n_ctx;
  }
  n_ctx = smallest(conversation.options.num_ctx, n_ctx ?? n_ctx_loaded);
  if (!(n_ctx > 0)) return null;
  used = Math.min(used, n_ctx);  // an answer may have gone on behind what was left out
  const fraction = used / n_ctx;
  const level = fraction >= 1 ? "full" : fraction >= NEARLY ? "high" : "";
  const more = level === "full" ? ": the oldest messages are left out" : level === "high" ? ": nearly full" : "";
  return {used, n_ctx, fraction, level, text: `Context: ${formatCount(used)} of ${formatCount(n_ctx)} tokens${more}`};
}

function smallest(...counts) {
  const known = counts.filter((count) => count > 0);
  return known.length > 0 ? Math.min(...known) : 0;
}
