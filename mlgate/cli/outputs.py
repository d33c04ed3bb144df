"""What CI systems read of a report: files and commands, each in the form that its system wants."""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from mlgate.evidence import Evidence, digest_of
from mlgate.gate import Outcome
from mlgate.render import github, markdown, text
from mlgate.run.report import Ran, Report

# Kubernetes keeps 4,096 bytes of what a container says at its end, Tekton needs some of them,
# and a later step repeats them.
TEKTON_BYTES: Final = 2000
# https://github.com/opencontainers/image-spec, media-types.md; and what Docker says instead.
_MANIFESTS: Final = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
# As Konflux reads it: ADR 0008, https://github.com/konflux-ci/architecture.
_TEST_RESULTS: Final = {
    Outcome.PASS: "SUCCESS",
    Outcome.WARN: "WARNING",
    Outcome.INCONCLUSIVE: "ERROR",
    Outcome.ERROR: "ERROR",
    Outcome.FAIL: "FAILURE",
}


def to_github(report: Report, *, file: str, folder: Path | None) -> None:
    """The report in a job's log, its outputs and, for a whole run's, annotations and summary."""
    with no_commands():
        click.echo(text.render(report, file=file), nl=False)
    found = {"outcome": str(report.outcome), "verdict-digest": digest_of(report.verdict())}
    if folder is not None:
        found |= {
            "report-path": str(folder / "report.html"),
            "sarif-path": str(folder / "results.sarif"),
            "report-folder": str(folder),
        }
        click.echo(github.render(report, file=file), nl=False)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            used = Path(summary).stat().st_size if Path(summary).exists() else 0
            room = markdown.SUMMARY_BYTES - used
            with Path(summary).open("a", encoding="utf-8") as out:
                out.write(markdown.render(report, file=file, limit=room))
    set_outputs(found)


@contextlib.contextmanager
def no_commands(wanted: bool = True) -> Iterator[None]:
    """What is printed meanwhile is text to GitHub, whatever it holds: it obeys no command in it."""
    token = secrets.token_hex(16)
    if wanted:
        click.echo(f"::stop-commands::{token}")
    try:
        yield
    finally:
        if wanted:
            sys.stderr.flush()
            click.echo(f"\n::{token}::")


def set_outputs(found: Mapping[str, str]) -> None:
    """A step's outputs, under a delimiter that no value can foresee."""
    file = os.environ.get("GITHUB_OUTPUT")
    if not file:
        return
    with Path(file).open("a", encoding="utf-8") as out:
        for name, value in found.items():
            end = f"end-{secrets.token_hex(16)}"
            out.write(f"{name}<<{end}\n{value}\n{end}\n")


def to_tekton(report: Report, *, file: str, folder: Path) -> None:
    """The report in a task's log, and its results as files in `folder`."""
    click.echo(text.render(report, file=file), nl=False)
    found = {
        "outcome": str(report.outcome),
        "verdict-digest": digest_of(report.verdict()),
        "TEST_OUTPUT": _test_output(report),
    }
    results = list(report.results.values())
    if len(results) == 1 and isinstance(results[0], Ran):  # one stage's task, not the verdict's
        for port in results[0].evidence.outputs:
            found |= _for_chains(port, results[0].evidence)
    write_results(folder, found)


def _for_chains(port: str, evidence: Evidence) -> dict[str, str]:
    """What Tekton Chains shall attest of an output, under names that it looks for.

    An image is known by its manifest, so the digest of that is the image's; `details["images"]` says
    which repository it was pushed to. One that was not pushed has nothing to attest.
    """
    made = evidence.outputs[port]
    if made.media_type in _MANIFESTS:
        pushed = evidence.details.get("images")
        place = pushed.get(port) if isinstance(pushed, dict) else None
        if not isinstance(place, str):
            return {}
        return {f"{port}_IMAGE_URL": place, f"{port}_IMAGE_DIGEST": made.digest}
    about = {
        "uri": f"pkg:generic/mlgate/{made.name}",
        "digest": made.digest,
        "isBuildArtifact": "true",
    }
    return {f"{port}_ARTIFACT_OUTPUTS": json.dumps(about, separators=(",", ":"))}


def write_results(folder: Path, found: Mapping[str, str]) -> None:
    """One file per result, without a line end; those that would be too long in all are left out."""
    used = 0
    for name, value in found.items():
        used += len(name.encode()) + len(value.encode())
        if used > TEKTON_BYTES:
            click.echo(f"mlgate: no room for the result {name}", err=True)
            used -= len(name.encode()) + len(value.encode())
            continue
        (folder / name).write_text(value, encoding="utf-8")


def _test_output(report: Report) -> str:
    ranks = [
        gate.rank
        for result in report.results.values()
        if isinstance(result, Ran)
        for gate in result.gates
    ]
    unmeasured = sum(not isinstance(result, Ran) for result in report.results.values())
    document = {
        "result": _TEST_RESULTS[report.outcome],
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "namespace": "mlgate",
        "successes": ranks.count(Outcome.PASS),
        "warnings": ranks.count(Outcome.WARN),
        "failures": sum(rank > Outcome.WARN for rank in ranks) + unmeasured,
        "note": f"{report.name[:100]}: {report.outcome}",
    }
    return json.dumps(document, separators=(",", ":"))
