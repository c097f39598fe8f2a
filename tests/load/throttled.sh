#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs a command with the disk below a file held to a rate: what slow disks do, measured on a fast one.
#
#   tests/load/throttled.sh 100M big.gguf spillway bench big.gguf --ram 2G --prompt-tokens 5000 -c 5120
#
# Needs root and a cgroup controller: v2's io (untried), or v1's blkio, which holds direct reads alone. Reads of everybody
# else, and of other disks, are as fast as ever.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '3,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
rate="$(numfmt --from=si "$1")" file="$2"
shift 2

# A partition has no queue of its own: its disk is throttled.
device="$(stat -c '%Hd:%Ld' "$file")"
node="$(readlink -f "/sys/dev/block/$device")" || { echo "no block device below $file" >&2; exit 1; }
if [ -e "$node/partition" ]; then device="$(cat "$node/../dev")"; fi

name="spillway-throttled-$$" group=""
trap '[ -z "$group" ] || rmdir "$group"' EXIT
if grep -qw io /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
  group="/sys/fs/cgroup/$name"
  mkdir "$group"
  echo "$device rbps=$rate" >"$group/io.max"
elif [ -d /sys/fs/cgroup/blkio ]; then
  group="/sys/fs/cgroup/blkio/$name"
  mkdir "$group"
  echo "$device $rate" >"$group/blkio.throttle.read_bps_device"
else
  echo "no cgroup that throttles disks" >&2
  exit 1
fi
(echo "$BASHPID" >"$group/cgroup.procs" && exec "$@")
