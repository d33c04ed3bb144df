"""`mlgate verify`: was exactly this file approved, and does the evidence still say so?"""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import file_of, given_params, read_spec, root_of
from mlgate.cli.outputs import no_commands, set_outputs
from mlgate.errors import UsageError, printable
from mlgate.files import FOLDER
from mlgate.render.github import command as github_command
from mlgate.run.record import folder_of
from mlgate.run.store import Store
from mlgate.run.verdict import Record, content
from mlgate.spec.spec import FILE, Spec
from mlgate.verify import Refusal, Verification, verify

# What a job is given: the files, one path per line.
_ARTIFACTS = "MLGATE_ARTIFACTS"
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]...")
@click.option("--run", help="A run's name; default: the last one.")
@click.option("--verdict", type=_PATH, help="A verdict.json from elsewhere, instead of a run.")
@click.option("--store", type=_PATH, help="Its blobs: a folder with store/sha256; default: beside.")
@click.option("--spec", type=_PATH, envvar="MLGATE_SPEC", help="The spec that it has to be of.")
@click.option("--profile", envvar="MLGATE_PROFILE", help="The profile that may be applied.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As for the run.")
@click.option("--params", envvar="MLGATE_PARAMS", help="The same, as a JSON object of strings.")
@click.option("--policy", type=_PATH, help="Whom to believe: a YAML file; see docs/provenance.md.")
@click.option("--key", type=_PATH, help="The one public key to believe, instead of a policy.")
@click.option("--log", is_flag=True, help="Verify the audit log too, every entry of it.")
@click.option("--seen", type=_PATH, help="A checkpoint of the log that was kept elsewhere.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    help="What to print on standard output.",
)
@click.pass_context
def command(
    ctx: click.Context,
    artifacts: tuple[str, ...],
    run: str | None,
    verdict: Path | None,
    store: Path | None,
    spec: Path | None,
    profile: str | None,
    settings: tuple[str, ...],
    params: str | None,
    policy: Path | None,
    key: Path | None,
    log: bool,
    seen: Path | None,
    form: str,
) -> None:
    """Say whether exactly these files were approved, and whether the evidence still says so.

    An ARTIFACT is a file, or sha256:DIGEST. Without any, only the run's record is verified: every
    piece of evidence has its digest, judging it again gives the same verdict, each stage was
    measured on what the one before it made, and the spec is the same. Exit code 1 when anything
    is refused, 3 when what had to be looked at is not there; mlgate explain MG405 says more about a
    reason. With --policy or --key, the run's attestations have to prove who made all of it.
    """
    with errors_as_json(form == "json"):
        wanted = _artifacts(artifacts)
        record = _record(run, verdict, store, spec)
        own = _spec(
            spec, profile, (*settings, *given_params(params)), elsewhere=verdict is not None
        )
        found = verify(record, wanted, spec=own, profile=profile or None)
        found = _signed(record, found, policy, key)
        if log or seen is not None:
            found = _logged(found, root_of(spec) / FOLDER / "log", seen)
    if form == "json":
        click.echo(found.document().printed(), nl=False)
    elif form == "github":
        _to_github(found)
    else:
        click.echo("\n".join(_lines(found)))
    ctx.exit(found.exit_code)


def _signed(
    record: Record, found: Verification, policy: Path | None, key: Path | None
) -> Verification:
    """The same, with what the run's attestations prove to whoever is asked to believe them."""
    if policy is not None and key is not None:
        raise UsageError("give --policy or --key, not both")
    if policy is None and key is None:
        return found
    from mlgate.provenance import trust  # noqa: PLC0415  # only this pays for cryptography
    from mlgate.sign import verify_signed  # noqa: PLC0415

    trusted = trust.read(policy) if policy is not None else trust.of_key(key or Path())
    return verify_signed(record, found, trusted, now=datetime.now(UTC))


def _logged(found: Verification, folder: Path, seen: Path | None) -> Verification:
    """The same, with what is wrong with the audit log."""
    from mlgate.provenance.audit_log import AuditLog  # noqa: PLC0415
    from mlgate.provenance.reasons import Refused  # noqa: PLC0415

    try:
        AuditLog(folder).verify(seen=None if seen is None else content(seen).decode())
    except UnicodeDecodeError:
        raise UsageError(f"{seen} is no checkpoint") from None
    except Refused as refused:
        refusal = Refusal(refused.reason, refused.message, refused.hint)
        return replace(found, refusals=(*found.refusals, refusal))
    return found


def _artifacts(named: tuple[str, ...]) -> tuple[str, ...]:
    """The files that are asked about. A job that is given none has to say so loudly."""
    if named or _ARTIFACTS not in os.environ:
        return named
    lines = tuple(line for line in os.environ[_ARTIFACTS].split("\n") if line.strip())
    if not lines:
        raise UsageError(f"{_ARTIFACTS} names no file: nothing would be verified")
    return lines


def _record(run: str | None, verdict: Path | None, store: Path | None, spec: Path | None) -> Record:
    if verdict is None:
        if store is not None:
            raise UsageError("--store goes with --verdict", hint="a run has a store of its own")
        root = root_of(spec) / FOLDER
        return Record(folder_of(root, run, file=file_of(spec)), Store(root))
    if run is not None:
        raise UsageError("give --run or --verdict, not both")
    if not verdict.is_dir() and verdict.name != "verdict.json":
        raise UsageError("--verdict is a file called verdict.json, or the folder that holds it")
    folder = verdict if verdict.is_dir() else verdict.parent
    return Record(folder, None if store is None else Store(store))


def _spec(
    spec: Path | None, profile: str | None, settings: tuple[str, ...], *, elsewhere: bool
) -> Spec | None:
    """The spec to compare with: the one beside the run, or the one that is named."""
    if spec is None and not elsewhere and not Path(FILE).exists():
        # A gate that nobody can read any more approves nothing without being asked to.
        hint = "--spec FILE, or of the record alone: --verdict .mlgate/latest"
        raise UsageError(f"there is no {FILE} here that the verdict could be of", hint=hint)
    if spec is None and elsewhere:
        if settings:
            raise UsageError("there is no spec to give parameters to", hint="add --spec")
        return None
    return read_spec(spec, profile or None, settings)


def _lines(found: Verification) -> Iterator[str]:
    """The answer as people read it; the reasons come last."""
    for known in found.artifacts:
        what = ", ".join(known.known_as) or "not approved"
        yield f"  {printable(known.name)}: {what}"
        if known.name != known.digest:
            yield f"    {known.digest}"
    absent = f", {found.absent} not at hand" if found.absent else ""
    spec = {"same": "the same", "other": "another one", None: "none at hand: not compared"}
    yield f"  verdict   {found.outcome}, {found.verdict}"
    yield f"  evidence  of {_count(found.stages, 'stage')}, {_count(found.links, 'link')}"
    yield f"  files     {found.whole} whole{absent}"
    yield f"  spec      {spec[found.spec]}"
    for refusal in found.refusals:
        yield f"refused[{refusal.code}]: {printable(refusal.message)}"
        if refusal.hint:
            yield f"  hint: {printable(refusal.hint)}"
    what = _count(len(found.artifacts), "file") if found.artifacts else "the record alone, no file"
    word = "VERIFIED" if found.verified else "REFUSED"
    yield f"{word}  {printable(found.name)} ({what})"
    if not found.signed:
        yield "who made them is not proven: give --policy or --key"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _to_github(found: Verification) -> None:
    """The answer in a job's log, one annotation per reason, and the step's outputs."""
    with no_commands():
        click.echo("\n".join(_lines(found)))
    for refusal in found.refusals[:10]:  # GitHub shows no more
        title = f"mlgate verify {refusal.code}"
        click.echo(github_command("error", refusal.message, title=title))
    set_outputs({"verified": str(found.verified).lower(), "verdict-digest": found.verdict})
