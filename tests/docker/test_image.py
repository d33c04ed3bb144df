"""The container image, built and run on a real Docker Engine.

MLGATE_TEST_BASE names an image that has Python, pip, hatchling and mlgate's dependencies: nothing
is downloaded.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.docker


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def image() -> str:
    try:
        answer = _docker("version", "--format", "{{.Server.Version}}")
    except FileNotFoundError:
        pytest.skip("docker is not installed")
    if answer.returncode:
        pytest.skip("no Docker Engine answers")
    base = os.environ.get("MLGATE_TEST_BASE")
    if base is None:
        pytest.skip("MLGATE_TEST_BASE names no base image")
    lock = "tests/docker/no-requirements.txt"
    args = ["--build-arg", f"BASE={base}", "--build-arg", f"LOCK={lock}"]
    built = _docker("build", "--quiet", "--network", "none", *args, "-t", "mlgate-test", str(ROOT))
    assert built.returncode == 0, built.stderr
    return "mlgate-test"


def test_it_runs_as_nobody_on_a_read_only_root(image: str, tmp_path: Path) -> None:
    done = _docker("run", "--rm", "--read-only", "--network", "none", "--cap-drop", "ALL",
                   image, "mlgate", "--version")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mlgate")
    about = json.loads(_docker("image", "inspect", image).stdout)[0]
    assert about["Config"]["User"] == "65532:65532"


def test_a_template_is_checked_in_it(image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    confined = ["--rm", "--read-only", "--network", "none", "--tmpfs", "/tmp", "-v", f"{tmp_path}:/workspace"]  # fmt: skip
    made = _docker("run", *confined, image, "mlgate", "init", "digits", "--template", "digits")
    assert made.returncode == 0, made.stderr
    done = _docker("run", *confined, image, "mlgate", "check", "digits", "--only", "data")
    assert done.returncode == 0, done.stdout + done.stderr
