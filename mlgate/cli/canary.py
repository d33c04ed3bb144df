"""`mlgate canary …`: look at a rollout, forecast it, stop it, judge it again."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mlgate.cli import say
from mlgate.cli.options import read_spec, root_of, spec_options
from mlgate.cli.rollout import LiveView, Planned, journal_of, planned, who, world
from mlgate.errors import MlgateError, UsageError, printable
from mlgate.evidence import tuples
from mlgate.rollout import journal as journals
from mlgate.rollout.controller import Controller, one_controller
from mlgate.rollout.course import Course
from mlgate.rollout.forecast import Traffic, forecast, shortfalls
from mlgate.rollout.people import Command, Orders
from mlgate.rollout.progress import replay
from mlgate.rollout.routers.haproxy import configuration, map_file


@click.group()
def command() -> None:
    """Watch, forecast and steer a rollout of a canary stage."""


def _options(function: Callable[..., None]) -> Callable[..., None]:
    stage = click.option("--stage", help="The canary stage, where the spec has several.")
    return spec_options(stage(function))


def _planned(
    spec: Path | None, profile: str | None, settings: tuple[str, ...], stage: str | None
) -> Planned:
    return planned(read_spec(spec, profile, settings), root_of(spec), stage)


@command.command()
@_options
@click.option("--rate", type=float, required=True, help="Requests per second, of both arms.")
@click.option("--errors", type=float, default=0.001, show_default=True, help="Stable's share.")
@click.option("--wrong", type=float, default=0.08, show_default=True, help="Stable's share.")
@click.option("--labelled", type=float, default=1.0, show_default=True, help="Share of answers.")
def plan(rate: float, errors: float, wrong: float, labelled: float, **named: Any) -> None:
    """Say what every trigger will need at this traffic, before anything moves.

    Exit code 1 when a step could never gather its samples, or a trigger never pass.
    """
    if not (rate > 0 and 0 < errors < 1 and 0 < wrong < 1 and 0 < labelled <= 1):
        raise UsageError("--rate must be positive, and the shares between 0 and 1")
    course = _planned(**named).options.course()
    traffic = Traffic(rate, errors, wrong, labelled)
    click.echo(f"{'trigger':<28}{'share':>7}{'fault found in':>17}{'proven safe in':>17}")
    for row in forecast(course, traffic):
        harm, safe = _time(row.harm_s), _time(row.safety_s)
        click.echo(f"{row.trigger:<28}{row.weight:>5g} %{harm:>17}{safe:>17}")
    short = shortfalls(course, traffic)
    for line in short:
        say(line)
    click.get_current_context().exit(1 if short else 0)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not forecast"
    if math.isinf(seconds):
        return "never"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@command.command()
@_options
@click.option("--bind", default="127.0.0.1:8080", show_default=True)
@click.option("--stable", "stable_at", required=True, metavar="HOST:PORT")
@click.option("--canary", "canary_at", required=True, metavar="HOST:PORT")
@click.option("--sticky", metavar="HEADER", help="Header that names a user, who keeps an arm.")
def config(bind: str, stable_at: str, canary_at: str, sticky: str | None, **named: Any) -> None:
    """Print the lines of haproxy.cfg that a rollout needs, and what its map file holds."""
    chosen = _planned(**named)
    router = chosen.options.router
    text = configuration(router, bind=bind, stable=stable_at, canary=canary_at, sticky=sticky)
    click.echo(text, nl=False)
    click.echo(f"\n# {router.map} holds:")
    for line in map_file().splitlines():
        click.echo(f"#   {line}")


@command.command()
@_options
def status(**named: Any) -> None:
    """Say where the last rollout stands, and what each trigger's evidence is."""
    _show(_planned(**named).latest())


def _show(folder: Path) -> None:
    entries = journal_of(folder)
    progress = replay(_course(entries), entries)
    state = progress.ended or progress.next_move().why
    click.echo(f"{folder.name}: {printable(str(state))}")
    click.echo(
        f"  share {100 * progress.share:g} %, {progress.engine.canary_requests:,} on the canary"
    )
    for answer in progress.engine.answers():
        click.echo(f"  {answer.verdict:<13}{printable(answer.message)}")
        if answer.harm is not None and answer.needed_harm is not None:
            assert answer.safety is not None
            assert answer.needed_safety is not None
            click.echo(
                f"               harm {answer.harm:.2f} of {answer.needed_harm:.2f}, "
                f"safety {answer.safety:.2f} of {answer.needed_safety:.2f} (log e)"
            )


@command.command(name="replay")
@_options
def replay_(**named: Any) -> None:
    """Judge the last rollout's journal again: every decision must come out the same.

    Exit code 3 when one does not, or when the journal's chain is broken.
    """
    folder = _planned(**named).latest()
    entries = journal_of(folder)
    progress = replay(_course(entries), ())
    decisions = 0
    for entry in entries:
        if entry.kind == "decided" and entry.body["decision"] != "step":
            move = progress.next_move()
            stored: Any = entry.body["answers"]
            harms = [answer.harm for answer in progress.engine.answers()]
            timed_out = not stored
            same = [row["harm"] for row in stored] == harms and move.why == entry.body["why"]
            if not same and not timed_out:
                raise MlgateError(
                    f"{folder.name}: line {entry.number + 1} decided {entry.body['why']!r}, and its "
                    f"batches say {move.why!r}"
                )
            decisions += 1
        progress.apply(entry)
    click.echo(f"SAME  {len(entries):,} lines, {progress.batches:,} batches, {decisions} decisions")


def _course(entries: tuple[journals.Entry, ...]) -> Course:
    return Course.model_validate(tuples(entries[0].body["course"]))


def _order(name: Command, help_: str, *, runs: bool = False) -> None:
    """Add the subcommand that gives one order."""

    @click.option("--why", default="", help="Kept in the journal, and told.")
    @_options
    def give(why: str, **named: Any) -> None:
        freeze = bool(named.pop("freeze", False))
        chosen = _planned(**named)
        folder = chosen.latest()
        if replay(_course(journal_of(folder)), journal_of(folder)).ended:
            raise UsageError(f"{folder.name} has ended: there is nothing to {name}")
        orders = Orders(folder / "orders.jsonl")
        orders.give(name, who(), why, datetime.now(UTC), freeze=freeze)
        if runs and _nobody_runs(folder):
            about: Any = journal_of(folder)[0].body["about"]
            course = _course(journal_of(folder))
            ending = Controller(folder, course, about, world(chosen, LiveView())).run()
            click.echo(f"{ending.state.upper()}  {ending.why}")
            return
        say(f"{name}: the controller reads it at its next look")

    give.__doc__ = help_
    if name == "pause":
        freeze = click.option("--freeze", is_flag=True, help="Hold even what is harmful.")
        give = freeze(give)
    command.command(name=name)(give)


def _nobody_runs(folder: Path) -> bool:
    try:
        with one_controller(folder):
            return True
    except MlgateError:
        return False


_order("pause", "Stay at the share that is: no further step. Proven harm still rolls back.")
_order("continue", "Go on after a pause.")
_order("approve", "Approve the step that waits for a person.")
_order("abort", "Send everybody back to stable, now; works without a controller too.", runs=True)
