"""Where the data that mlgate ships lies: in an installed package, or beside it in a checkout."""

from pathlib import Path
from typing import Final


def _shipped(name: str) -> Path:
    packaged = Path(__file__).parent / name
    return packaged if packaged.exists() else Path(__file__).parent.parent / name


TEMPLATES: Final = _shipped("templates")
POLICIES: Final = _shipped("policies")
