"""The Triggers sample: which webhooks of GitHub's start a run, and of what."""

import json
import re
from typing import Any

import cel
import pytest
import yaml

from tests.actions.runner import ROOT
from tests.ci.tekton_checks import problems
from tests.ci.tekton_schema import refused
from tests.fakes.fixtures import SMALL, pipeline

SAMPLE = ROOT / "tekton" / "triggers" / "github.yaml"
REPOSITORY = {"full_name": "acme/digits", "clone_url": "https://github.com/acme/digits.git"}
AFTER, HEAD = "a" * 40, "b" * 40


def _push(ref: str, *, deleted: bool = False) -> dict[str, Any]:
    after = "0" * 40 if deleted else AFTER
    return {"ref": ref, "after": after, "deleted": deleted, "repository": REPOSITORY}


def _pull_request(action: str, source: object) -> dict[str, Any]:
    head = {"sha": HEAD, "ref": "x'; touch pwned #", "repo": source}
    return {"action": action, "pull_request": {"head": head}, "repository": REPOSITORY}


SAME, FORK = {"full_name": "acme/digits"}, {"full_name": "mallory/digits"}
_EVENTS: dict[str, tuple[str, dict[str, Any], tuple[str, str] | None]] = {
    "push to main": ("push", _push("refs/heads/main"), ("push", AFTER)),
    "push to a branch": ("push", _push("refs/heads/topic"), None),
    "push to a branch called like it": ("push", _push("refs/heads/x/refs/heads/main"), None),
    "tag called like it": ("push", _push("refs/tags/main"), None),
    "main deleted": ("push", _push("refs/heads/main", deleted=True), None),
    "opened": ("pull_request", _pull_request("opened", SAME), ("pull_request", HEAD)),
    "pushed to": ("pull_request", _pull_request("synchronize", SAME), ("pull_request", HEAD)),
    "reopened": ("pull_request", _pull_request("reopened", SAME), ("pull_request", HEAD)),
    "closed": ("pull_request", _pull_request("closed", SAME), None),
    "labelled": ("pull_request", _pull_request("labeled", SAME), None),
    "fork's": ("pull_request", _pull_request("opened", FORK), None),
    "deleted fork's": ("pull_request", _pull_request("opened", None), None),
    "target's": ("pull_request_target", _pull_request("opened", SAME), None),
    "comment": ("issue_comment", {"action": "created", "repository": REPOSITORY}, None),
    "push that says pull request": ("push", _pull_request("opened", SAME), None),
    "nothing": ("push", {}, None),
}


def _holds(expression: str, body: dict[str, Any]) -> bool:
    """A filter's answer; what cannot be told is no, as the interceptor has it."""
    try:
        return cel.evaluate(expression, {"body": body}) is True
    except (KeyError, TypeError):
        return False


def _started(event: str, body: dict[str, Any]) -> list[dict[str, str]]:
    """The parameters of every run that the listener starts."""
    listener, binding, _ = _manifests()
    found = []
    for trigger in listener["spec"]["triggers"]:
        hub, expressions = (
            {row["name"]: row["value"] for row in step["params"]}
            for step in trigger["interceptors"]
        )
        if event not in hub["eventTypes"] or not _holds(expressions["filter"], body):
            continue
        made = {
            row["key"]: cel.evaluate(row["expression"], {"body": body})
            for row in expressions["overlays"]
        }
        known = {"body": body, "extensions": made}
        assert trigger["bindings"] == [{"ref": binding["metadata"]["name"]}]
        found.append({row["name"]: _read(row["value"], known) for row in binding["spec"]["params"]})
    return found


def _read(text: str, known: Any) -> str:
    path = re.fullmatch(r"\$\(([a-z_.]+)\)", text)
    assert path, f"{text} is more than one value"
    for key in path[1].split("."):
        known = known[key]
    return str(known)


def _manifests() -> list[Any]:
    return list(yaml.safe_load_all(SAMPLE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", _EVENTS)
def test_who_starts_a_run(name: str) -> None:
    event, body, started = _EVENTS[name]
    expected = []
    if started is not None:
        kind, revision = started
        expected = [
            {"event": kind, "repository": REPOSITORY["clone_url"], "revision": revision},
        ]
    assert _started(event, body) == expected


def test_nothing_that_tekton_refuses() -> None:
    listener, binding, template = _manifests()
    assert [p for m in (listener, binding, template) for p in refused(m)] == []
    hooks = [step for t in listener["spec"]["triggers"] for step in t["interceptors"]]
    assert [step["ref"]["name"] for step in hooks] == ["github", "cel"] * 2
    given = {row["name"] for row in template["spec"]["params"]}
    assert given == {row["name"] for row in binding["spec"]["params"]}
    (run,) = template["spec"]["resourcetemplates"]
    assert problems(json.dumps(run)) == []
    assert set(re.findall(r"\$\(tt\.params\.(\w+)\)", json.dumps(run))) == given


def test_the_run_is_one_of_the_compiled_pipeline(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("project")
    (folder / "mlgate.yaml").write_text(SMALL)
    files = pipeline(folder)
    compiled = yaml.safe_load(files["tekton/mlgate-pipeline.yaml"])
    by_hand = yaml.safe_load(files["tekton/mlgate-run.yaml"])
    (run,) = _manifests()[2]["spec"]["resourcetemplates"]
    assert run["spec"]["pipelineRef"]["name"] == compiled["metadata"]["name"]
    declared = {row["name"] for row in compiled["spec"]["params"]}
    assert {row["name"] for row in run["spec"]["params"]} <= declared
    assert run["spec"]["workspaces"] == by_hand["spec"]["workspaces"]
    assert run["spec"]["taskRunTemplate"] == by_hand["spec"]["taskRunTemplate"]
