"""The container image, built and run on a real Docker Engine; and Tekton's steps in it.

MLGATE_TEST_BASE names an image with python3 (3.11 or newer) and pip, made locally. The image that
is built from it has what mlgate needs before it loads a stage; the stages are fakes.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ci.tekton_runner import Cluster
from tests.fakes.fixtures import fakes, mlgate, pipeline, project

__all__ = ["fakes", "mlgate", "project"]

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.docker

# What a pod of Tekton's is to a step: another user, nothing to write to but the volumes.
_STEP = """#!{python}
import os, sys
if {engine!r}:
    os.environ["DOCKER_HOST"] = {engine!r}
given = [f"--env={{name}}" for name in os.environ if name.startswith("MLGATE_")]
os.execvp("docker", ["docker", "run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL",
    "--security-opt=no-new-privileges", "--user=65532:65532", "--tmpfs=/tmp:mode=1777",
    "--volume={volumes}:{volumes}", "--volume={root}/tests:/x/tests:ro",
    "--env=PYTHONPATH=/opt/mlgate:/x/tests/fakes:/x", "--workdir", os.getcwd(), *given,
    "{image}", "mlgate", *sys.argv[1:]])
"""


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
    args = ["--build-arg", f"BASE={base}", "--build-arg", "LOCK=locks/light.txt"]
    built = _docker("build", "--quiet", "--network", "host", *args, "-t", "mlgate-test", str(ROOT))
    assert built.returncode == 0, built.stdout + built.stderr
    return "mlgate-test"


def test_it_runs_as_nobody_on_a_read_only_root(image: str) -> None:
    done = _docker("run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL", image,
                   "mlgate", "--version")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mlgate")
    # As the processes in which models are started to measure their start.
    isolated = _docker(
        "run", "--rm", "--network=none", image, "python3", "-I", "-c", "import mlgate"
    )
    assert isolated.returncode == 0, isolated.stderr
    about = json.loads(_docker("image", "inspect", image).stdout)[0]
    assert about["Config"]["User"] == "65532:65532"


def test_tekton_steps_in_the_image_reach_the_local_verdict(
    image: str, project: Path, mlgate: Path, tmp_path: Path
) -> None:
    volumes = tmp_path / "volumes"
    shutil.copytree(project, volumes / "source")
    spec = (project / "mlgate.yaml").read_text().replace(f"ran: {tmp_path}/ran, ", "")
    spec = spec.replace(f"    ran: {tmp_path}/ran\n", "")
    for folder in (project, volumes / "source"):
        (folder / "mlgate.yaml").write_text(spec)
    for path in (volumes, *volumes.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    step = tmp_path / "step"
    engine = os.environ.get("DOCKER_HOST", "")
    step.write_text(
        _STEP.format(python=sys.executable, volumes=volumes, root=ROOT, image=image, engine=engine)
    )
    step.chmod(0o755)
    run = Cluster.of(pipeline(project), step, volumes / "pods")
    before = os.umask(0o000)  # the results' folders are made here and written to by another user
    try:
        status = run.run({"event": "pull_request"}, {"source": volumes / "source"})
    finally:
        os.umask(before)
    assert status == "Succeeded", {name: task.log for name, task in run.runs.items()}
    local = subprocess.run(
        [mlgate, "check", "--only", "latency", "--only", "other", project],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert local.returncode == 0, local.stderr
    verdict = (volumes / "source" / ".mlgate" / "latest" / "verdict.json").read_bytes()
    assert verdict == (project / ".mlgate" / "latest" / "verdict.json").read_bytes()
