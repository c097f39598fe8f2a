# What the tests of packages share. Sourced; the caller has set -euo pipefail.
readonly source_folder="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }
expect_contains() { case $1 in *"$2"*) ;; *) fail "expected '$2' in: $1" ;; esac; }
expect_equal() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }

# Runs a command in a root folder of its own, with the kernel's file systems there and none of our environment.
in_root() {
  local root=$1; shift
  unshare --mount --pid --fork --kill-child bash -c '
    set -e
    root=$1; shift
    mkdir -p "$root/proc" "$root/dev" "$root/tmp"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp LANG=C.UTF-8 chroot "$root" "$@"' - "$root" "$@"
}

# The folder with what /bin/sh and readlink need, and nothing else of a system.
make_bare_root() {
  local root=$1 program library
  mkdir -p "$root/bin" "$root/tmp" "$root/usr/bin"
  for program in sh readlink; do
    cp -L "$(command -v "$program")" "$root/bin/"
    ldd "$(command -v "$program")" | grep -o '/[^ )]*' | while read -r library; do
      mkdir -p "$root$(dirname "$library")" && cp -Ln "$library" "$root$library"
    done
  done
}

# An answer of the small model's, as the build gives it: what every package has to say too.
readonly question="What does Oda do?"
expected_answer() { "$1/bin/spillway" run "$source_folder/tools/demo_model/brook.gguf" --prompt "$question" --temp 0; }
