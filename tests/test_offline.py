"""A check of local files talks to nobody, and standard output holds its document alone."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.offline import audited, reaching, stray
from tests.benchmarks.silent_passes import project


@pytest.mark.slow
def test_a_local_check_opens_no_connection_and_prints_one_document(tmp_path: Path) -> None:
    project(tmp_path, None)
    done, heard = audited(tmp_path, "check", "--format", "json")
    assert len([line for line in heard if line.startswith("process")]) >= 2
    assert reaching(heard) == []
    assert not [line for line in heard if line.startswith("socket.")]
    assert stray(done.stdout) == 0
    assert json.loads(done.stdout)["schema"] == "mlgate/report/v1"


def test_commands_that_measure_nothing_make_no_socket(tmp_path: Path) -> None:
    project(tmp_path, None)
    for command in ("lint", "plan"):
        _, heard = audited(tmp_path, command, "--format", "json")
        assert not [line for line in heard if line.startswith("socket.")]


@pytest.mark.parametrize(
    ("output", "loose"),
    [('{"a": 1}\n', 0), ("", 0), ('hello\n{"a": 1}\n', 15), ('{"a": 1}\nbye\n', 4)],
)
def test_stray_bytes_are_counted(output: str, loose: int) -> None:
    assert stray(output) == loose
