"""Names, rights and expectations: what every CI system is told, and what lint refuses."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlgate.ci import expected, github, problems, tekton
from mlgate.ci.jobs import Given, Source, header, jobs, name_of, remembered
from mlgate.run.plan import Plan, resolve
from mlgate.spec.lint import load
from tests.actions.expressions import interpolated
from tests.actions.runner import load as load_yaml
from tests.ci.tekton_checks import problems as tekton_problems
from tests.fakes.fixtures import pipeline, planned, workflow
from tests.fakes.hostile import HOSTILE

_DIGEST = f"sha256:{'0' * 64}"
GITHUB = github.Settings(actions=f"acme/mlgate@{'0' * 40}")
TEKTON = tekton.Settings(image=f"registry.example.com/mlgate@{_DIGEST}")


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True) | st.text(min_size=1))
def test_a_name_is_a_dns_label(stage: str) -> None:
    name = name_of(stage)
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name), name


def _plan(folder: Path, *stages: str) -> Plan:
    (folder / "mlgate.yaml").write_text("\n".join(["version: 1", "name: x", "stages:", *stages]))
    return resolve(load(folder / "mlgate.yaml"), include_deploys=True)


_STAGE = "  {name}: {{uses: {uses}, file: a.bin{more}, gates: [{{metric: bytes, max: 1}}]}}"


def _stage(name: str, uses: str = "weigh", more: str = "") -> str:
    return _STAGE.format(name=name, uses=uses, more=more)


@pytest.mark.parametrize(
    ("stages", "code", "line"),
    [
        ((_stage("Data"), _stage("data")), "MG301", 5),
        ((_stage("a_b"), _stage("a-b")), "MG301", 5),
        ((_stage("a"), _stage("mlgate-verdict")), "MG301", 5),
        ((_stage("mlgate"),), "MG301", 4),
        ((_stage("a"), _stage("go", "move")), "MG304", 5),
    ],
)
def test_what_no_ci_system_can_run(
    tmp_path: Path, stages: tuple[str, ...], code: str, line: int
) -> None:
    found = problems(_plan(tmp_path, *stages))
    assert [(p.code, p.position.line) for p in found] == [(code, line)]
    assert found[0].hint


def test_what_one_ci_system_cannot_run(tmp_path: Path) -> None:
    gpu = _plan(tmp_path, _stage("a", more=", gpu: true"))
    assert [p.code for p in github.problems(gpu, GITHUB)] == ["MG302"]
    labelled = GITHUB.model_copy(update={"gpu_runner": ("gpu",)})
    assert github.problems(gpu, labelled) == ()
    many = _plan(tmp_path, *(_stage(f"s{i}") for i in range(257)))
    assert [p.code for p in github.problems(many, GITHUB)] == ["MG303"]
    assert problems(many) == ()
    odd = tekton.problems(many, Source("$(params.x)/mlgate.yaml", _DIGEST), TEKTON)
    assert [p.code for p in odd] == ["MG305"]


def test_rights_go_down_the_chain_and_never_up(project: Path) -> None:
    plan, _ = planned(project)
    rights = {job.stage: job.privileged for job in jobs(plan)}
    assert [stage for stage, privileged in rights.items() if privileged] == ["release", "rollout"]
    assert expected(plan, "pull_request") == ("data", "other", "int8", "latency")
    assert expected(plan, "push") == ("data", "other", "int8", "latency", "release")
    assert expected(plan, None) == expected(plan, "push")


def test_what_the_spec_reads_of_the_environment_is_given(project: Path) -> None:
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(
        spec.replace("name: digits", "name: digits\nenv: [REGION]")
    )
    assert load_yaml(workflow(project))["env"] == {"REGION": "${{ vars.REGION }}"}
    files = pipeline(project)
    assert tekton_problems(*files.values()) == []
    run = yaml.safe_load(files[tekton.RUN])["spec"]
    read = {
        "name": "REGION",
        "valueFrom": {"configMapKeyRef": {"name": "mlgate", "key": "REGION"}},
    }
    assert run["taskRunTemplate"]["podTemplate"]["env"] == [read]
    release = next(r for r in run["taskRunSpecs"] if r["pipelineTaskName"] == "release")
    assert [row["name"] for row in release["podTemplate"]["env"]] == ["REGION", "SIGNING_KEY"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_settings_reach_both_targets_as_they_are(project: Path, text: str) -> None:
    plan, source = planned(project)
    odd = Source(f"ml {text}.yaml", source.digest)
    settings = GITHUB.model_copy(update={"params": {"image": text}, "profile": text})
    written = github.compile_plan(plan, odd, settings)[github.workflow(odd)]
    for job in load_yaml(written)["jobs"].values():
        inputs = {k: interpolated(str(v), {"github": {"event_name": "push"}, "needs": {}})
                  for step in job["steps"] if "mlgate" in step["uses"]
                  for k, v in step["with"].items()}  # fmt: skip
        assert inputs["spec"] == odd.spec
        assert inputs["profile"] == text
        assert json.loads(inputs["params"]) == {"image": text}
    files = pipeline(project, params={"image": text})
    task = yaml.safe_load(files[tekton.PIPELINE])["spec"]["tasks"][-1]
    given = {row["name"]: row["value"] for row in task["params"]}
    assert json.loads(given["params"]) == {"image": text}
    assert "$(" not in given["params"]
    assert "{{" not in given["params"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_header_is_comments_and_remembers(text: str) -> None:
    kept = Given(profile=text, params={"image": text})
    written = header("github", Source(text, _DIGEST), kept)
    assert all(line.startswith("#") for line in written.splitlines())
    assert yaml.safe_load(written) is None
    assert remembered(Given, written) == kept


def test_equal_plans_are_equal_bytes(project: Path) -> None:
    assert pipeline(project) == pipeline(project)
