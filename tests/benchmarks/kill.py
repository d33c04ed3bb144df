"""Kill a check with SIGKILL at random moments; does the next run always go on, to the same verdict?

python -m tests.benchmarks.kill --times 200
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.projects import probe, stages, tree

ROOT = Path(__file__).parent.parent.parent
_CODE = """
import sys
from pathlib import Path
from mlgate.run.scheduler import Execution
from tests import probes
from tests.projects import run
probes.install()
Execution.worker = probes.WORKER
sys.exit(run(Path(sys.argv[1])).report.exit_code)
"""


def kill_and_go_on(folder: Path, *, times: int, seed: int) -> int:
    """How many of `times` killed runs were gone on with, to the undisturbed verdict's bytes."""
    rng = random.Random(seed)
    blocks = {
        "a": probe(0.1, makes="weights", sleep_s=0.1),
        "b": {**probe(0.2, sleep_s=0.1), "model": {"from": "a.model"}},
        "c": probe(0.3, sleep_s=0.1),
    }
    text = {"mlgate.yaml": stages(**blocks)}
    started = time.monotonic()
    expected = _verdict(tree(folder / "undisturbed", text))
    length = time.monotonic() - started
    good = 0
    for index in range(times):
        project = tree(folder / f"killed-{index}", text)
        process = _start(project)
        time.sleep(rng.uniform(0, length))
        process.kill()
        process.wait()
        good += _verdict(project) == expected
    return good


def _start(project: Path) -> "subprocess.Popen[bytes]":
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", _CODE, str(project)], env=env)


def _verdict(project: Path) -> bytes:
    if _start(project).wait() != 0:
        return b""
    return (project / ".mlgate" / "latest" / "verdict.json").read_bytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        good = kill_and_go_on(Path(temporary), times=arguments.times, seed=arguments.seed)
    print(f"{good} of {arguments.times} killed runs were gone on with, to the same verdict bytes")
    sys.exit(good != arguments.times)
