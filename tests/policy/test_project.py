"""Policies of a whole project: lint, check, judge and verify agree, and waivers are shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlgate.files import FOLDER
from mlgate.run.record import judge_stored
from tests.projects import mlgate, tree

RULES = """
rules:
  - name: rows-are-counted
    assert: report.measured('rows') && report.lowest('rows') >= {least}
    message: "'there are ' + string(report.value('rows')) + ' rows'"
    owner: data-team
    runbook: https://example.org/rows
  - name: rows-are-gated
    assert: spec.gated('rows')
"""
WAIVER = """
waivers:
  - {rule: rows-are-counted, owner: ana, reason: a pilot, ticket: T-7, expires: "2999-12-31"}
"""
SPEC = """
version: 1
name: fraud
policies: [rules/*.yaml]
stages:
  data:
    uses: validate
    dataset: rows.csv
    gates: [{metric: rows, min: 1}]
"""


def project(folder: Path, *, least: str = "2.0", waiver: str | None = None, **more: str) -> Path:
    spec = more.pop("spec", SPEC)
    files = {"mlgate.yaml": spec, "rows.csv": "a\n1\n2\n3\n", "rules/r.yaml": RULES, **more}
    files["rules/r.yaml"] = files["rules/r.yaml"].replace("{least}", least)
    if waiver is not None:
        files["waivers.yaml"] = waiver
        files["mlgate.yaml"] = spec.replace("\nstages:", "\nwaivers: [waivers.yaml]\nstages:")
    return tree(folder, files)


def check(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = mlgate("check", "--format", "json", *arguments, cwd=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def problems(folder: Path) -> list[tuple[str, str, int, int]]:
    done = mlgate("lint", "--format", "json", cwd=folder)
    assert done.returncode == 2, done.stdout + done.stderr
    rows = json.loads(done.stdout)["problems"]
    return [(row["code"], row["file"], row["line"], row["column"]) for row in rows]


def test_a_rule_that_holds_and_one_that_does_not(tmp_path: Path) -> None:
    code, report = check(project(tmp_path / "good"))
    assert (code, report["outcome"]) == (0, "pass")
    assert [row["outcome"] for row in report["policies"]] == ["pass", "pass"]
    code, report = check(project(tmp_path / "bad", least="9.0"))
    assert (code, report["outcome"]) == (1, "fail")
    denied = report["policies"][0]
    assert denied["message"] == "there are 3 rows"
    assert (denied["file"], denied["line"]) == ("rules/r.yaml", 3)
    assert report["stages"][0]["outcome"] == "pass"


def test_judge_and_verify_reach_the_same_verdict(tmp_path: Path) -> None:
    folder = project(tmp_path, least="9.0", waiver=WAIVER)
    code, report = check(folder)
    assert (code, report["outcome"]) == (0, "warn")
    assert report["policies"][0]["waived"].startswith("T-7: a pilot (ana")
    again = judge_stored(folder / FOLDER, None)
    verdict = (again.folder / "verdict.json").read_bytes()
    assert again.report.verdict() == verdict
    assert mlgate("verify", cwd=folder).returncode == 0
    # The rules are in the record: judging does not need their files.
    (folder / "rules/r.yaml").unlink()
    assert judge_stored(folder / FOLDER, None).report.verdict() == verdict


def test_a_waiver_that_is_over_waives_nothing(tmp_path: Path) -> None:
    over = WAIVER.replace("2999-12-31", "2020-01-01")
    code, report = check(project(tmp_path, least="9.0", waiver=over))
    assert code == 1
    assert "waived" not in report["policies"][0] or report["policies"][0]["waived"] is None


def test_every_report_shows_a_denial_and_escapes_it(tmp_path: Path) -> None:
    hostile = RULES.replace("' rows'", "' rows <script>alert(1)</script>'")
    folder = project(tmp_path, least="9.0", **{"rules/r.yaml": hostile})
    done = mlgate("check", cwd=folder)
    assert done.returncode == 1
    assert "rows-are-counted" in done.stdout + done.stderr
    latest = (folder / FOLDER / "latest").resolve()
    for name in ("report.html", "report.md", "junit.xml", "results.sarif"):
        text = (latest / name).read_text()
        assert "rows-are-counted" in text or "rows\\-are\\-counted" in text, name
    assert "<script>alert" not in (latest / "report.html").read_text()
    assert "<script>alert" not in (latest / "report.md").read_text()


def test_lint_tells_what_the_spec_alone_denies(tmp_path: Path) -> None:
    asked = RULES.replace("spec.gated('rows')", "spec.gated('drift.psi')")
    folder = project(tmp_path, **{"rules/r.yaml": asked})
    assert problems(folder) == [("MG506", "mlgate.yaml", 4, 1)]
    # What needs results is not asked before there are any.
    assert mlgate("lint", cwd=project(tmp_path / "b", least="9.0")).returncode == 0


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        ("spec.profil == 'x'", ("MG502", "rules/r.yaml", 4, 17)),
        ("\"spec.profil == 'x'\"", ("MG502", "rules/r.yaml", 4, 18)),
        ("spec.confidence >= 1", ("MG502", "rules/r.yaml", 4, 29)),
        ("1 == 1", ("MG505", "rules/r.yaml", 4, 13)),
        ("spec.gated('x') || true", ("MG505", "rules/r.yaml", 4, 13)),
        ("spec.stages.all(s, s.uses == 'x')", ("MG505", "rules/r.yaml", 4, 13)),
    ],
)
def test_what_is_wrong_with_a_rule_is_told_at_its_place(
    tmp_path: Path, rules: str, place: tuple[str, str, int, int]
) -> None:
    text = f"\nrules:\n  - name: r\n    assert: {rules}\n"
    assert problems(project(tmp_path, **{"rules/r.yaml": text})) == [place]


def test_a_guarded_all_is_in_order(tmp_path: Path) -> None:
    text = "size(spec.stages) > 0 && spec.stages.all(s, s.uses == 'validate')"
    folder = project(tmp_path, **{"rules/r.yaml": f"rules:\n  - {{name: r, assert: {text!r}}}\n"})
    assert mlgate("lint", cwd=folder).returncode == 0


@pytest.mark.parametrize(
    ("policies", "code"),
    [
        ("[nothing]", "MG501"),
        ("[producton]", "MG501"),
        ("[rules/none.yaml]", "MG501"),
        ("[rules/*.yml]", "MG501"),
        ("[https://example.org/p.yaml]", "MG501"),
    ],
)
def test_a_policy_that_is_not_there_is_an_error(tmp_path: Path, policies: str, code: str) -> None:
    folder = project(tmp_path, spec=SPEC.replace("[rules/*.yaml]", policies))
    assert [row[0] for row in problems(folder)] == [code]
    assert mlgate("check", cwd=folder).returncode == 2


@pytest.mark.parametrize("text", ["", "rules: []\n", "rules:\n", "- a\n", "{}\n", "rules: 3\n"])
def test_a_file_without_rules_is_an_error(tmp_path: Path, text: str) -> None:
    folder = project(tmp_path, **{"rules/r.yaml": text})
    assert problems(folder)
    assert mlgate("check", cwd=folder).returncode == 2


def test_a_rule_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    folder = project(tmp_path, **{"rules/s.yaml": RULES.replace("{least}", "1.0")})
    assert {row[0] for row in problems(folder)} == {"MG504"}


@pytest.mark.parametrize(
    "waiver",
    [
        WAIVER.replace("2999-12-31", "2026-13-40"),
        WAIVER.replace("rows-are-counted", "rows-are-counte"),
        WAIVER + WAIVER.replace("\nwaivers:\n", ""),
        WAIVER.replace("ticket: T-7, ", ""),
        WAIVER.replace("owner: ana", "owner: ''"),
        WAIVER.replace("expires", 'scope: "spec.nam == 1", expires'),
    ],
)
def test_p8_a_waiver_that_is_wrong_is_an_error_at_lint(tmp_path: Path, waiver: str) -> None:
    assert problems(project(tmp_path, waiver=waiver))


def test_stages_that_a_run_leaves_out_are_asked_for_all_the_same(tmp_path: Path) -> None:
    """A run of one stage knows the gates of the others: the spec has them."""
    more = SPEC + "  again: {uses: validate, dataset: rows.csv, gates: [{metric: rows, min: 2}]}\n"
    only_data = RULES.replace("spec.gated('rows')", "spec.stages.exists(s, s.id == 'data')")
    folder = project(tmp_path, spec=more, **{"rules/r.yaml": only_data})
    code, report = check(folder, "--only", "again")
    assert code == 0
    assert report["left_out"] == ["data"]
    assert [row["outcome"] for row in report["policies"]] == ["pass", "pass"]
    again = judge_stored(folder / FOLDER, None)
    assert again.report.verdict() == (again.folder / "verdict.json").read_bytes()
