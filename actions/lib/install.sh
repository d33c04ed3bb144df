#!/usr/bin/env bash
# Installs mlgate out of this very repository, every dependency by its hash, once per job.
set -euo pipefail
case "$MLGATE_EXTRA" in
  cpu | gpu) ;;
  *) echo "::error title=mlgate::extra is cpu or gpu" && exit 2 ;;
esac
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="$RUNNER_TEMP/mlgate/venv-$MLGATE_EXTRA"
if [ ! -x "$venv/bin/mlgate" ]; then
  uv venv --quiet --clear "--python=$MLGATE_PYTHON" "$venv"
  uv pip install --quiet --python "$venv" --require-hashes \
    --requirements "$here/requirements-$MLGATE_EXTRA.txt"
  uv pip install --quiet --python "$venv" --no-deps --no-build-isolation "$here/../.."
fi
echo "mlgate=$venv/bin/mlgate" >> "$GITHUB_OUTPUT"
