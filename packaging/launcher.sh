#!/bin/sh
# Starts the program beside this file with the libraries that came with it, whatever the system has: from any folder, through
# any symbolic link. Written for a plain POSIX shell; only readlink is asked for more.
self=$(readlink -f "$0") || exit 127
here=${self%/*}
private=${here%/*}/lib/spillway
export SPILLWAY_LAUNCHER="$self"
export SPILLWAY_BACKENDS="${SPILLWAY_BACKENDS:-$private/backends}"
# The certificates that the system trusts are in another file on every family of systems.
if [ -z "$SSL_CERT_FILE" ]; then
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
    if [ -r "$file" ]; then export SSL_CERT_FILE="$file"; break; fi
  done
fi
exec "$private/@LOADER@" --argv0 "$0" --library-path "$private" "$private/${self##*/}" "$@"
