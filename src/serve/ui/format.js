// SPDX-License-Identifier: MIT
// Numbers as people read them; sizes as the program's own tables print them. What is unknown is a dash.

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const UNKNOWN = "–";

const known = (value) => typeof value === "number" && Number.isFinite(value);

export function formatBytes(bytes) {
  if (!known(bytes)) return UNKNOWN;
  if (bytes >= GIB) return `${(bytes / GIB).toFixed(2)} GiB`;
  if (bytes >= MIB) return `${Math.round(bytes / MIB)} MiB`;
  if (bytes >= KIB) return `${Math.round(bytes / KIB)} KiB`;
  return `${Math.round(bytes)} B`;
}

// Disks are sold, and measured here, in powers of ten.
export function formatThroughput(bytesPerS) {
  if (!known(bytesPerS)) return UNKNOWN;
  if (bytesPerS >= 1e9) return `${(bytesPerS / 1e9).toFixed(2)} GB/s`;
  return `${(bytesPerS / 1e6).toFixed(bytesPerS >= 1e7 || bytesPerS === 0 ? 0 : 1)} MB/s`;
}

export function formatRate(tokensPerS) {
  if (!known(tokensPerS)) return UNKNOWN;
  return `${tokensPerS.toFixed(tokensPerS >= 100 ? 0 : tokensPerS >= 10 ? 1 : 2)} tok/s`;
}

export function formatPercent(fraction) {
  if (!known(fraction)) return UNKNOWN;
  return `${(fraction * 100).toFixed(fraction > 0 && fraction < 0.1 ? 1 : 0)} %`;
}

export function formatSeconds(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Where tenths mean nothing.
export function formatWholeSeconds(seconds) {
  return known(seconds) && seconds < 59.5 ? `${Math.round(seconds)} s` : formatSeconds(seconds);
}

// How long until `then`, coarsely. Servers write a far future year for "never".
export function formatUntil(then, now) {
  const ms = then.getTime() - now.getTime();
  if (!Number.isFinite(ms)) return UNKNOWN;
  if (then.getUTCFullYear() - now.getUTCFullYear() > 50) return "until it is unloaded";
  return ms <= 0 ? "unloading" : `for ${formatSeconds(Math.max(1, Math.round(ms / 1000)))}`;
}

export function formatCount(count) {
  return known(count) ? count.toLocaleString("en-US") : UNKNOWN;
}
