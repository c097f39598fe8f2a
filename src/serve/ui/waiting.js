// SPDX-License-Identifier: MIT
// What an answer waits for, in words: the queue, the load of its model, or its prompt, and how much longer. Pure.
import {formatBytes, formatCount, formatPercent, formatWholeSeconds} from "./format.js";

const SURE_S = 1;        // so long something has to run before its speed says how much longer it takes
const LOADS_FROM = 0.1;  // of a load: before, the file is opened and the machine measured

// `progress`: what the server told last ({phase, ...}), null before it did; `waited_s`: since it was asked.
//   {text, fraction}   fraction: 0 to 1, null where nothing is measured
export function describeWaiting(progress, waited_s) {
  const waited = formatWholeSeconds(Math.floor(waited_s));
  switch (progress?.phase) {
    case "queue":
      return {text: `${queueText(progress.ahead)}, ${waited}`, fraction: null};
    case "context":
      return {text: `Making room for a larger context, ${waited}`, fraction: null};
    case "loading":
      return loading(progress);
    case "prompt":
      return prompt(progress);
    default:
      return {text: `Waiting for the server, ${waited}`, fraction: null};
  }
}

function queueText(ahead) {
  if (!(ahead > 0)) return "Waiting for a free slot";
  return `Waiting behind ${ahead === 1 ? "another request" : `${formatCount(ahead)} other requests`}`;
}

function loading({model, done, total, elapsed_s}) {
  const fraction = total > 0 ? done / total : 0;
  const size = total > 0 ? `: ${formatBytes(done)} of ${formatBytes(total)} (${formatPercent(fraction)})` : "";
  return {text: `Loading ${model}${size}${fraction < LOADS_FROM ? "" : left(done, total, elapsed_s)}`,
          fraction};
}

// What was kept from before took no time.
function prompt({done, total, cached = 0, elapsed_s}) {
  const fraction = total > 0 ? done / total : 0;
  return {text: `Reading the prompt: ${formatCount(done)} of ${formatCount(total)} tokens (${formatPercent(fraction)})` +
                left(done - cached, total - cached, elapsed_s), fraction};
}

function left(done, total, elapsed_s) {
  if (!(done > 0 && total > done && elapsed_s >= SURE_S)) return "";
  return `, about ${formatWholeSeconds(Math.ceil(((total - done) * elapsed_s) / done))} left`;
}
