"""Resolving a plan: order, keys, what a key depends on, and why one is new."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlgate
from mlgate.check import prepare
from mlgate.errors import UsageError
from mlgate.run.plan import Key, Plan, covered_sources, resolve, versions, why_missed
from mlgate.spec.lint import load
from mlgate.stages import STAGES
from tests.probed import ROOT
from tests.projects import NOW, probe, stages, tree

pytestmark = pytest.mark.usefixtures("fake_stages")


def prepared(folder: Path, **blocks: Any) -> tuple[Plan, dict[str, Key]]:
    return prepare(load(tree(folder, {"mlgate.yaml": stages(**blocks)}) / "mlgate.yaml"), now=NOW)


def key(folder: Path, **options: Any) -> str | None:
    return prepared(folder, a=probe(**options))[1]["a"].digest


def test_each_comes_after_what_it_waits_for(tmp_path: Path) -> None:
    plan, _ = prepared(tmp_path, c=probe(needs=["b"]), b=probe(needs=["a"]), a=probe())
    assert [node.id for node in plan.nodes] == ["a", "b", "c"]
    assert plan.node("c").after == ("b",)


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_does_not_depend_on_chance(names: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        blocks = {name: probe() for name in names}
        text = stages(**blocks, e=probe(needs=sorted(names)))
        spec = load(tree(Path(folder), {"mlgate.yaml": text}) / "mlgate.yaml")
        once = [node.id for node in resolve(spec).nodes]
        assert once == [node.id for node in resolve(spec).nodes]
        assert once[-1] == "e"


def test_the_order_and_keys_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    blocks = {n: probe() for n in "edcba"}
    tree(tmp_path, {"mlgate.yaml": stages(**blocks, f=probe(needs=list("abcde")))})
    code = (
        "import sys; from pathlib import Path; from tests import probes; probes.install();"
        "from mlgate.spec.lint import load; from mlgate.check import prepare;"
        "from tests.projects import NOW; p, k = prepare(load(Path('mlgate.yaml')), now=NOW);"
        "print([n.id for n in p.nodes], [k[n.id].digest for n in p.nodes])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_only_keeps_a_stage_and_what_it_needs(tmp_path: Path) -> None:
    text = stages(a=probe(), b=probe(needs=["a"]), c=probe())
    spec = load(tree(tmp_path, {"mlgate.yaml": text}) / "mlgate.yaml")
    assert [n.id for n in resolve(spec, only=["b"]).nodes] == ["a", "b"]
    with pytest.raises(UsageError, match="there is no stage 'd'") as caught:
        resolve(spec, only=["d"])
    assert caught.value.hint == "stages: a, b, c"


def test_what_moves_traffic_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = dataclasses.replace(STAGES["timing"], deploys=True)
    monkeypatch.setitem(STAGES, "timing", moving)
    spec = load(
        tree(tmp_path, {"mlgate.yaml": stages(a=probe(), b={**probe(), "uses": "timing"})})
        / "mlgate.yaml"
    )
    assert [n.id for n in resolve(spec).nodes] == ["a"]
    assert [n.id for n in resolve(spec, include_deploys=True).nodes] == ["a", "b"]
    assert [n.id for n in resolve(spec, only=["b"]).nodes] == ["b"]


def test_a_key_depends_on_what_evidence_depends_on_and_on_nothing_else(tmp_path: Path) -> None:
    tree(tmp_path, {"data.txt": "1"})
    base = key(tmp_path, value=0.5, file="data.txt")
    assert base == key(tmp_path, value=0.5, file="data.txt", limit=0.1)  # a gate judges
    assert base == key(tmp_path, value=0.5, file="data.txt", timeout="5m", retries=3)
    assert base != key(tmp_path, value=0.25, file="data.txt")
    tree(tmp_path, {"data.txt": "2"})
    assert base != key(tmp_path, value=0.5, file="data.txt")
    confident = probe(
        0.5, file="data.txt", gates=[{"metric": "probe", "max": 1, "confidence": 0.5}]
    )
    assert base != prepared(tmp_path, a=confident)[1]["a"].digest


def test_the_same_project_elsewhere_has_the_same_keys(tmp_path: Path) -> None:
    keys = set()
    for name in ("one", "two/deeper"):
        folder = tree(tmp_path / name, {"data.txt": "1"})
        keys.add(key(folder, file="data.txt"))
    assert len(keys) == 1


def test_a_change_reaches_every_stage_below(tmp_path: Path) -> None:
    def digests(value: float) -> list[str | None]:
        blocks = {
            "a": probe(value, makes="x"),
            "b": {**probe(makes="y"), "model": {"from": "a.model"}},
            "c": {**probe(), "model": {"from": "b.model"}},
            "d": probe(needs=["a"]),
        }
        found = prepared(tmp_path, **blocks)[1]
        return [found[name].digest for name in "abcd"]

    before, after = digests(0.1), digests(0.2)
    assert [x == y for x, y in zip(before, after, strict=True)] == [False, False, False, True]


def test_what_cannot_be_cached_says_why_and_so_does_what_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = dataclasses.replace(STAGES["probe"], uncacheable=lambda _: "it reads the clock")
    monkeypatch.setitem(
        STAGES, "timing", dataclasses.replace(clock, options=STAGES["timing"].options)
    )
    first = {**probe(makes="x"), "uses": "timing"}
    _, found = prepared(tmp_path, a=first, b={**probe(), "model": {"from": "a.model"}})
    assert (found["a"].digest, found["a"].reason) == (None, "it reads the clock")
    assert (found["b"].digest, found["b"].reason) == (
        None,
        "it reads a.model, which is made anew each time",
    )


def test_a_missing_input_breaks_its_key_alone(tmp_path: Path) -> None:
    _, found = prepared(tmp_path, a=probe(file="gone"), b=probe())
    assert found["a"].broken is not None
    assert found["b"].broken is None


def test_why_a_key_is_new() -> None:
    old = {"options": {"value": 1, "deep": {"x": 1}}, "inputs": {"data": "a"}, "tools": {"t": "1"}}
    assert why_missed(old, None) == "not measured here before"
    assert why_missed(old, old) == "its evidence is no longer in the store"
    new = {"options": {"value": 1, "deep": {"x": 2}}, "inputs": {"data": "b"}, "tools": {"t": "2"}}
    assert why_missed(new, old) == "data changed; options.deep.x: 1 → 2; tools.t: 1 → 2"
    many = {"options": {str(i): i for i in range(9)}}
    assert why_missed(many, {"options": {}}).endswith("(and 6 more)")


def test_no_password_is_said_when_a_url_changed() -> None:
    old, new = (
        {"options": {"path": f"s3://me:{word}@host/a?key={word}"}} for word in ("pw1", "pw2")
    )
    said = why_missed(new, old)
    assert "host/a" in said
    assert "pw" not in said


def test_versions_of_what_is_not_installed_are_left_out() -> None:
    assert list(versions(["pydantic", "no-such-distribution"])) == ["mlgate", "pydantic"]


def test_a_key_covers_the_rooms_that_a_stage_is_built_on() -> None:
    house = Path(mlgate.__file__).parent
    covered = covered_sources([house / "stages" / "quantize" / "run.py"])
    for room in ("metrics", "statistics"):
        assert set((house / room).rglob("*.py")) <= set(covered)
    assert not [path for path in covered if "benchmark" in path.parts]
