"""`mlgate explain`: what a code, a metric or an exit code means."""

import textwrap
from typing import Any

import click

from mlgate.error_codes import CODES, EXITS
from mlgate.errors import UsageError
from mlgate.provenance.reasons import REASONS
from mlgate.spec.problems import near
from mlgate.stage import Metric, Stage
from mlgate.stages import STAGES


@click.command()
@click.argument("what", required=False)
def command(what: str | None) -> None:
    """Explain an error code, a metric or an exit code.

    WHAT is a code such as MG104, a metric such as drift.psi, a stage such as validate, or an exit
    code; without it, everything that can be explained is listed.
    """
    if what is None:
        for code, meaning in CODES.items():
            click.echo(f"{code}  {meaning.title}")
        for stage in STAGES.values():
            for metric in stage.metrics:
                click.echo(f"{metric.name}  {metric.meaning}")
        return
    click.echo(_explained(what))


def _explained(what: str) -> str:
    if what.upper() in CODES:
        code = CODES[what.upper()]
        return f"{what.upper()}: {code.title}\n\n{textwrap.fill(code.explanation, 80)}"
    if what in REASONS:
        return f"{what}\n\n{textwrap.fill(REASONS[what], 80)}"
    if what.isdigit() and int(what) in EXITS:
        return f"exit code {what}\n\n{textwrap.fill(EXITS[int(what)], 80)}"
    if what in STAGES:
        return _stage(STAGES[what])
    found = [
        (stage, metric)
        for stage in STAGES.values()
        for metric in stage.metrics
        if metric.name == what
    ]
    if found:
        return "\n\n".join(_metric(stage, metric) for stage, metric in found)
    known = [*CODES, *STAGES, *(m.name for s in STAGES.values() for m in s.metrics)]
    hint = near(what, known) or "mlgate explain lists everything"
    raise UsageError(f"nothing is known of {what!r}", hint=hint)


def _stage(stage: Stage[Any]) -> str:
    width = max(len(metric.name) for metric in stage.metrics)
    lines = [f"{stage.uses}: {stage.summary}", "", "measures:"]
    lines += [f"  {m.name:<{width}}  {m.meaning}" for m in stage.metrics]
    if stage.outputs:
        lines += ["", f"makes: {', '.join(stage.outputs)}"]
    return "\n".join(lines)


def _metric(stage: Stage[Any], metric: Metric) -> str:
    lines = [f"{metric.name} ({stage.uses})", "", metric.meaning, f"unit: {metric.unit}"]
    if metric.labels:
        lines.append(f"labels: {', '.join(metric.labels)}")
    if metric.compared_to:
        lines.append(f"can be compared to: {', '.join(metric.compared_to)}")
    if metric.better:
        lines.append(f"better: {metric.better}")
    higher = metric.better == "higher"
    if metric.compared_to:
        key = "max_drop" if higher else "max_increase"
        to = metric.compared_to[0]
        lines.append(f"\n  - {{metric: {metric.name}, compared_to: {to}, {key}: …}}")
    else:
        lines.append(f"\n  - {{metric: {metric.name}, {'min' if higher else 'max'}: …}}")
    return "\n".join(lines)
