"""The stages there are, by hand: adding one is a line here."""

from collections.abc import Mapping
from typing import Any, Final

from mlgate.stage import Stage
from mlgate.stages import benchmark, quantize, validate

STAGES: Final[Mapping[str, Stage[Any]]] = {
    stage.uses: stage for stage in (validate.STAGE, quantize.STAGE, benchmark.STAGE)
}
