"""Other people's verifiers, each a command that is run on a file.

`.ci/run` fetches all of them and sets MLGATE_TEST_VERIFIERS=required, under which an absent one is
a failure; elsewhere it is a skip with its reason.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

_JS = Path(__file__).parent / "sigstore_js"


def tool(variable: str, default: str) -> str:
    """The path of a verifier, named by a variable or found on PATH; skips where there is none."""
    found = shutil.which(os.environ.get(variable, default))
    if found is None:
        _absent(f"{default} is not here: install it, or name it in {variable}")
    return found


def _absent(reason: str) -> NoReturn:
    if os.environ.get("MLGATE_TEST_VERIFIERS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def run(*command: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A verifier's answer; its caches go to `home`."""
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(home)},
        check=False,
    )


def sigstore_js(*arguments: Path, home: Path) -> subprocess.CompletedProcess[str]:
    if not (_JS / "node_modules").is_dir():
        _absent("run npm install in tests/provenance/sigstore_js")
    return run(tool("NODE", "node"), _JS / "verify.mjs", *arguments, home=home)
