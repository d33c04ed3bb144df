"""`mlgate promote`: verify, then move traffic to what was approved."""

from pathlib import Path

import click

from mlgate.cli import say
from mlgate.cli.options import file_of, read_spec, root_of, spec_options
from mlgate.cli.rollout import (
    LiveView,
    about,
    folder_for,
    model_file,
    planned,
    version_of,
    who,
    world,
)
from mlgate.errors import UsageError
from mlgate.files import FOLDER
from mlgate.rollout.controller import Controller
from mlgate.run.record import folder_of
from mlgate.run.store import Store
from mlgate.run.verdict import Record
from mlgate.spec.spec import Spec
from mlgate.verify import verify

_EXIT_CODES = {"promoted": 0, "rolled_back": 1, "aborted": 1, "undecided": 4}


@click.command()
@spec_options
@click.option("--stage", help="The canary stage, where the spec has several.")
@click.option("--artifact", type=click.Path(path_type=Path), help="The model's file.")
@click.option("--run", help="The run that approved it; default: the last one.")
@click.option("--again", is_flag=True, help="Try a version that was rolled back once more.")
@click.option(
    "--unsafe-unsigned",
    metavar="REASON",
    help="Promote although nothing is signed; kept with your name and this reason.",
)
@click.pass_context
def command(
    ctx: click.Context,
    spec: Path | None,
    profile: str | None,
    settings: tuple[str, ...],
    stage: str | None,
    artifact: Path | None,
    run: str | None,
    again: bool,
    unsafe_unsigned: str | None,
) -> None:
    """Move traffic to an approved model, step by step, and back when harm is proven.

    First the model's file is verified against the run that approved it. Then the canary stage's
    steps are gone; every gate is judged all the time. Killed, it goes on where it stopped when it
    is called again. Exit code 0: promoted; 1: refused, rolled back or aborted; 4: undecided, and
    traffic is on stable.
    """
    loaded = read_spec(spec, profile, settings)
    chosen = planned(loaded, root_of(spec), stage)
    path = model_file(chosen, artifact)
    if not _approved(loaded, spec, path, run, profile):
        ctx.exit(1)
    if unsafe_unsigned is None:
        raise UsageError(
            "nothing proves who made this verdict: it is not signed",
            hint="to promote nonetheless: --unsafe-unsigned 'the reason', kept in the journal",
        )
    if not unsafe_unsigned.strip():
        raise UsageError("--unsafe-unsigned needs a reason that somebody will read later")
    version = version_of(path)
    folder = folder_for(chosen, version, again=again)
    say(f"rollout {folder.relative_to(chosen.root)}")
    facts = about(chosen, version, unsigned={"by": who(), "reason": unsafe_unsigned})
    controller = Controller(folder, chosen.options.course(), facts, world(chosen, LiveView()))
    ending = controller.run()
    click.echo(f"{ending.state.replace('_', ' ').upper()}  {ending.why}")
    ctx.exit(_EXIT_CODES[ending.state])


def _approved(
    loaded: Spec, spec: Path | None, path: Path, run: str | None, profile: str | None
) -> bool:
    """Whether the run's record holds together and approved this file; says why not."""
    root = root_of(spec) / FOLDER
    record = Record(folder_of(root, run, file=file_of(spec)), Store(root))
    found = verify(record, (str(path),), spec=loaded, profile=profile)
    for refusal in found.refusals:
        say(f"refused[{refusal.code}]: {refusal.message}")
    return found.verified
