"""What this machine lacks to validate data, beside packages."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mlgate.documents import CheckRow


def checks() -> Iterator[CheckRow]:
    """Whether Spark can run here, and whether libraries start as fast as they can."""
    works = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None
    yield CheckRow(
        name="spark",
        ok=works,
        says="engine: spark works" if works else "engine: spark is not available",
        hint=None if works else "pip install 'mlgate[spark]', and Java 17",
    )
    yield _bytecode()


def _bytecode() -> CheckRow:
    """Without bytecode Great Expectations compiles 2,500 modules at each start."""
    package = importlib.util.find_spec("great_expectations")
    compiled = bool(
        package and package.origin and (Path(package.origin).parent / "__pycache__").exists()
    )
    if compiled or not (sys.dont_write_bytecode or os.environ.get("PYTHONDONTWRITEBYTECODE")):
        says = "libraries are compiled, or will be at their first import"
        return CheckRow(name="bytecode", ok=True, says=says, hint=None)
    hint = "python -m compileall, UV_COMPILE_BYTECODE=1, or unset PYTHONDONTWRITEBYTECODE"
    says = "libraries are compiled anew at each start"
    return CheckRow(name="bytecode", ok=False, says=says, hint=hint)
