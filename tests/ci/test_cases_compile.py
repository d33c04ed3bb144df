"""Cases that people met: what the plan knows reaches the job, what is remembered is used in time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from mlgate.ci import github, jobs, tekton
from mlgate.cli import cli, show
from mlgate.errors import MlgateError
from mlgate.run.plan import resolve
from mlgate.spec.lint import load
from tests.actions.runner import load as load_yaml
from tests.fakes.fixtures import planned, workflow

AT = ("--actions", f"acme/mlgate@{'a' * 40}")
Call = Callable[..., Result]


@pytest.fixture
def call(project: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line, errors shown as its last door shows them."""
    monkeypatch.chdir(project)
    (project / ".git").mkdir()

    def invoke(*words: str) -> Result:
        done = CliRunner().invoke(cli, words, standalone_mode=True)
        if isinstance(done.exception, MlgateError):
            with click.Context(cli):
                show(done.exception)
            done.exit_code = done.exception.exit_code
        return done

    return invoke


def _written(project: Path, path: str = github.WORKFLOW) -> dict[str, Any]:
    return load_yaml((project / path).read_text())


def _inputs(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["steps"][-1]["with"]
    return found


def test_c1_a_checkout_fetches_what_git_lfs_holds(call: Call, project: Path) -> None:
    (project / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    assert call("compile", "github", *AT).exit_code == 0
    for job in _written(project)["jobs"].values():
        assert job["steps"][0]["with"]["lfs"] is True
    assert call("compile", "github", "--no-lfs").exit_code == 0
    assert "lfs" not in _written(project)["jobs"]["data"]["steps"][0]["with"]


def test_c2_a_gpu_job_installs_the_gpu_runtime(project: Path) -> None:
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(spec.replace("copy}, ran", "copy}, gpu: true, ran", 1))
    found = load_yaml(workflow(project, gpu_runner=("self-hosted", "gpu")))["jobs"]
    assert _inputs(found["int8"])["extra"] == "gpu"
    assert _inputs(found["data"])["extra"] == "cpu"


def test_c3_a_job_installs_the_engines_that_its_stage_declares(tmp_path: Path) -> None:
    (tmp_path / "mlgate.yaml").write_text(
        "version: 1\nname: p\nstages:\n  s: {uses: validate, engine: spark, dataset: s3://b/d.parquet,"
        " gates: [{metric: rows, min: 1}]}\n"
    )
    (job,) = jobs.jobs(resolve(load(tmp_path / "mlgate.yaml")))
    assert {"cpu", "spark", "s3", "remote"} <= set(job.extras)
    given = github.Settings.model_validate({"actions": AT[1], "requirements": "ci/drivers.txt"})
    source = jobs.Source("mlgate.yaml", f"sha256:{'0' * 64}")
    files = github.compile_plan(resolve(load(tmp_path / "mlgate.yaml")), source, given)
    inputs = _inputs(load_yaml(files[github.WORKFLOW])["jobs"]["s"])
    assert inputs["extra"] == ",".join(job.extras)
    assert inputs["requirements"] == "ci/drivers.txt"
    assert "spark" in _inputs(load_yaml(files[github.WORKFLOW])["jobs"]["mlgate-plan"])["extra"]


def test_c8_what_is_remembered_is_used_when_the_spec_is_planned(call: Call, project: Path) -> None:
    spec = (
        (project / "mlgate.yaml")
        .read_text()
        .replace(
            "name: digits\n",
            "name: digits\nparams: {n: {type: integer, default: 1}}\nprofiles: {long: {stages: {data: {timeout: 3h}}}}\n",
        )
    )
    (project / "mlgate.yaml").write_text(spec)
    assert call("compile", "github", *AT, "--profile", "long", "--set", "n=2").exit_code == 0
    first = (project / github.WORKFLOW).read_text()
    assert load_yaml(first)["jobs"]["data"]["timeout-minutes"] == 190
    assert call("compile", "github", "--check").exit_code == 0
    assert call("compile", "github").exit_code == 0
    assert (project / github.WORKFLOW).read_text() == first


def test_c9_a_failed_upload_of_alerts_is_not_the_verdicts(project: Path) -> None:
    verdict = load_yaml(workflow(project, sarif=True))["jobs"]["mlgate-verdict"]
    assert verdict["permissions"]["actions"] == "read"
    upload = verdict["steps"][-1]
    assert upload["continue-on-error"] is True
    assert "sarif-path != ''" in upload["if"]


@pytest.mark.parametrize("name", ["CI", "PATH", "HOME", "GITHUB_SHA", "RUNNER_TEMP", "MLGATE_SPEC"])
def test_c11_the_runners_own_variables_are_no_ones_to_set(project: Path, name: str) -> None:
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(f"env: [REGION, {name}]\n{spec}")
    found = jobs.problems(planned(project)[0])
    assert [(problem.code, name in problem.message) for problem in found] == [("MG306", True)]


def test_c13_a_workflow_checked_out_with_crlf_is_remembered(call: Call, project: Path) -> None:
    assert call("compile", "github", *AT, "--comment").exit_code == 0
    file = project / github.WORKFLOW
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert call("compile", "github", "--check").exit_code == 0
    assert call("compile", "github").exit_code == 0


def test_c14_a_stale_workflow_is_an_annotation(call: Call) -> None:
    done = call("run", "data", "--github", "--compiled", f"sha256:{'1' * 64}")
    assert done.exit_code == 2
    assert "::error title=mlgate::the compiled CI file is out of date" in done.output


def test_c15_a_path_that_kubernetes_would_change_is_refused(project: Path) -> None:
    plan, source = planned(project)
    image = {"image": f"registry.example.com/m@sha256:{'0' * 64}"}
    given = tekton.Settings.model_validate(image)
    odd = jobs.Source("m$$y/mlgate.yaml", source.digest)
    assert [problem.code for problem in tekton.problems(plan, odd, given)] == ["MG305"]


def test_c16_a_time_limit_that_hosted_runners_do_not_have(project: Path) -> None:
    spec = (project / "mlgate.yaml").read_text()
    text = spec.replace("file: a.bin,", "file: a.bin, timeout: 20h, retries: 3,", 1)
    (project / "mlgate.yaml").write_text(text)
    plan, _ = planned(project)
    hosted = github.Settings.model_validate({"actions": AT[1]})
    assert [problem.code for problem in github.problems(plan, hosted)] == ["MG307"]
    own = github.Settings.model_validate({"actions": AT[1], "runner": ("self-hosted", "big")})
    assert github.problems(plan, own) == ()


def test_c17_two_specs_of_a_repository_have_a_workflow_each(call: Call, project: Path) -> None:
    for folder in ("a", "b"):
        (project / folder).mkdir()
        for name in ("mlgate.yaml", "a.bin"):
            (project / folder / name).write_bytes((project / name).read_bytes())
        assert call("compile", "github", *AT, "--sarif", folder).exit_code == 0
    first = _written(project, ".github/workflows/mlgate-a.yml")
    second = _written(project, ".github/workflows/mlgate-b.yml")
    assert first["name"] != second["name"]  # and with it cache and concurrency group
    assert first["jobs"]["mlgate-verdict"]["name"] == "mlgate verdict a"
    uploads = [
        text["jobs"]["mlgate-verdict"]["steps"][-1]["with"]["category"] for text in (first, second)
    ]
    assert uploads == ["mlgate-a", "mlgate-b"]
    assert _inputs(second["jobs"]["data"])["spec"] == "b/mlgate.yaml"
    assert call("compile", "github", "--check", "a").exit_code == 0


def test_c18_c19_c28_a_queue_the_clock_a_hand_and_three_quick_pushes(project: Path) -> None:
    plain = load_yaml(workflow(project))
    assert set(plain["on"]) == {"pull_request", "merge_group", "push"}
    assert "github.event_name == 'push' && github.sha" in plain["concurrency"]["group"]
    more = load_yaml(workflow(project, schedule="17 4 * * *", dispatch=True))
    assert more["on"]["schedule"] == [{"cron": "17 4 * * *"}]
    assert "workflow_dispatch" in more["on"]


def test_c21_c23_labels_of_runners_and_days_of_artifacts(call: Call, project: Path) -> None:
    done = call("compile", "github", *AT, "--runner", "self-hosted,linux", "--retention", "7")
    assert done.exit_code == 0
    data = _written(project)["jobs"]["data"]
    assert data["runs-on"] == ["self-hosted", "linux"]
    assert _inputs(data)["retention-days"] == 7
    assert call("compile", "github", "--check").exit_code == 0


def test_a_repository_prepares_its_data_itself(project: Path) -> None:
    found = load_yaml(workflow(project, prepare="./.github/actions/data"))["jobs"]
    for name in ("mlgate-plan", "data", "rollout"):
        assert found[name]["steps"][1]["uses"] == "./.github/actions/data"
    assert len(found["mlgate-verdict"]["steps"]) == 2


def test_c22_the_hooks_see_every_file_that_a_spec_may_be_made_of() -> None:
    import re

    import yaml

    root = Path(__file__).parent.parent.parent
    hooks = yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text())
    for hook in hooks:
        for name in ("mlgate.yaml", "gates.yaml", "base.yml"):
            assert re.search(hook["files"], name)


def test_c24_one_job_takes_parameters() -> None:
    check = yaml_of("actions/check/action.yml")
    assert "params" in check["inputs"]


def test_c29_the_verdict_installs_what_judging_needs(project: Path) -> None:
    assert _inputs(load_yaml(workflow(project))["jobs"]["mlgate-verdict"])["extra"] == "light"


def yaml_of(path: str) -> dict[str, Any]:
    return load_yaml((Path(__file__).parent.parent.parent / path).read_text())
