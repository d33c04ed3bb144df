"""Every folder below tests/examples is a test: what `mlgate check` says of it stands in expected.txt.

`pytest tests/test_examples.py --update` writes what it says now.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.probed import ROOT, environment

EXAMPLES = ROOT / "tests" / "examples"
CASES = sorted(path.parent.relative_to(EXAMPLES) for path in EXAMPLES.rglob("mlgate.yaml"))
CODES = {"pass": (0,), "fail": (1, 3, 4), "invalid": (2,)}


def said(folder: Path) -> tuple[int, str]:
    """The exit code, and all that was printed, without what differs from run to run."""
    done = subprocess.run(
        [sys.executable, "-m", "mlgate", "check"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    text = f"{done.stdout}\nstandard error:\n{done.stderr}\nexit code {done.returncode}\n"
    text = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}", "RUN", text)
    return done.returncode, text.replace(str(folder), "FOLDER")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_example(case: Path, tmp_path: Path, assert_file: Callable[[str, str], None]) -> None:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLES / case, folder, ignore=shutil.ignore_patterns("expected.txt"))
    code, text = said(folder)
    assert code in CODES[case.parts[0]]
    assert "Traceback" not in text
    assert_file(str((EXAMPLES / case / "expected.txt").relative_to(ROOT)), text)


def test_there_are_some_of_each_kind() -> None:
    assert {case.parts[0] for case in CASES} == set(CODES)
