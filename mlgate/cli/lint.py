"""`mlgate lint`: every problem in a spec."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from mlgate.ci import problems
from mlgate.cli.failure import errors_as_json, rows
from mlgate.cli.options import placed, read_spec, spec_options
from mlgate.cli.terminal import echo, remark
from mlgate.documents import ProblemsDocument
from mlgate.errors import Problem, SpecError, StageError
from mlgate.gate import Outcome
from mlgate.policy.judge import judge_spec
from mlgate.render.text import rule_message
from mlgate.run.plan import resolve, terms_of
from mlgate.sources import files, location
from mlgate.spec.lint import warnings
from mlgate.spec.problems import near
from mlgate.spec.spec import Spec, locate
from mlgate.stage import inputs_of


@click.command()
@spec_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def command(spec: Path | None, profile: str | None, settings: tuple[str, ...], form: str) -> None:
    """Find every problem in a spec, without running anything.

    Each problem is file:line:column with a code that `mlgate explain` knows. Exit code 2 when
    there is one.
    """
    with errors_as_json(form == "json"):
        loaded = read_spec(spec, profile, settings)
        if wrong := problems(resolve(loaded, include_deploys=True)):
            raise SpecError(placed(wrong, locate(spec)))
        denied, warned = _asked(loaded)
        if denied:
            raise SpecError(placed(denied, locate(spec)))
        notes = placed((*warned, *warnings(loaded), *_absent(loaded)), locate(spec))
    if form == "json":
        found = ProblemsDocument(problems=(), warnings=rows(notes))
        click.echo(found.printed(), nl=False)
        return
    for note in notes:
        remark(f"{note.position}: warning: {note.message}")
        if note.hint:
            remark(f"  hint: {note.hint}")
    gates = sum(len(options.gates) for options in loaded.stages.values())
    seen = [_many(len(loaded.stages), "stage"), _many(gates, "gate"), "no problems"]
    if notes:
        seen.append(_many(len(notes), "warning"))
    echo(f"{loaded.name}: {', '.join(seen)}")


def _asked(spec: Spec) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """What policies deny, and what they warn of, as far as the spec alone can tell."""
    day = datetime.now(UTC).date().isoformat()
    terms = terms_of(resolve(spec, include_deploys=True), spec.stages, day=day)
    denied: list[Problem] = []
    warned: list[Problem] = []
    for row in judge_spec(terms.policies):
        if row.rank is Outcome.PASS:
            continue
        at = spec.key_position("policies")
        problem = Problem("MG506", f"{row.rule}: {rule_message(row)}", at, f"{row.file}:{row.line}")
        (denied if row.rank > Outcome.WARN else warned).append(problem)
    return tuple(denied), tuple(warned)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _absent(spec: Spec) -> Iterator[Problem]:
    """Local files that are not there: data may come later, so it is no error of the spec."""
    for name, options in spec.stages.items():
        for path, source in inputs_of(options):
            if source.path is None or "://" in source.path:
                continue
            try:
                files(location(source, spec.folder), model=source.kind == "model")
            except StageError as error:
                message = error.message.replace(f"{spec.folder}/", "")
                beside = (spec.folder / source.path).parent
                there = source.path.rpartition("/")[0]
                names = [p.name for p in beside.iterdir()] if beside.is_dir() else []
                hint = near(source.path, [f"{there}/{name}" if there else name for name in names])
                yield Problem("", message, spec.position("stages", name, *path), hint)
