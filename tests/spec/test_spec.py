"""Reading mlgate.yaml: every code with its place and hint, params, profiles, extends, own keys."""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import MlgateError, Problem, UsageError
from mlgate.spec import spec as specs
from tests.projects import tree

pytestmark = pytest.mark.usefixtures("fake_stages")

HEAD = "version: 1\nname: t\n"
GATES = "gates: [{metric: probe, max: 1}]"
GOOD = f"{HEAD}stages:\n  a: {{uses: probe, {GATES}}}\n"


def read(
    folder: Path, text: str, *, files: Mapping[str, str] | None = None, **given: Any
) -> tuple[specs.Spec | None, tuple[Problem, ...]]:
    tree(folder, {**(files or {}), "mlgate.yaml": text})
    return specs.read(folder / "mlgate.yaml", **given)


def good(folder: Path, text: str, **given: Any) -> specs.Spec:
    spec, problems = read(folder, text, **given)
    assert problems == ()
    assert spec is not None
    return spec


def said(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(p.code, f"{p.position.line}:{p.position.column}") for p in problems]


def test_a_spec_is_understood(tmp_path: Path) -> None:
    spec = good(tmp_path, GOOD)
    assert (spec.name, spec.confidence, list(spec.stages)) == ("t", 0.95, ["a"])
    assert str(spec.position("stages", "a", "gates", 0)) == "mlgate.yaml:4:28"


@pytest.mark.parametrize(
    ("text", "code", "place", "message", "hint"),
    [
        ("", "MG105", "1:1", "the file is empty", "see mlgate init"),
        ("# nothing\n", "MG105", "1:1", "the file is empty", "see mlgate init"),
        ("[1]", "MG106", "1:1", "must be a map", None),
        ("just text", "MG106", "1:1", "must be a map", None),
        (f"{HEAD}stages: {{a: [", "MG101", "4:1", "not YAML", None),
        (f"{HEAD}stages: !x {{}}", "MG102", "3:9", "tags are not used", "leave the tag out"),
        (f"{HEAD}name: u\n{GOOD[18:]}", "MG103", "3:1", "'name' is given twice (first in", None),
        (GOOD + "stage: 1\n", "MG104", "5:1", "unknown key 'stage'", "did you mean 'stages'?"),
        (GOOD + "zzz: 1\n", "MG104", "5:1", "unknown key 'zzz'", "known keys: confidence, desc"),
        ("version: 1\nname: t\n", "MG105", "1:1", "stages is missing", None),
        ("version: 1\nstages: {a: {}}\n", "MG105", "1:1", "name is missing", None),
        (f"{HEAD}stages: {{}}", "MG107", "3:9", "at least 1 must be here", None),
        (f"{HEAD}stages: []", "MG106", "3:9", "should be an object, not []", None),
        (f"{HEAD}stages:\n", "MG106", "3:8", "not nothing", None),
        (GOOD.replace("version: 1", "version: 2"), "MG107", "1:10", "version 2 is not one", None),
        (
            GOOD.replace("version: 1", 'version: "1"'),
            "MG106",
            "1:10",
            "version: should be a valid",
            None,
        ),
        (GOOD.replace("name: t", "name: 5"), "MG106", "2:7", "name: should be a valid st", None),
        (GOOD.replace("name: t", 'name: ""'), "MG107", "2:7", "at least 1 character", None),
        (GOOD + "confidence: 95%\n", "MG106", "5:13", 'a valid number, not "95%"', None),
        (GOOD + "confidence: 1\n", "MG107", "5:13", "less than 1", None),
        (GOOD + "confidence: .nan\n", "MG103", "5:13", ".nan is not a finite number", "quote it"),
        (GOOD + "env: [1A]\n", "MG107", "5:7", "pattern", None),
        (f"{HEAD}stages:\n  a: {{}}\n", "MG105", "4:3", "a has no uses", "uses is one of: vali"),
        (f"{HEAD}stages:\n  a: 5\n", "MG106", "4:6", "not 5", None),
        (f"{HEAD}stages:\n  1a: {{uses: probe}}", "MG107", "4:3", "'1a' cannot be", "letters, di"),
        (
            f"{HEAD}stages:\n  a: {{uses: proeb}}",
            "MG107",
            "4:13",
            "no stage 'proeb'",
            "did you mean 'probe'?",
        ),
        (f"{HEAD}stages:\n  a: {{uses: 5}}", "MG107", "4:13", "there is no stage 5", None),
        (
            GOOD.replace("uses: probe", "uses: probe, valeu: 1"),
            "MG104",
            "4:20",
            "unknown key 'valeu'",
            "did you mean 'value'?",
        ),
        (
            GOOD.replace("uses: probe", "uses: probe, act: jump"),
            "MG107",
            "4:25",
            "act: 'jump' is not known",
            "one of: measure, raise",
        ),
        (
            GOOD.replace("uses: probe", "uses: probe, retries: 99"),
            "MG107",
            "4:29",
            "less than or equal to 10",
            None,
        ),
        (
            GOOD.replace("uses: probe", "uses: probe, timeout: soon"),
            "MG107",
            "4:29",
            "'soon' is not a duration such as 90s",
            None,
        ),
        (GOOD.replace("max: 1", "maks: 1"), "MG104", "4:44", "unknown key", "compared_to, conf"),
        (GOOD.replace(", max: 1", ""), "MG107", "4:28", "checks nothing: add min, max", None),
        (GOOD.replace("max: 1", "max: 5 bananas"), "MG107", "4:49", "with a unit", None),
        (GOOD.replace("max: 1", "max: true"), "MG106", "4:49", "not true", None),
        (GOOD.replace("max: 1", "max: 1, where: {a: [1]}"), "MG106", "4:63", "not [1]", None),
        (GOOD.replace("metric: probe, ", ""), "MG105", "4:28", "metric is missing", None),
        (
            GOOD.replace("uses: probe", "uses: probe, model: {from: x}"),
            "MG107",
            "4:34",
            "write STAGE.OUTPUT",
            None,
        ),
        (GOOD.replace("uses: probe", "uses: probe, model: {}"), "MG107", "4:27", "give one", None),
        (
            GOOD.replace("uses: probe", "uses: probe, model: {frm: x.y}"),
            "MG104",
            "4:28",
            "unknown key 'frm'",
            "did you mean 'from'?",
        ),
        (
            GOOD.replace("uses: probe", "uses: probe, sleep_s: 99999999999999999"),
            "MG103",
            "4:29",
            "beyond ±(2⁵³ − 1)",
            "quote it",
        ),
        (GOOD + "extends: gone.yaml\n", "MG108", "5:10", "gone.yaml does not exist", None),
        (GOOD + "extends: .\n", "MG108", "5:10", ". is a folder", None),
        (GOOD + "extends: mlgate.yaml\n", "MG108", "5:10", "extends itself in a circle", None),
        (GOOD + 'extends: "a\\0b"\n', "MG106", "5:10", "extends names local files", None),
        (GOOD + "extends: https://x/y\n", "MG106", "5:10", "extends names local files", None),
        (GOOD + "extends: {a: b}\n", "MG106", "5:10", "extends", None),
        (
            GOOD + "params: {n: {type: int}}\n",
            "MG107",
            "5:20",
            "type: 'int' is not known",
            "did you mean 'integer'?",
        ),
        (
            GOOD + "params: {n: {type: integer, default: x}}\n",
            "MG106",
            "5:38",
            "should be an integer, as its type says",
            None,
        ),
        (GOOD + "params: {n: {default: 1}}\n", "MG106", "5:23", "should be text", None),
        (GOOD + "profiles: {q: {stages: 5}}\n", "MG106", "5:24", "not 5", None),
        (GOOD + "profiles: {q: {stagess: {}}}\n", "MG104", "5:16", "'stagess'", "did you mean"),
        (GOOD.replace("probe,", '"${params.x}",'), "MG109", "4:13", "no parameter 'x'", "declare"),
        (GOOD.replace("probe,", '"${env.X}",'), "MG109", "4:13", "X is not listed", "env: [X]"),
        (GOOD.replace("probe,", '"${x}",'), "MG109", "4:13", "${x} means nothing", "write ${par"),
    ],
)
def test_each_problem_has_its_code_place_and_hint(
    tmp_path: Path, text: str, code: str, place: str, message: str, hint: str | None
) -> None:
    _, problems = read(tmp_path, text)
    found = [
        p for p in problems if (p.code, f"{p.position.line}:{p.position.column}") == (code, place)
    ]
    assert found, [str(p) for p in problems]
    assert message in found[0].message
    assert hint is None or (found[0].hint and hint in found[0].hint)


def test_a_problem_is_shown_with_its_line_a_caret_and_a_hint(tmp_path: Path) -> None:
    _, problems = read(tmp_path, GOOD + "stage: 1\n")
    assert str(problems[0]) == (
        "mlgate.yaml:5:1: error[MG104]: unknown key 'stage'\n"
        "  | stage: 1\n"
        "  | ^\n"
        "  hint: did you mean 'stages'?"
    )


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        f"{HEAD}stages:\n"
        "  a: {uses: probe, valeu: 1, retries: -1, gates: [{metric: probe, maks: 1}]}\n"
        "  b: {uses: nothing}\n"
        '  c: {uses: probe, counter: "${params.x}", sleep_s: long}\n'
    )
    _, problems = read(tmp_path, text)
    assert said(problems) == [
        ("MG104", "4:20"),
        ("MG107", "4:39"),
        ("MG104", "4:67"),
        ("MG107", "5:13"),
        ("MG109", "6:29"),
        ("MG106", "6:53"),
    ]


KINDS = ("top", "stage", "gate", "input", "param", "profile")


@pytest.mark.parametrize("where", KINDS)
def test_keys_are_closed_at_every_level_and_x_keys_are_free(tmp_path: Path, where: str) -> None:
    def text(key: str) -> str:
        extra = dict.fromkeys(KINDS, "") | {where: f"{key}: [5, {{}}], "}
        return (
            f"{{{extra['top']}version: 1, name: t, params: {{p: {{{extra['param']}default: x}}}},"
            f" profiles: {{q: {{{extra['profile']}confidence: 0.9}}}}, stages:"
            f" {{a: {{{extra['stage']}uses: probe, file: {{{extra['input']}from: b.model}},"
            f" gates: [{{{extra['gate']}metric: probe, max: 1}}]}}}}}}"
        )

    _, problems = read(tmp_path, text("zzz"))
    assert {p.code for p in problems} == {"MG104"}, [str(p) for p in problems]
    assert all(text("zzz")[p.position.column - 1 :].startswith("zzz") for p in problems)
    good(tmp_path, text("x-zzz"))


def test_own_keys_among_stages_are_no_stages_and_hold_no_placeholders(tmp_path: Path) -> None:
    spec = good(tmp_path, GOOD + '  x-anchor: {a: "${params.nothing}"}\nx-b: "${env.NO}"\n')
    assert specs.stage_names(spec) == {"a"}
    assert spec.digest == good(tmp_path, GOOD).digest


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{dataset: x, label: }", [("MG105", "label has no value")]),
        ("{sql: {url: {env: A}, table: t, query: }}", [("MG105", "query has no value")]),
        ("{path: x}", [("MG104", "unknown key 'path'")]),
        ("{dataset: {path: x}}", [("MG104", "unknown key 'path'")]),
        ("{datset: x}", [("MG104", "unknown key 'datset'")]),
        ("{sql: {table: x}}", [("MG105", "url is missing")]),
        ("{sql: {url: {env: 1a}, table: x}}", [("MG107", "env: should match pattern")]),
        ("[]", [("MG106", "dataset: should be an object, not []")]),
        ('""', [("MG107", "at least 1 character")]),
        ("{dataset: x, inputs: {i: {columns: 5}}}", [("MG106", "columns: should be a valid")]),
        ("{dataset: x, inputs: {i: {npz: 5}}}", [("MG106", "npz: should be")]),
        (
            "{dataset: x, inputs: {i: {npz: a, shape: [1]}}}",
            [("MG107", "does not go with the other keys here")],
        ),
        (
            "{dataset: x, inputs: {i: {synthetic: q, shape: [1]}}}",
            [("MG107", "synthetic: should match pattern")],
        ),
    ],
)
def test_where_several_shapes_would_do_the_one_that_was_meant_complains(
    tmp_path: Path, block: str, expected: list[tuple[str, str]]
) -> None:
    gates = "gates: [{metric: rows, min: 1}]"
    _, problems = read(
        tmp_path, f"{HEAD}stages: {{a: {{uses: validate, dataset: {block}, {gates}}}}}"
    )
    assert [p.code for p in problems] == [code for code, _ in expected], list(map(str, problems))
    for problem, (_, message) in zip(problems, expected, strict=True):
        assert message in problem.message


# Parameters


PARAMS = (
    HEAD
    + "params:\n"
    + "  text: {default: abc}\n"
    + "  n: {type: integer, default: 3}\n"
    + "  x: {type: number, default: 0.5}\n"
    + "  b: {type: boolean, default: false}\n"
    + "env: [HOST]\n"
    + "stages:\n"
    + '  a: {uses: probe, retries: "${params.n}", value: "${params.x}",'
    + ' counter: "/tmp/${params.text}-${params.n}-${params.b}-${env.HOST}-$${x}",'
    + f" {GATES}}}\n"
)


def test_params_whole_and_embedded(tmp_path: Path) -> None:
    probe = good(tmp_path, PARAMS, env={"HOST": "h"}).stages["a"]
    assert probe.retries == 3
    assert probe.model_dump()["value"] == 0.5
    assert probe.model_dump()["counter"] == "/tmp/abc-3-false-h-${x}"


def test_the_command_line_wins_over_the_environment_over_the_default(tmp_path: Path) -> None:
    env = {"HOST": "h", "MLGATE_PARAM_N": "4", "MLGATE_PARAM_TEXT": "env"}
    spec = good(tmp_path, PARAMS, env=env, params={"text": "set", "b": "TRUE"})
    assert spec.params == {"text": "set", "n": 4, "x": 0.5, "b": True}
    assert spec.digest != good(tmp_path, PARAMS, env={"HOST": "h"}).digest
    assert (
        spec.digest
        == good(tmp_path, PARAMS, env={**env, "OTHER": "1"}, params=spec_text(spec)).digest
    )


def spec_text(spec: specs.Spec) -> dict[str, str]:
    return {k: str(v) for k, v in spec.params.items()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n", "1.0"),
        ("n", "1_000"),
        ("n", " 5"),
        ("n", ""),
        ("n", "9007199254740992"),
        ("n", "9" * 5000),
        ("n", "٣"),
        ("x", "nan"),
        ("x", "inf"),
        ("x", "1e999"),
        ("x", "one"),
        ("b", "yes"),
        ("b", "1"),
        ("text", "\udcff"),
        ("nope", "1"),
        ("tex", "1"),
    ],
)
def test_a_parameter_of_the_wrong_type_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, PARAMS, env={"HOST": "h"}, params={name: text})
    assert name in caught.value.message
    assert len(caught.value.message) < 200
    if name == "tex":
        assert caught.value.hint == "did you mean 'text'?"


def test_a_parameter_without_default_must_be_given(tmp_path: Path) -> None:
    text = PARAMS.replace("{default: abc}", "{}")
    _, problems = read(tmp_path, text, env={"HOST": "h"})
    assert said(problems)[0][0] == "MG109"
    assert problems[0].hint == "give it: --set text=… or MLGATE_PARAM_TEXT=…"
    good(tmp_path, text, env={"HOST": "h"}, params={"text": "x"})


def test_an_environment_variable_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    _, problems = read(tmp_path, PARAMS, env={})
    assert [(p.code, p.hint) for p in problems] == [("MG109", "export HOST=…")]
    with pytest.raises(UsageError, match="the value of HOST is not UTF-8"):
        read(tmp_path, PARAMS, env={"HOST": "\udcff"})


def test_a_value_that_does_not_fit_after_filling_is_told_once_at_its_place(tmp_path: Path) -> None:
    _, problems = read(tmp_path, PARAMS, env={"HOST": "h"}, params={"n": "99"})
    assert said(problems) == [("MG107", "10:29")]


# Profiles


def test_a_profile_merges_maps_and_replaces_the_rest(tmp_path: Path) -> None:
    text = GOOD + (
        "profiles:\n"
        "  quick: {confidence: 0.9, stages: {a: {retries: 2, gates: [{metric: probe, max: 5}]}}}\n"
    )
    plain, quick = good(tmp_path, text), good(tmp_path, text, profile="quick")
    assert (plain.profile, quick.profile) == (None, "quick")
    assert (quick.confidence, quick.stages["a"].retries) == (0.9, 2)
    assert [g.max for g in quick.stages["a"].gates] == [5]
    assert plain.digest != quick.digest


def test_a_profile_that_is_not_there_or_changes_nothing_that_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no profile 'quick'") as caught:
        read(tmp_path, GOOD, profile="quick")
    assert caught.value.hint == "the spec has: none"
    text = GOOD.replace("  a:", "  aaa:") + "profiles: {q: {stages: {aab: {retries: 1}}}}\n"
    _, problems = read(tmp_path, text, profile="q")
    assert ("MG201", "5:25") in said(problems)
    assert problems[0].hint == "did you mean 'aaa'?"


def test_a_bad_value_in_a_profile_stands_in_the_profile(tmp_path: Path) -> None:
    text = GOOD + "profiles: {q: {stages: {a: {retries: many}}}}\n"
    good(tmp_path, text)
    _, problems = read(tmp_path, text, profile="q")
    assert said(problems) == [("MG106", "5:38")]


# Extends


def test_extends_builds_on_files_and_the_last_one_holds(tmp_path: Path) -> None:
    files = {
        "one.yaml": "version: 1\nconfidence: 0.8\nstages: {a: {retries: 1, sleep_s: 1}}\n",
        "two/two.yaml": "extends: three.yaml\nconfidence: 0.9\n",
        "two/three.yaml": "stages: {a: {retries: 3}}\n",
    }
    text = f"name: t\nextends: [one.yaml, two/two.yaml]\nstages: {{a: {{uses: probe, {GATES}}}}}\n"
    spec = good(tmp_path, text, files=files)
    probe = spec.stages["a"]
    assert (spec.confidence, probe.retries, probe.model_dump()["sleep_s"]) == (0.9, 3, 1)


def test_what_extends_does_not_change_the_digest(tmp_path: Path) -> None:
    whole = good(tmp_path, GOOD).digest
    text = f"extends: base.yaml\nstages: {{a: {{uses: probe, {GATES}}}}}\n"
    assert good(tmp_path, text, files={"base.yaml": HEAD}).digest == whole


def test_a_problem_in_a_base_file_stands_there(tmp_path: Path) -> None:
    files = {"base.yaml": f"{HEAD}stages:\n  b: {{uses: probe, retries: x, {GATES}}}\n"}
    _, problems = read(tmp_path, "extends: base.yaml\nnam: x\n", files=files)
    assert [str(p.position) for p in problems] == ["mlgate.yaml:2:1", "base.yaml:4:29"]
    _, problems = read(
        tmp_path, f"extends: base.yaml\nstages: {{c: {{uses: no, {GATES}}}}}\n", files=files
    )
    assert [str(p.position) for p in problems] == ["mlgate.yaml:2:20", "base.yaml:4:29"]


def test_a_circle_of_three_files_is_told_where_it_closes(tmp_path: Path) -> None:
    files = {"b.yaml": "extends: c.yaml\n", "c.yaml": "\nextends: mlgate.yaml\n"}
    _, problems = read(tmp_path, GOOD + "extends: b.yaml\n", files=files)
    assert [(p.code, str(p.position)) for p in problems] == [("MG108", "c.yaml:2:10")]


def test_a_diamond_is_no_circle(tmp_path: Path) -> None:
    files = {"b.yaml": "extends: d.yaml\n", "c.yaml": "extends: d.yaml\n", "d.yaml": HEAD}
    good(
        tmp_path,
        f"extends: [b.yaml, c.yaml]\nstages: {{a: {{uses: probe, {GATES}}}}}\n",
        files=files,
    )


# Files that are no specs


def test_a_huge_file_is_refused_without_being_read(tmp_path: Path) -> None:
    file = tmp_path / "mlgate.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(100_000_000)
    started = time.process_time()
    with pytest.raises(MlgateError, match="larger than 10 MB") as caught:
        specs.read(file)
    assert caught.value.hint == "is this the right file?"
    assert time.process_time() - started < 1


def test_a_billion_values_behind_aliases_are_refused(tmp_path: Path) -> None:
    rows = ["x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    started = time.process_time()
    _, problems = read(tmp_path, "\n".join(rows) + "\n" + GOOD)
    assert [p.code for p in problems] == ["MG102"]
    assert "once its aliases are written out" in problems[0].message
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (GOOD.encode("utf-16"), "mlgate.yaml:1: not UTF-8"),
        (b"version: 1\nname: caf\xe9\n", "mlgate.yaml:2: not UTF-8"),
        (b"\x80\x04\x95", "mlgate.yaml:1: not UTF-8"),
    ],
)
def test_another_encoding_is_named_with_its_line(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "mlgate.yaml").write_bytes(data)
    with pytest.raises(MlgateError, match=re.escape(says)):
        specs.read(tmp_path / "mlgate.yaml")


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    (tmp_path / "mlgate.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    spec, problems = specs.read(tmp_path / "mlgate.yaml")
    assert spec is not None
    assert problems == ()


def test_a_folder_a_missing_file_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "mlgate.yaml").mkdir()
    with pytest.raises(MlgateError, match=r"mlgate\.yaml is a folder"):
        specs.read(tmp_path / "mlgate.yaml")
    with pytest.raises(MlgateError, match="does not exist"):
        specs.read(tmp_path / "gone.yaml")
    # Who may read everything still cannot read another process's memory from its beginning.
    with pytest.raises(MlgateError, match="cannot be read"):
        specs.read(Path("/proc/self/mem"))
    with pytest.raises(MlgateError, match="cannot be read: File name too long"):
        specs.read(tmp_path / ("a" * 5000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "mlgate.yaml").write_text(GOOD)
    (tmp_path / "mlgate.yaml").chmod(0)
    with pytest.raises(MlgateError, match="Permission denied"):
        specs.read(tmp_path / "mlgate.yaml")


def test_where_a_spec_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no mlgate\.yaml in the current folder") as caught:
        specs.locate(None)
    assert caught.value.hint == "start with: mlgate init --template digits"
    with pytest.raises(UsageError, match=r"other.yaml does not exist"):
        specs.locate(Path("other.yaml"))
    with pytest.raises(UsageError, match="File name too long"):
        specs.locate(Path("a" * 5000))
    tree(tmp_path, {"mlgate.yaml": GOOD})
    assert specs.locate(None) == specs.locate(Path()) == Path("mlgate.yaml")


def test_json_is_a_spec_too(tmp_path: Path) -> None:
    block = {"uses": "probe", "gates": [{"metric": "probe", "max": 1}]}
    text = json.dumps({"version": 1, "name": "t", "stages": {"a": block}})
    assert good(tmp_path, text).digest == good(tmp_path, GOOD).digest
