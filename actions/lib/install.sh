#!/usr/bin/env bash
# Installs mlgate out of this very repository, every dependency by its hash, once per job.
#
# MLGATE_EXTRA names extras of mlgate with commas between; "light" is what planning and judging need.
# MLGATE_REQUIREMENTS is a file of the caller's, with hashes too: a database's driver, say.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
known="$(cd "$here/../../locks" && printf '%s ' *.txt)"
refuse() { echo "::error title=mlgate::$1" && exit 2; }
if [[ ! "$MLGATE_EXTRA" =~ ^[a-z][a-z0-9]*(,[a-z][a-z0-9]*)*$ ]]; then
  refuse "extra is one or more of: ${known//.txt/}"
fi
locked=()
IFS=',' read -r -a extras <<< "$MLGATE_EXTRA"
for extra in "${extras[@]}"; do
  [ -f "$here/../../locks/$extra.txt" ] || refuse "extra is one or more of: ${known//.txt/}"
  locked+=(--requirements "$here/../../locks/$extra.txt")
done
if [ -n "${MLGATE_REQUIREMENTS:-}" ]; then
  [ -f "$MLGATE_REQUIREMENTS" ] || refuse "the file of further requirements is not there"
  locked+=(--requirements "$MLGATE_REQUIREMENTS")
fi
venv="$RUNNER_TEMP/mlgate/venv-${MLGATE_EXTRA//,/-}"
if [ ! -x "$venv/bin/mlgate" ]; then
  uv venv --quiet --clear "--python=$MLGATE_PYTHON" "$venv"
  uv pip install --quiet --python "$venv" --require-hashes "${locked[@]}"
  uv pip install --quiet --python "$venv" --no-deps --no-build-isolation "$here/../.."
fi
echo "mlgate=$venv/bin/mlgate" >> "$GITHUB_OUTPUT"
