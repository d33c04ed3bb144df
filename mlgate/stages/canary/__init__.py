"""Canary: traffic moves to a new version, watched, and comes back when harm is proven."""

from collections.abc import Iterator
from typing import Final

from mlgate.errors import StageError
from mlgate.evidence import Evidence
from mlgate.rollout.trigger import METRICS, conflict
from mlgate.stage import Job, Stage
from mlgate.stages.canary.spec import Canary


def _measure(job: Job[Canary]) -> Evidence:
    raise StageError(
        f"{job.stage} moves traffic, which no check does",
        hint="after the verdict: mlgate promote",
    )


def _conflicts(options: Canary) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    for number, trigger in enumerate(options.gates):
        if found := conflict(trigger):
            field, message = found
            yield ("gates", number, field), message, None
    if not options.gates:
        return  # lint says that a stage without gates checks nothing
    try:
        options.course()
    except ValueError as error:
        message = str(error).split("Value error, ")[-1].split(" [type=")[0]
        yield ("steps",), message, None
    labelled = any(trigger.labelled for trigger in options.gates)
    if labelled and options.source.labels is None:
        yield ("source",), "a trigger needs labels, and the source has none", "add labels: FILE"


STAGE: Final = Stage(
    uses="canary",
    summary="Traffic to a new version, step by step; back when harm is proven",
    options=Canary,
    measure=_measure,
    metrics=METRICS,
    judged=("model",),
    references=("stable",),
    deploys=True,
    conflicts=_conflicts,
)
