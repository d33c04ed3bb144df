"""The whole stage under a real CPU quota: what a container with `limits.cpu: 100m` can do."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlgate.machine import CGROUPS
from mlgate.stages.benchmark.load import closed_loop
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.session import expect, open_session, prepare
from tests.projects import stages
from tests.stages.benchmark.onnx_models import write_chain


@pytest.fixture
def tenth_of_a_cpu() -> Iterator[Path]:
    """A control group with a tenth of one CPU; what joins it is held to that."""
    unified = (CGROUPS / "cgroup.controllers").exists()
    group = (CGROUPS if unified else CGROUPS / "cpu") / f"mlgate-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        if unified:
            (group / "cpu.max").write_text("10000 100000")
        else:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("10000")
    except OSError as error:
        group.rmdir()
        pytest.skip(f"no CPU quota can be set here: {error.strerror}")
    yield group
    group.rmdir()


def check_in(group: Path, folder: Path) -> tuple[int, dict[str, object]]:
    def join() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, "-m", "mlgate", "check", "--format", "json"]
    done = subprocess.run(
        command, cwd=folder, preexec_fn=join, capture_output=True, check=False, timeout=300
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_b1_a_quota_is_no_neighbour(tenth_of_a_cpu: Path, tmp_path: Path) -> None:
    """Half of what an unlimited core answers: times without interruptions would pass that."""
    model = write_chain(tmp_path / "query.onnx", layers=4, width=256)
    session = open_session(model, Runtime())
    feed = {"x": np.ones((1, 256), dtype=np.float32)}
    prepared = prepare(session, [feed], Runtime(), expect(session, [feed]))
    alone = len(closed_loop(prepared.run, prepared.bindings, 0.3).latency) / 0.3
    block = {
        "uses": "benchmark",
        "model": "query.onnx",
        "scenarios": [{"kind": "ramp", "step": "300ms", "rounds": 2}],
        "gates": [{"metric": "capacity.knee_qps", "min": round(alone / 2)}],
    }
    (tmp_path / "mlgate.yaml").write_text(stages(q=block))
    code, report = check_in(tenth_of_a_cpu, tmp_path)
    assert code in (1, 3, 4), report  # never a pass
