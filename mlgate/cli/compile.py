"""`mlgate compile`: the plan as CI files."""

import importlib.metadata
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from mlgate.ci import github, lock, problems, tekton
from mlgate.ci.jobs import Given, Source, is_ours, other_spec, remembered
from mlgate.cli.options import read_spec, spec_options
from mlgate.errors import Problem, SpecError, UsageError
from mlgate.files import write_atomic
from mlgate.run.plan import Plan, resolve
from mlgate.spec.spec import locate, written_digest

_ON_GITHUB = r"(?:https://|ssh://git@)github\.com/([A-Za-z0-9._-]+/[A-Za-z0-9._-]+?)(?:\.git)?/?"
F = TypeVar("F", bound=Callable[..., Any])
G = TypeVar("G", bound=Given)


def _common(command: F) -> F:
    """Options that every target has."""
    for option in (
        click.option("--check", is_flag=True, help="Write nothing; exit 1 when out of date."),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            help="The repository's root; default: the folder with .git above the spec.",
        ),
        click.option("--branch", help="The branch whose pushes run everything; default: main."),
        spec_options,
    ):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Write the CI files that run the same plan: a GitHub workflow or a Tekton pipeline.

    Options are remembered in the file that is written: give them once. A file that was made from
    another spec is not replaced.
    """


@command.command("github")
@_common
@click.option(
    "--actions",
    metavar="OWNER/REPO@COMMIT",
    help="Where mlgate's actions are; $: right here. Default: where it was cloned from.",
)
@click.option("--version", help="What that commit is called, for readers.")
@click.option("--runner", metavar="LABEL,…", help="Labels of runners; default: ubuntu-24.04.")
@click.option("--gpu-runner", metavar="LABEL,…", help="Labels of the runners that have a GPU.")
@click.option("--comment/--no-comment", default=None, help="Keep a comment on pull requests.")
@click.option("--ghes/--no-ghes", default=None, help="For GitHub Enterprise Server.")
@click.option("--sarif/--no-sarif", default=None, help="Upload code scanning results.")
@click.option(
    "--lfs/--no-lfs", default=None, help="Fetch Git LFS; default: as .gitattributes says."
)
@click.option("--schedule", metavar="CRON", help="Run by the clock too, as '17 4 * * *' (UTC).")
@click.option("--dispatch/--no-dispatch", default=None, help="Let people start it by hand.")
@click.option("--prepare", metavar="./ACTION", help="Action to run before data is read (dvc pull).")
@click.option("--requirements", metavar="FILE", help="Further packages to install, with hashes.")
@click.option("--retention", type=int, metavar="DAYS", help="For how long artifacts are kept.")
def to_github(
    spec: Path | None,
    profile: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    check: bool,
    runner: str | None,
    gpu_runner: str | None,
    **given: Any,
) -> None:
    """Write .github/workflows/mlgate.yml; for a spec elsewhere, mlgate-FOLDER.yml."""
    source, root = _place(spec, out)
    file = github.workflow(source)
    given |= _remembered_words(github.Settings, root / file, profile, settings)
    plan, source = _read(spec, source, given)
    _refuse_others((file,), source, root)
    runners = runner.split(",") if runner is not None else None
    labels = gpu_runner.split(",") if gpu_runner is not None else None
    hint = "add --actions OWNER/REPOSITORY@COMMIT, where mlgate's actions are"
    known = remembered(github.Settings, _text(root / file))
    if known is None and given["lfs"] is None:
        given["lfs"] = "filter=lfs" in _text(root / ".gitattributes") or None
    if known is None and given["actions"] is None and (origin := _origin()):
        given |= {"actions": origin[0], "version": given["version"] or origin[1]}
        click.echo(f"actions of {origin[0]}, where this mlgate was installed from", err=True)
    chosen = _settings(
        github.Settings,
        root,
        file,
        {**given, "runner": runners, "gpu_runner": labels},
        hint,
        check=check,
    )
    _refuse((*problems(plan), *github.problems(plan, chosen)))
    files = github.compile_plan(plan, source, chosen)
    locked = chosen.ghes or _locked(files[file], file, root)  # a server of one's own has none
    _write(files, root, check=check, locked=locked)


def _origin() -> tuple[str, str | None] | None:
    """OWNER/REPOSITORY@COMMIT on GitHub of the mlgate that runs here, and its tag, if pip knows."""
    try:
        text = importlib.metadata.distribution("mlgate").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    return installed_from(text or "{}")


def installed_from(direct_url: str) -> tuple[str, str | None] | None:
    """The same, of what pip wrote down (PEP 610); None for what was not cloned from GitHub."""
    try:
        known = json.loads(direct_url)
        vcs = known["vcs_info"]
        where = re.fullmatch(_ON_GITHUB, known["url"])
        commit, revision = str(vcs["commit_id"]), str(vcs.get("requested_revision", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    if where is None or not re.fullmatch(r"[0-9a-f]{40}", commit):
        return None
    tag = revision if re.fullmatch(r"v\d+(\.\d+){0,2}", revision) else None
    return f"{where[1]}@{commit}", tag


def _locked(workflow: str, path: str, root: Path) -> bool:
    """Whether GitHub would start the workflow, as far as a lock file says; else says why not."""
    if not (root / lock.PATH).exists():
        return True
    missing = lock.unlisted(_text(root / lock.PATH), path, workflow)
    if missing is None:
        click.echo(f"{lock.PATH} leaves {path} out", err=True)
    for name in missing or ():
        click.echo(
            f"{lock.PATH} does not list {name}: GitHub would not start the workflow", err=True
        )
    if missing is None or missing:
        click.echo(f"hint: {lock.COMMAND} {path}, and commit what it writes", err=True)
    return not missing


@command.command("tekton")
@_common
@click.option("--image", metavar="IMAGE@sha256:…", help="mlgate's container image, by digest.")
@click.option(
    "--tekton-api",
    "api",
    type=click.Choice(["stable", "beta"]),
    help="The cluster's enable-api-fields; default: beta.",
)
@click.option("--gpu-resource", help="The GPU's resource name; default: nvidia.com/gpu.")
@click.option("--gpu-node", metavar="KEY=VALUE", help="Label of the nodes that have a GPU.")
@click.option("--secret-name", help="Secret that holds the variables of stages; default: mlgate.")
@click.option("--storage", help="Size of the volume between tasks; default: 10Gi.")
def to_tekton(
    spec: Path | None,
    profile: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    check: bool,
    **given: Any,
) -> None:
    """Write tekton/ (Pipeline, Tasks, PipelineRun) and .tekton/ for Pipelines-as-Code."""
    source, root = _place(spec, out)
    given |= _remembered_words(tekton.Settings, root / tekton.PIPELINE, profile, settings)
    plan, source = _read(spec, source, given)
    _refuse_others(tekton.FROM_SPEC, source, root)
    chosen = _settings(
        tekton.Settings,
        root,
        tekton.PIPELINE,
        given,
        "add --image IMAGE@sha256:…, mlgate's container image by digest",
        check=check,
    )
    _refuse((*problems(plan), *tekton.problems(plan, source, chosen)))
    _write(tekton.compile_plan(plan, source, chosen), root, check=check)


def _place(spec: Path | None, out: Path | None) -> tuple[Source, Path]:
    """Where the spec lies in the repository, and the repository's root. Its digest comes later."""
    file = locate(spec).resolve()
    above = [folder for folder in file.parents if (folder / ".git").exists()]
    root = (out or next(iter(above), file.parent)).resolve()
    if not file.is_relative_to(root):
        raise UsageError(f"{file.name} is not below {root}", hint="--out is the repository's root")
    source = Source(file.relative_to(root).as_posix(), "")
    if any(ord(char) < 0x20 for char in source.spec):
        raise UsageError("the path of the spec holds a control character", hint="rename it")
    return source, root


def _remembered_words(
    model: type[G], file: Path, profile: str | None, settings: tuple[str, ...]
) -> dict[str, Any]:
    """Profile and parameters: those given, or else those of the file, before the spec is read."""
    known = remembered(model, _text(file))
    before = {} if known is None else known.params
    given = dict(setting.split("=", 1) for setting in settings if "=" in setting)
    if profile is None and known is not None:
        profile = known.profile
    return {"profile": profile, "params": {**before, **given} or None}


def _read(spec: Path | None, source: Source, given: Mapping[str, Any]) -> tuple[Plan, Source]:
    words = tuple(f"{name}={value}" for name, value in (given["params"] or {}).items())
    loaded = read_spec(spec, given["profile"], words)
    digest = written_digest(locate(spec).resolve(), loaded)
    return resolve(loaded, include_deploys=True), Source(source.spec, digest)


def _refuse_others(files: tuple[str, ...], source: Source, root: Path) -> None:
    """Raise `UsageError` where a file is of another spec: it would be lost, and its options used."""
    found = [(path, other_spec(_text(root / path), source)) for path in files]
    theirs = [(path, spec) for path, spec in found if spec is not None]
    if theirs:
        paths = ", ".join(path for path, _ in theirs)
        raise UsageError(
            f"{paths}: made from {theirs[0][1]}, and not from {source.spec}",
            hint="delete what shall be replaced, or compile to another folder: --out",
        )


def _settings(
    model: type[G], root: Path, path: str, given: Mapping[str, object], hint: str, *, check: bool
) -> G:
    """What was given, on top of what the file that is there remembers.

    With `check`, a file that says too little to be compiled again is out of date.
    """
    known = remembered(model, _text(root / path))
    before = known.model_dump(exclude_defaults=True) if known is not None else {}
    values = {**before, **{name: value for name, value in given.items() if value is not None}}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        option = "--" + name.replace("_", "-").replace("api", "tekton-api")
        if first["type"] == "missing":
            if check and is_ours(_text(root / path)):
                _out_of_date([path], root)
                click.get_current_context().exit(1)
            raise UsageError(f"{option} is missing", hint=hint) from None
        wanted = model.model_fields[name].description
        message = f"{option} has to be {wanted}" if wanted else f"{option}: {first['msg']}"
        raise UsageError(message) from None


def _refuse(found: tuple[Problem, ...]) -> None:
    if found:
        raise SpecError(found)


def _write(files: Mapping[str, str], root: Path, *, check: bool, locked: bool = True) -> None:
    files = _without_theirs(files, root)
    old = [path for path, text in files.items() if _text(root / path) != text]
    if check:
        if not locked:
            click.echo(f"{lock.PATH} is out of date")
        _out_of_date(old, root)
        click.get_current_context().exit(1 if old or not locked else 0)
    for path in old:
        write_atomic(root / path, files[path].encode())
    for path in files:
        click.echo(f"{path}{'' if path in old else ' is up to date'}")


def _out_of_date(paths: list[str], root: Path) -> None:
    for path in paths:
        state = "is out of date" if (root / path).exists() else "is not there yet"
        click.echo(f"{path} {state}")
    if paths:
        click.echo("hint: run mlgate compile, and commit what it writes", err=True)


def _without_theirs(files: Mapping[str, str], root: Path) -> dict[str, str]:
    """Raise `UsageError` rather than replace a file of somebody else's; one is theirs to edit."""
    kept = dict(files)
    for path in files:
        if is_ours(_text(root / path)):
            continue
        if path != github.ACTIONLINT:
            hint = "move it out of the way, or compile to another --out"
            raise UsageError(f"{path} was not written by mlgate", hint=hint)
        click.echo(f"{path} is yours: list the labels of the GPU runners there", err=True)
        del kept[path]
    return kept


def _text(file: Path) -> str:
    try:
        # A checkout may have made CRLF of our line ends.
        return file.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""
