"""What a spec says of metrics: the task, and metrics of a user's own."""

from typing import Literal, Self

from pydantic import Field, model_validator

from mlgate.evidence import Frozen
from mlgate.stage import Duration, FileInput

Task = Literal["classification", "regression", "ranking", "embedding", "detection", "text"]


class PythonMetric(Frozen):
    """A function in a Python file, run in the stage's own process.

    It takes `outputs`, a dict of NumPy arrays, and `labels`, an array or None; it returns one
    number per sample (an array) or one number.
    """

    python: FileInput = Field(description="The Python file.")
    function: str = Field(
        "metric", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="The function in it."
    )


class CommandMetric(Frozen):
    """A program, run without a shell; the path of an `.npz` file is added as the last argument.

    The file holds every output by its name and the labels as `labels`. The program prints one
    number per sample and line.
    """

    command: tuple[str, ...] = Field(min_length=1, description="Program and arguments.")
    program: FileInput | None = Field(
        None,
        description="The program's file, whose content is part of the result's key; default: the "
        "first word of `command`, where that is a path. A relative one is beside the spec.",
    )
    timeout: Duration = Field("1m", description="A run that takes longer is an error.")

    @model_validator(mode="after")
    def _program_is_an_input(self) -> Self:
        if self.program is None and "/" in self.command[0]:
            object.__setattr__(self, "program", FileInput(path=self.command[0]))
        return self
