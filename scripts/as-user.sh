#!/bin/bash
# Runs a command as the user who has called sudo, where the working directory is that user's: what it makes stays the
# user's, and the user's own toolchain is found. Without sudo the command just runs.
set -euo pipefail

if [ "$(id -u)" -eq 0 ] && [ "${SUDO_UID:-0}" -ne 0 ] && [ "$(stat -c %u .)" = "$SUDO_UID" ]; then
  home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
  exec setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" --init-groups \
    env HOME="$home" PATH="$home/.cargo/bin:$PATH" "$0" "$@"
fi
command -v "$1" >/dev/null || {
  echo "as-user: there is no $1 for user $(id -un); a Rust toolchain brings cargo (rustup, or Debian's own if new enough)" >&2
  exit 1
}
exec "$@"
