"""The stages there are, by hand: adding one is a line here."""

from collections.abc import Mapping
from typing import Any, Final

from mlgate.stage import Stage
from mlgate.stages import benchmark, canary, evaluate, quantize, slim, validate

STAGES: Final[Mapping[str, Stage[Any]]] = {
    stage.uses: stage
    for stage in (
        validate.STAGE,
        evaluate.STAGE,
        quantize.STAGE,
        benchmark.STAGE,
        slim.STAGE,
        canary.STAGE,
    )
}


def references() -> tuple[str, ...]:
    """Everything that some stage compares with, sorted: what `compared_to` may name."""
    return tuple(sorted({name for stage in STAGES.values() for name in stage.references}))
