"""What is loaded when, and that the arrows between modules point one way."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mlgate.cli import COMMANDS
from tests.probed import ROOT, environment

HEAVY = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"][
        "flake8-tidy-imports"
    ]["banned-module-level-imports"]
)


def loaded(code: str, folder: Path) -> set[str]:
    """Top-level packages that a fresh process has loaded after running `code`."""
    show = "; import sys; sys.stderr.write(' '.join({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + show],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_the_command_line_loads_no_heavy_library_and_not_even_pydantic(tmp_path: Path) -> None:
    found = loaded("import mlgate.cli", tmp_path)
    assert "click" in found
    assert not found & (HEAVY | {"pydantic", "yaml", "jinja2", "rich", "rfc8785"})


def test_no_command_loads_a_heavy_library(tmp_path: Path) -> None:
    modules = ", ".join(f"mlgate.cli.{name}" for name in COMMANDS)
    found = loaded(f"import {modules}", tmp_path)
    assert "pydantic" in found
    assert not found & HEAVY


def test_linting_loads_no_renderer_and_no_engine(tmp_path: Path) -> None:
    template = ROOT / "templates" / "digits"
    code = (
        "from mlgate.spec.lint import load; from pathlib import Path; import mlgate.cli.lint;"
        f"load(Path({str(template)!r}) / 'mlgate.yaml')"
    )
    assert not loaded(code, tmp_path) & (HEAVY | {"jinja2", "rich"})


@pytest.mark.slow
def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_nothing_prints_outside_of_the_command_line() -> None:
    for file in (ROOT / "mlgate").rglob("*.py"):
        if "cli" not in file.relative_to(ROOT).parts:
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"^\s*print\(", text, re.MULTILINE), file


def test_every_module_says_in_one_line_what_it_is() -> None:
    for file in (ROOT / "mlgate").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        first = text.split("\n", 1)[0]
        assert not text or re.match(r'^r?""".{10,}', first), file


def test_no_module_is_named_for_nothing() -> None:
    empty = {"utils", "util", "common", "core", "base", "manager", "helpers", "misc", "lib"}
    assert not {file.stem for file in (ROOT / "mlgate").rglob("*.py")} & empty


@pytest.mark.parametrize("package", ["pickle", "marshal", "shelve", "dill", "cloudpickle"])
def test_nothing_is_unpickled(package: str) -> None:
    for file in (ROOT / "mlgate").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(rf"^\s*(import|from) {package}\b", text, re.MULTILINE), file
        assert "shell=True" not in text, file
