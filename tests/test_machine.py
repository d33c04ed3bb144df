"""Limits of the surroundings: quotas, memory, and whether they were felt."""

from pathlib import Path

import pytest

from mlgate.machine import Throttling, cpu_quota, hardware, memory_limit, throttling


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _v2(folder: Path, path: str = "/pods/serve") -> tuple[Path, Path]:
    member = folder / "cgroup"
    member.write_text(f"0::{path}\n")
    return folder / "fs", member


def test_no_limit_is_none(tmp_path: Path) -> None:
    root, member = _v2(tmp_path)
    _file(root / "pods/serve/cpu.max", "max 100000\n")
    _file(root / "pods/serve/memory.max", "max\n")
    assert cpu_quota(root, member) is None
    assert memory_limit(root, member) is None
    assert throttling(root, member) == Throttling(0, 0)


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    root, member = _v2(tmp_path)
    _file(root / "pods/serve/cpu.max", "200000 100000\n")
    _file(root / "pods/cpu.max", "50000 100000\n")
    _file(root / "pods/serve/memory.max", "512000000\n")
    assert cpu_quota(root, member) == 0.5
    assert memory_limit(root, member) == 512_000_000


def test_a_container_sees_its_group_as_the_root(tmp_path: Path) -> None:
    root, member = _v2(tmp_path, "/not/visible/here")
    _file(root / "cpu.max", "10000 100000\n")
    _file(root / "cpu.stat", "usage_usec 5\nnr_periods 332\nnr_throttled 331\n")
    assert cpu_quota(root, member) == 0.1
    assert throttling(root, member) == Throttling(332, 331)


def test_cgroup_v1(tmp_path: Path) -> None:
    member = tmp_path / "cgroup"
    member.write_text("4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n")
    root = tmp_path / "fs"
    _file(root / "cpu/a/cpu.cfs_quota_us", "25000\n")
    _file(root / "cpu/a/cpu.cfs_period_us", "100000\n")
    _file(root / "cpu/cpu.cfs_quota_us", "-1\n")
    _file(root / "cpu/cpu.cfs_period_us", "100000\n")
    _file(root / "memory/a/memory.limit_in_bytes", "1000000\n")
    _file(root / "memory/memory.limit_in_bytes", str(2**63 - 4096))
    assert cpu_quota(root, member) == 0.25
    assert memory_limit(root, member) == 1_000_000


@pytest.mark.parametrize("text", ["", "no group at all\n", "1:cpu:/x\n"])
def test_what_the_system_does_not_tell_is_no_limit(tmp_path: Path, text: str) -> None:
    member = tmp_path / "cgroup"
    member.write_text(text)
    assert cpu_quota(tmp_path / "none", member) is None


def test_b2_limits_are_hardware() -> None:
    assert {"cpu_quota", "memory_limit", "governor", "gpus_visible"} <= set(hardware())
