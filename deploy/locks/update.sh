#!/usr/bin/env bash
# Resolve the locks anew from pyproject.toml (`make lock`). They name no index: each machine uses its own.
set -euo pipefail
cd "$(dirname "$0")/../.."

export UV_CUSTOM_COMPILE_COMMAND="make lock"
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --override deploy/locks/overrides.in "$@"
}

compile pyproject.toml deploy/locks/build.in -o deploy/locks/default.txt
compile pyproject.toml deploy/locks/build.in --group dev -c deploy/locks/default.txt -o deploy/locks/dev.txt
compile deploy/locks/java.in -o deploy/locks/java.txt
