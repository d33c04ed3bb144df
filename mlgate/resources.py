"""Where the data that mlgate ships lies: in an installed package, or beside it in a checkout."""

from pathlib import Path
from typing import Final

_PACKAGED: Final = Path(__file__).parent / "templates"
_CHECKOUT: Final = Path(__file__).parent.parent / "templates"

TEMPLATES: Final = _PACKAGED if _PACKAGED.exists() else _CHECKOUT
