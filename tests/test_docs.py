"""The documents: every link leads somewhere, every spec in them is one, every command exists."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate.cli import COMMANDS
from mlgate.error_codes import CODES
from mlgate.errors import SpecError
from mlgate.spec.lint import load
from tests.probed import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("templates/*/*.md")])


def blocks(page: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a page in a language."""
    text = page.read_text(encoding="utf-8")
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_spec_in_a_page_is_one(page: Path) -> None:
    for text in blocks(page, "yaml"):
        if not re.search(r"^version: 1$", text, re.MULTILINE) or "…" in text:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "mlgate.yaml"
            file.write_text(text)
            try:
                load(file)
            except SpecError as error:
                pytest.fail("\n".join(str(problem) for problem in error.problems))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_code_in_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in [*blocks(page, "sh"), *blocks(page, "bash"), *blocks(page, "console")]:
        for name in re.findall(r"^(?:\$ )?mlgate ([a-z]+)", block, re.MULTILINE):
            assert name in COMMANDS, name
    assert set(re.findall(r"\bMG[0-9]{3}\b", text)) <= {*CODES}
