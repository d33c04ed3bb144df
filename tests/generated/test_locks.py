"""The lock files hold what pyproject.toml asks for: `.ci/lock` writes them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = SETTINGS["project"]["optional-dependencies"]
STALE = "pyproject.toml asks for something else: run .ci/lock, and commit what it writes"


def _pins(lock: str) -> list[tuple[str, str]]:
    text = (ROOT / f"locks/{lock}.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^ ;]+)", text, flags=re.MULTILINE)
    assert text.count("--hash=sha256:") >= len(found)
    return found


def _asked_for(extra: str) -> list[Requirement]:
    """What an extra asks for, with the extras of mlgate that it names written out."""
    found: list[Requirement] = []
    for need in map(Requirement, EXTRAS[extra]):
        if need.name == "mlgate":
            found += [inner for name in need.extras for inner in _asked_for(name)]
        else:
            found.append(need)
    return found


def _held(needs: list[Requirement], lock: str) -> None:
    pins = _pins(lock)
    for need in needs:
        versions = [version for name, version in pins if name == canonicalize_name(need.name)]
        assert versions, (need, STALE)
        assert all(need.specifier.contains(version) for version in versions), (need, STALE)


def test_there_is_one_lock_for_each_extra() -> None:
    written = {path.stem for path in (ROOT / "locks").glob("*.txt")}
    assert written == {"light", *EXTRAS}, STALE


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_a_lock_holds_what_its_extra_asks_for(extra: str) -> None:
    needs = [*SETTINGS["project"]["dependencies"], *SETTINGS["build-system"]["requires"]]
    _held([*map(Requirement, needs), *_asked_for(extra)], extra)


def test_light_is_dependencies_and_no_library_of_a_stage() -> None:
    wanted = set(SETTINGS["tool"]["mlgate"]["light"])
    needs = [Requirement(need) for need in SETTINGS["project"]["dependencies"]]
    light = [need for need in needs if need.name in wanted]
    assert len(light) == len(wanted)
    _held(light, "light")
    names = {name for name, _ in _pins("light")}
    assert not names & {"great-expectations", "pandas", "pyarrow", "duckdb", "onnx", "onnxruntime"}


def test_one_package_has_one_version_in_all_locks() -> None:
    """So that a job may install several of them at once."""
    seen: dict[str, set[str]] = {}
    for path in sorted((ROOT / "locks").glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if match := re.match(r"([\w.-]+)(?:\[.*?\])?==(.+?) *\\?$", line):
                seen.setdefault(match[1], set()).add(f"{path.stem}: {match[2]}")
    for name, versions in seen.items():
        plain = {version.split(": ")[1].split(" ")[0] for version in versions}
        if name != "numpy":  # which has one for 3.11, and one for later
            assert len(plain) <= 2, (name, versions)
        markers = {version.split(": ")[1] for version in versions}
        assert len(markers) <= 2, (name, versions)
