#!/usr/bin/env bash
# Puts artifacts that lie in a folder each into one: those whose names match a pattern such as
# mlgate-{cached,stage-*}. For servers whose download does not do it.
set -euo pipefail
shopt -s nullglob
mkdir -p "$MLGATE_INTO"
before="${MLGATE_PATTERN%%\{*}"
choices="${MLGATE_PATTERN#"$before"}"
choices="${choices#\{}"
IFS=, read -ra endings <<<"${choices%\}},"
for folder in "$MLGATE_ALL"/*/; do
  name="$(basename "$folder")"
  for ending in "${endings[@]}"; do
    # shellcheck disable=SC2053 # the right side is a pattern
    if [[ "$name" == $before$ending ]]; then
      cp -R "$folder." "$MLGATE_INTO/"
    fi
  done
done
