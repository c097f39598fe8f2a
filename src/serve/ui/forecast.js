// SPDX-License-Identifier: MIT
// What running a model will be like, before it is loaded: whether it fits, and how fast. In words. Pure.
import {formatBytes, formatRate, formatWholeSeconds} from "./format.js";

// `forecast`: a reply of /api/spillway/forecast. {short, long}: for a table; for a sentence below the model's name.
export function describeForecast(forecast) {
  const {mode, loaded, error, predicted = {}, weights_bytes, memory_bytes} = forecast;
  if (error) return {short: "does not fit", long: error};
  const speed = predicted.tok_per_s > 0 ? `about ${formatRate(predicted.tok_per_s)}` : "";
  const load = !loaded && predicted.load_s >= 1 ? `loading takes about ${formatWholeSeconds(predicted.load_s)}` : "";
  const what = {resident: "fits in memory", stream: "streams from the disk", mmap: "is left to the kernel's page cache"}[mode];
  if (!what) return {short: "", long: ""};
  const size = mode === "resident" || !(weights_bytes > 0 && memory_bytes > 0) ? ""
    : ` (${formatBytes(weights_bytes)} of weights, ${formatBytes(memory_bytes)} of memory)`;
  const read = mode === "stream" && predicted.bytes_read_per_token > 0
    ? `${formatBytes(predicted.bytes_read_per_token)} are read for each token` : "";
  return {short: [{resident: "fits", stream: "streams", mmap: "page cache"}[mode], speed].filter(Boolean).join(", "),
          long: `It ${[`${what}${size}`, speed, read, load].filter(Boolean).join("; ")}.`};
}
