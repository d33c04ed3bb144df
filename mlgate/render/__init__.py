"""A report as text that somebody or something reads.

Each format is a module of its own with `render(report, *, file, about) -> str`, pure: `file` is
how the reader calls the spec, `about` when and where the run was. `FORMATS` lists them all; every
`--format` offers what it lists. They are loaded when they are asked for.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlgate.run.report import Report

FORMATS: Final[dict[str, str]] = {
    "github": "mlgate.render.github",
    "html": "mlgate.render.html",
    "json": "mlgate.render.json",
    "junit": "mlgate.render.junit",
    "markdown": "mlgate.render.markdown",
    "sarif": "mlgate.render.sarif",
    "text": "mlgate.render.text",
}


def render(
    form: str, report: "Report", *, file: str = "mlgate.yaml", about: Sequence[str] = ()
) -> str:
    """The report in the format of that name. Raises `KeyError` for one that there is not."""
    text: str = importlib.import_module(FORMATS[form]).render(report, file=file, about=about)
    return text
