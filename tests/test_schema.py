"""The JSON Schemas and the loader accept and reject the same specs; the checked-in texts are ours."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate import schema
from mlgate.document import MAX_INTEGER
from mlgate.errors import MlgateError
from mlgate.spec import spec as specs
from tests.benchmarks.bad_specs import FULL, JUNK, SMALL, at, explained, mutated, places, texts
from tests.probed import ROOT

VALIDATOR = jsonschema.Draft7Validator(schema.spec())


def both(folder: Path, document: Any) -> tuple[bool, list[str]]:
    """Whether the schema accepts a document, and what the loader says of it."""
    file = folder / "mlgate.yaml"
    file.write_text(json.dumps(document, ensure_ascii=False))
    try:
        _, problems = specs.read(file, env={"HOME": "/home"})
        told = [str(problem) for problem in problems]
    except MlgateError as error:
        told = [error.message]
    return VALIDATOR.is_valid(document), told


def plain() -> dict[str, Any]:
    """The full spec without placeholders, whose values no schema can know."""
    document = copy.deepcopy(FULL)
    document["stages"]["files"]["min_rows"] = 10
    document["stages"]["files"]["dataset"]["dataset"] = "x.parquet"
    return document


def beyond(value: Any) -> bool:
    """What a schema cannot tell: placeholders, and numbers that JSON's readers disagree on."""
    if isinstance(value, str):
        return "${" in value
    return isinstance(value, int | float) and abs(value) > MAX_INTEGER


# A gate that nothing can pass compares two limits, in units: no schema does that.
BEYOND_SCHEMAS = ("nothing can pass",)


def agree(folder: Path, document: Any) -> None:
    if any(beyond(at(document, path)) for path in places(document)):
        return
    accepted, told = both(folder, document)
    if not any(mark in text for text in told for mark in BEYOND_SCHEMAS):
        assert accepted == (not told), (told, [e.message for e in VALIDATOR.iter_errors(document)])


def test_the_schemas_are_schemas() -> None:
    jsonschema.Draft7Validator.check_schema(schema.spec())
    jsonschema.Draft7Validator.check_schema(schema.document("report"))


@pytest.mark.parametrize("document", [FULL, SMALL, plain()], ids=["full", "small", "plain"])
def test_good_specs_are_good_for_both(tmp_path: Path, document: Any) -> None:
    assert both(tmp_path, document) == (True, [])


@pytest.mark.parametrize("name", ["digits", "sklearn", "tabular"])
def test_the_templates_are_good_for_both(name: str) -> None:
    import yaml

    text = (ROOT / "templates" / name / "mlgate.yaml").read_text()
    assert [e.message for e in VALIDATOR.iter_errors(yaml.safe_load(text))] == []


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        at(document, path[:-1])[path[-1]] = to

    return change


def _drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        del at(document, path[:-1])[path[-1]]

    return change


FILES = ("stages", "files")
GATE = (*FILES, "gates", 0)


@pytest.mark.parametrize(
    "change",
    [
        _drop("version"),
        _drop("name"),
        _drop("stages"),
        _set("stages", to={}),
        _set("stages", to={"x-a": {}}),
        _set("version", to=2),
        _set("version", to=True),
        _set("nam", to="x"),
        _set("name", to=""),
        _set("confidence", to=1),
        _set("env", to=["1A"]),
        _set("params", "1a", to={}),
        _set("params", "rows", "default", to="x"),
        _set("params", "name", "default", to=1),
        _set("profiles", "quick", "stagess", to={}),
        _set("stages", "1a", to={"uses": "validate"}),
        _set(*FILES, "uses", to="validat"),
        _drop(*FILES, "uses"),
        _drop(*FILES, "dataset"),
        _set(*FILES, "dataset", to={}),
        _set(*FILES, "dataset", to={"path": "x"}),
        _set(*FILES, "dataset", to={"from": "x"}),
        _set(*FILES, "dataset", to={"from": "a.b", "sql": {}}),
        _set(*FILES, "dataset", to={"sql": {"url": {"env": "A"}}}),
        _set(*FILES, "dataset", to={"sql": {"url": {"env": "A"}, "table": "t", "query": "q"}}),
        _set(*FILES, "reference", to=None),
        _set(*FILES, "timeout", to="soon"),
        _set(*FILES, "timeout", to="0s"),
        _set(*FILES, "memory", to="1 GB of it"),
        _set(*FILES, "retries", to=11),
        _set(*FILES, "retries", to="1"),
        _set(*FILES, "needs", to="base"),
        _set(*FILES, "engine", to="polars"),
        _set(*FILES, "contract", to={"compatibility": "full"}),
        _set(*FILES, "expectations", to=[{"type": "expect x"}]),
        _drop(*GATE, "metric"),
        _set(*GATE, to={"metric": "rows"}),
        _set(*GATE, "equals", to=1),
        _set(*GATE, "max", to="1 banana"),
        _set(*GATE, "max", to=True),
        _set(*GATE, "max_drop", to=1),
        _set(*GATE, "compared_to", to="source"),
        _set(*GATE, to={"metric": "rows", "compared_to": "source", "max_drop": -1}),
        _set(*GATE, to={"metric": "rows", "compared_to": "source", "max_drop": "-1%"}),
        _set(*GATE, "where", to={"a": [1]}),
        _set(*GATE, "severity", to="info"),
    ],
)
def test_bad_specs_are_bad_for_both(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    document = plain()
    change(document)
    accepted, told = both(tmp_path, document)
    assert (accepted, bool(told)) == (False, True), told


def test_they_agree_on_specs_changed_at_random(tmp_path: Path) -> None:
    rng = random.Random(7)
    for _ in range(400):
        agree(tmp_path, mutated(rng))


def test_they_agree_on_any_value_anywhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("schema")
    spots = list(places(plain()))[1:]

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(spots), st.sampled_from(JUNK))
    def check(path: tuple[Any, ...], junk: Any) -> None:
        document = plain()
        at(document, path[:-1])[path[-1]] = junk
        agree(folder, document)

    check()


def test_placeholders_may_stand_for_every_value_that_is_picky() -> None:
    document = plain()
    block = document["stages"]["files"]
    block |= {"retries": "${params.rows}", "timeout": "${params.name}", "engine": "${params.name}"}
    block["gates"][0]["min"] = "${params.rows}"
    assert [e.message for e in VALIDATOR.iter_errors(document)] == []


def test_three_hundred_bad_specs_and_no_traceback(tmp_path: Path) -> None:
    for text in texts(300, seed=2):
        outcome, problems = explained(tmp_path / "mlgate.yaml", text)
        assert not outcome.startswith("broke"), f"{outcome}\n{text}"
        assert all(p.position.line >= 1 and p.position.column >= 1 for p in problems)
        assert problems or outcome != "refused"


def described(node: Any, path: str = "") -> Iterator[str]:
    """The properties of a schema that say nothing of themselves."""
    if isinstance(node, dict):
        for name, value in node.get("properties", {}).items():
            if isinstance(value, dict) and "description" not in value and "$ref" not in value:
                yield f"{path}.{name}"
        for key, value in node.items():
            if key not in ("if", "then", "else"):
                yield from described(value, f"{path}.{key}")
    elif isinstance(node, list):
        for item in node:
            yield from described(item, path)


def test_an_editor_has_something_to_say_of_every_option() -> None:
    silent = [
        path for path in described(schema.spec()) if not path.endswith(("uses", "description"))
    ]
    known = {"params", "profiles", "confidence", "stages", "seed", "shape", "npz", "type"}
    known |= {"synthetic", "id", "kind", "limits"}
    assert {path.rsplit(".", 1)[-1] for path in silent} <= known, silent
