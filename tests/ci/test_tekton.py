"""The compiled pipeline: nothing that Tekton refuses, really run, and no way to lose a verdict."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.ci import tekton
from mlgate.ci.jobs import name_of
from tests.ci.tekton_checks import problems
from tests.ci.tekton_runner import Cluster
from tests.fakes.fixtures import SMALL, pipeline

CHECKED = ["data", "other", "int8", "latency", "release"]
PIPELINE = "tekton/mlgate-pipeline.yaml"
RUN = "tekton/mlgate-run.yaml"
WEIGH = "tekton/tasks/mlgate-weigh.yaml"


@pytest.mark.parametrize("api", ["stable", "beta"])
def test_nothing_that_tekton_refuses(project: Path, api: str) -> None:
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(spec.replace("file: a.bin", "file: a.bin, gpu: true"))
    files = pipeline(project, api=api)
    assert problems(*files.values()) == []
    beta = "computeResources" in files["tekton/mlgate-run.yaml"]
    assert beta == (api == "beta")


_STAGE = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True),
        "uses": st.sampled_from(["weigh", "attest", "pack", "move"]),
        "gpu": st.booleans(),
        "retries": st.integers(0, 3),
        "timeout": st.sampled_from(["90s", "2h", "1.5h", "0.25s"]),
        "above": st.booleans(),
    }
)


@pytest.mark.slow
@given(
    st.lists(_STAGE, min_size=1, max_size=6, unique_by=lambda row: name_of(str(row["name"]))),
    st.sampled_from(["stable", "beta"]),
    st.sampled_from([None, "kind=gpu"]),
)
@settings(max_examples=250, deadline=None, database=None, derandomize=True)
def test_nothing_that_tekton_refuses_of_any_spec(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    api: str,
    node: str | None,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    lines = ["version: 1", "name: any", "stages:"]
    for index, row in enumerate(rows):
        above = rows[index - 1]
        chained = row["above"] and index and above["uses"] in ("weigh", "attest")
        file = f"{{from: {above['name']}.copy}}" if chained else "a.bin"
        more = {"attest": ", key: {env: KEY}", "move": ", environment: prod"}.get(row["uses"], "")
        lines.append(
            f"  {row['name']!r}: {{uses: {row['uses']}, gpu: {str(row['gpu']).lower()}, "
            f"file: {file}, retries: {row['retries']}, timeout: {row['timeout']}{more}, "
            "gates: [{metric: bytes, max: 1}]}"
        )
    (folder / "mlgate.yaml").write_text("\n".join(lines) + "\n")
    assert problems(*pipeline(folder, api=api, gpu_node=node).values()) == []


# Each is what a person may do to a file, with what is said of it. Decoding finds the first five;
# of the others, CustomResourceDefinitions alone would find none but the name.
_MUTATIONS = {
    "unknown field of a step": (WEIGH, "securityContext:", "securtyContext:", "unknown field .spec.steps[0].securtyContext"),
    "unknown field of a spec": (PIPELINE, "  workspaces:\n    - name: source\n      desc", "  workspacs:\n    - name: source\n      desc", "unknown field .spec.workspacs"),
    "number for a string": (PIPELINE, 'timeout: "900s"', "timeout: 900", "must be a string, not 900"),
    "string for a number": (WEIGH, "runAsUser: 65532", 'runAsUser: "65532"', "must be an integer"),
    "kind that is not there": (WEIGH, "kind: Task", "kind: ClusterTask", "no kind ClusterTask"),
    "unknown task": (PIPELINE, "runAfter: [mlgate-plan, data]", "runAfter: [mlgate-plan, dat]", "depends on dat but dat wasn't present"),
    "unknown parameter": (PIPELINE, "$(params.event)", "$(params.evnt)", "non-existent variable in '$(params.evnt)'"),
    "unknown parameter in a step": (WEIGH, "$(params.stage)", "$(params.stge)", "non-existent variable in '$(params.stge)'"),
    "operator": (PIPELINE, "operator: in\n", "operator: inn\n", "operator 'inn' is not recognized"),
    "result of an unknown task": (PIPELINE, "$(tasks.mlgate-plan.", "$(tasks.nope.", "depends on nope but nope wasn't present"),
    "unknown result": (PIPELINE, "results.stages[*]", "results.stage[*]", "mlgate-plan has no result"),
    "onError with retries": (PIPELINE, "      onError: continue\n", "      onError: continue\n      retries: 1\n", "onError cannot be continue"),
    "onError": (PIPELINE, "onError: continue", "onError: ignore", "onError must be"),
    "onError of a step": (WEIGH, "onError: continue", "onError: ignore", "onError must be"),
    "duration": (PIPELINE, 'timeout: "900s"', 'timeout: "15 minutes"', "is no duration"),
    "timeouts that are longer than their sum": (RUN, "finally: \"900s\"", "finally: \"901s\"", "timeouts.tasks and timeouts.finally"),
    "name": (PIPELINE, "  name: mlgate-digits", "  name: MLGate_Digits", "must be a valid DNS label"),
    "long name": (PIPELINE, "  name: mlgate-digits", f"  name: mlgate-{'digits' * 12}", "must be a valid DNS label"),
    "two tasks of one name": (PIPELINE, "    - name: other\n", "    - name: data\n", "two tasks have one name"),
    "cycle": (PIPELINE, "runAfter: [mlgate-checkout]", "runAfter: [mlgate-checkout, int8]", "cycle among"),
    "missing parameter": (WEIGH, "      default: weigh\n", "", "needs the parameter 'stage'"),
    "parameter that its task has not": (PIPELINE, "        - name: run-id\n", "        - name: run\n", "has no parameter 'run'"),
    "unknown workspace": (PIPELINE, "          workspace: cache\n", "          workspace: cash\n", "is not declared"),
    "workspace that its task has not": (PIPELINE, "        - name: cache\n          workspace", "        - name: cash\n          workspace", "has no workspace 'cash'"),
}  # fmt: skip


@pytest.mark.parametrize("name", _MUTATIONS)
def test_every_mutation_is_found(project: Path, name: str) -> None:
    files = pipeline(project)
    path, before, after, said = _MUTATIONS[name]
    if name == "missing parameter":
        files[PIPELINE] = files[PIPELINE].replace(
            "        - name: stage\n          value: data\n", ""
        )
    assert before in files[path]
    files[path] = files[path].replace(before, after, 1)
    assert any(said in problem for problem in problems(*files.values()))


def test_a_push_is_not_stopped_by_the_next(project: Path) -> None:
    files = pipeline(project)
    for event, cancelled in (("push", "false"), ("pull-request", "true")):
        run = yaml.safe_load(files[f".tekton/mlgate-{event}.yaml"])
        about = run["metadata"]["annotations"]
        assert about["pipelinesascode.tekton.dev/cancel-in-progress"] == cancelled
        assert about["pipelinesascode.tekton.dev/on-event"] == f"[{event.replace('-', '_')}]"
        named = about["pipelinesascode.tekton.dev/task"].strip("[]").split(", ")
        assert named[0] == "git-clone"
        assert set(named[1:]) == {path for path in files if path.startswith("tekton/tasks/")}
        assert about["pipelinesascode.tekton.dev/pipeline"] in files
        given = {row["name"]: row["value"] for row in run["spec"]["params"]}
        assert given["event"] == event.replace("-", "_")


def test_names_too_long_for_one_result_are_planned_in_parts(tmp_path: Path) -> None:
    lines = ["version: 1", "name: many", "stages:"]
    for index in range(120):
        file = f"{{from: stage-{index - 1:0>40}.copy}}" if index else "a.bin"
        lines.append(
            f"  stage-{index:0>40}: {{uses: weigh, file: {file}, gates: [{{metric: bytes, max: 9}}]}}"
        )
    (tmp_path / "mlgate.yaml").write_text("\n".join(lines) + "\n")
    files = pipeline(tmp_path)
    assert problems(*files.values()) == []
    made = yaml.safe_load(files[PIPELINE])["spec"]["tasks"]
    about = {
        task["name"]: next(row["value"] for row in task["params"] if row["name"] == "stages")
        for task in made
        if task["taskRef"]["name"] == "mlgate-plan"
    }
    assert len(about) == 4
    assert max(map(len, about.values())) <= 1500
    assert [name for part in about.values() for name in json.loads(part)] == [
        f"stage-{index:0>40}" for index in range(120)
    ]
    for task in made:
        for row in task.get("when", []):
            for plan in re.findall(r"tasks\.([a-z0-9-]+)\.results", row["values"][0]):
                assert task["displayName"] in json.loads(about[plan])
                assert plan in task["runAfter"]


Run = Callable[..., Cluster]


@pytest.fixture(params=["beta", "stable"])
def cluster(request: pytest.FixtureRequest, project: Path, forked: Path, tmp_path: Path) -> Run:
    def make(**how: Any) -> Cluster:
        files = pipeline(project, api=request.param)
        return Cluster.of(files, forked, tmp_path / "pods", **how)

    return make


@pytest.fixture
def source(project: Path, tmp_path: Path) -> Path:
    """The workspace: a volume with the repository in it."""
    folder = tmp_path / "source"
    shutil.copytree(project, folder)
    return folder


def test_the_verdict_is_the_local_one_to_the_byte(
    cluster: Run, source: Path, project: Path, mlgate: Path
) -> None:
    run = cluster()
    status = run.run({}, {"source": source}, secrets={"SIGNING_KEY": "s3cret"})
    assert status == "Succeeded", {n: t.log for n, t in run.runs.items()}
    assert [n for n, t in run.runs.items() if t.status == "Skipped"] == ["mlgate-checkout"]
    assert sorted(run.started) == sorted(["mlgate-plan", *CHECKED, "rollout", "mlgate-verdict"])
    assert run.started[-2:] == ["rollout", "mlgate-verdict"]
    subprocess.run([mlgate, "check", project], capture_output=True, check=True)
    local = (project / ".mlgate" / "latest" / "verdict.json").read_bytes()
    assert (source / ".mlgate" / "latest" / "verdict.json").read_bytes() == local
    data = run.runs["data"].results
    assert json.loads(data["TEST_OUTPUT"])["result"] == "SUCCESS"
    assert data["copy_ARTIFACT_OUTPUTS"]["digest"].startswith("sha256:")
    assert len(json.dumps(data)) < 2048


@pytest.mark.slow
def test_what_is_known_starts_no_pod(cluster: Run, source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    spaces = {"source": source, "cache": cache}
    assert cluster().run({"event": "pull_request"}, spaces) == "Succeeded"
    shutil.rmtree(source / ".mlgate")
    again = cluster()
    assert again.run({"event": "pull_request"}, spaces, uid="run-2") == "Succeeded"
    assert again.started == ["mlgate-plan", "mlgate-verdict"]


def test_parts_of_a_plan_drop_what_is_known(
    project: Path, forked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tekton, "_STAGES_BYTES", 12)
    cache = tmp_path / "cache"
    cache.mkdir()
    for uid in ("run-1", "run-2"):
        source = tmp_path / uid
        shutil.copytree(project, source)
        run = Cluster.of(pipeline(project), forked, tmp_path / "pods")
        spaces = {"source": source, "cache": cache}
        status = run.run({"event": "pull_request"}, spaces, uid=uid)
        assert status == "Succeeded", {n: t.log for n, t in run.runs.items()}
    plans = ["mlgate-plan", *(f"mlgate-plan-{number}" for number in range(2, 7))]
    assert run.started == [*plans, "mlgate-verdict"]


def test_a_pull_request_gets_no_identity(cluster: Run, source: Path) -> None:
    run = cluster()
    assert run.run({"event": "pull_request"}, {"source": source}) == "Succeeded"
    skipped = [n for n, t in run.runs.items() if t.status == "Skipped"]
    assert skipped == ["mlgate-checkout", "release", "rollout"]


def test_a_cache_that_somebody_committed_is_not_believed(
    cluster: Run, source: Path, project: Path, mlgate: Path
) -> None:
    """Evidence of a file that passes, under the content key of one that does not."""
    text = SMALL.replace("ran: RAN, ", "").replace("max: 10", "max: 3")
    for folder in (project, source):
        (folder / "mlgate.yaml").write_text(text)
    subprocess.run([mlgate, "check", source], capture_output=True, check=False)
    kept = source / ".mlgate"
    forged = 0
    for entry in (kept / "cache").glob("*.json"):
        row = json.loads(entry.read_bytes())
        blobs = kept / "store" / "sha256"
        evidence = (blobs / row["evidence"].removeprefix("sha256:")).read_bytes()
        better = re.sub(rb'"value":\d+', b'"value":1', evidence)
        digest = hashlib.sha256(better).hexdigest()
        (blobs / digest).write_bytes(better)
        entry.write_text(json.dumps({**row, "evidence": f"sha256:{digest}"}))
        forged += better != evidence
    assert forged
    words = [str(mlgate), "check", "--only", "data", str(source)]
    believed = subprocess.run(words, capture_output=True, check=False)
    assert believed.returncode == 0  # the forgery is one: whoever wrote the cache is believed here
    run = cluster()
    assert run.run({"event": "pull_request"}, {"source": source}) == "Failed"
    assert run.runs["data"].results["outcome"] == "fail"
    assert run.runs["mlgate-verdict"].results["outcome"] == "fail"


def _lose(stage: str) -> Callable[[str, Path], None]:
    def forget(name: str, source: Path) -> None:
        if name == stage:
            (source / ".mlgate" / "ci" / "results" / f"{stage}.json").unlink()

    return forget


def _alter(name: str, source: Path) -> None:
    for file in (source / ".mlgate" / "ci" / "store" / "sha256").glob("*"):
        if name == "other" and b"weigh" in file.read_bytes():
            file.chmod(0o644)
            file.write_bytes(file.read_bytes().replace(b'"value":5', b'"value":1'))


def _stale(name: str, source: Path) -> None:
    if name == "mlgate-plan":
        spec = (source / "mlgate.yaml").read_text()
        (source / "mlgate.yaml").write_text(spec.replace("max: 10", "max: 11"))


def _earlier(name: str, source: Path) -> None:
    """The result of an earlier run, where this run's should be."""
    file = source / ".mlgate" / "ci" / "results" / "other.json"
    if name == "other":
        file.write_text(file.read_text().replace("run-1", "run-0"))


@pytest.mark.parametrize(
    ("change", "how", "outcome"),
    [
        ("max: 10 -> max: 4", {}, "fail"),
        ("ran: -> breaks: true, ran:", {}, "error"),
        ("ran: -> nothing: true, ran:", {}, "error"),
        ("ran: -> unsure: true, ran:", {}, "inconclusive"),
        ("a.bin -> gone.bin", {}, "error"),
        ("max: 10 -> compared_to: baseline, max_increase: 5%", {}, "error"),
        ("", {"cancel": frozenset({"data"})}, "error"),
        ("", {"cancel": frozenset({"mlgate-plan"})}, "error"),
        ("", {"forget": _lose("data")}, "error"),
        ("", {"forget": _lose("other")}, "error"),
        ("", {"forget": _alter}, "error"),
        ("", {"forget": _earlier}, "error"),
        ("", {"forget": _stale}, None),
        ("", {"cancel": frozenset({"mlgate-verdict"})}, None),
    ],
    ids=[
        "gate fails", "stage breaks", "not measured", "inconclusive", "no input", "no baseline",
        "pod killed", "plan killed", "result lost",
        "unneeded result lost", "evidence altered", "result of another run", "spec changed",
        "verdict killed",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_no_verdict_gets_lost(
    cluster: Run, source: Path, project: Path, change: str, how: dict[str, Any], outcome: str | None
) -> None:
    before, _, after = change.partition(" -> ")
    text = SMALL.replace("RAN", str(project.parent / "ran")).replace(before, after, 1)
    for folder in (project, source):
        (folder / "mlgate.yaml").write_text(text)
    run = cluster(**how)
    assert run.run({}, {"source": source}) == "Failed"
    if outcome is None:
        assert "outcome" not in run.runs["mlgate-verdict"].results
    else:
        assert not (source / ".mlgate/ci/results/rollout.json").exists()  # nothing moved
        verdict = run.runs["mlgate-verdict"]
        assert verdict.results["outcome"] == outcome, verdict.log
        assert json.loads(verdict.results["TEST_OUTPUT"])["result"] in ("FAILURE", "ERROR")
