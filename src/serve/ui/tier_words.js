// SPDX-License-Identifier: MIT
// What the numbers of a loaded model mean, in words: what holds its weights, and what its speed says. Pure.
import {formatPercent, formatRate} from "./format.js";

// Weights that are left to the kernel are in its page cache, as long as it likes.
export function tierNames({mode, page_cache_bytes}) {
  if (mode !== "mmap") return {ram: "RAM", disk: "Disk"};
  return Number.isFinite(page_cache_bytes) ? {ram: "Kernel's page cache", disk: "Disk"}
                                           : {ram: "Kernel's page cache", disk: "Disk, or the kernel's page cache, which does not say"};
}

// The speed beside the predicted one. A prediction that counts reads says nothing about passes in which nothing was read.
export function describeSpeed({mode, predicted}, {passes_per_s, bytes_per_token, faults_per_s}) {
  if (!(predicted.tok_per_s > 0)) return "nothing was predicted";
  const said = `predicted ${formatRate(predicted.tok_per_s)} for one request`;
  if (!passes_per_s) return said;
  const reads = mode === "mmap" || predicted.bytes_read_per_token > 0;
  const has_read = mode === "mmap" ? faults_per_s > 0 : bytes_per_token > 0;
  if (reads && !has_read) return `${said}, with reads; all of it was in memory`;
  return `${said}; ${formatPercent(passes_per_s / predicted.tok_per_s)} reached`;
}
