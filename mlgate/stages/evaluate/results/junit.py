"""JUnit XML, as pytest, Maven, Go and most test runners write it: one test case, one item."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.parsers import expat

from mlgate.errors import StageError
from mlgate.stages.evaluate.results.items import Found, Item

_DEEPEST: Final = 32
_ROOTS: Final = ("testsuites", "testsuite")
_OUTCOMES: Final = ("failure", "error", "skipped")


class _Reader:
    """Test cases out of expat's events: no tree is built, and nothing is expanded."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._depth = 0
        self._case: dict[str, str] | None = None
        self._outcome = ""
        self._reason = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name not in _ROOTS:
            raise StageError(f"this XML is a <{name}>, and JUnit's is a <testsuites>")
        if self._depth > _DEEPEST:
            raise StageError(f"this XML is nested deeper than {_DEEPEST} levels")
        if name == "testcase":
            self._case, self._outcome, self._reason = attributes, "", ""
        elif self._case is not None and name in _OUTCOMES:
            self._outcome = name
            self._reason = attributes.get("message", "")[:200]

    def end(self, name: str) -> None:
        self._depth -= 1
        if name != "testcase" or self._case is None:
            return
        group = self._case.get("classname", "")
        unit = f"{group}::{self._case.get('name', '')}"
        skipped = self._outcome == "skipped"
        passed = None if skipped else not self._outcome
        reason = self._reason or self._outcome
        self.items.append(Item(unit, passed, group=group, reason=reason, skipped=skipped))
        self._case = None


def read_junit(path: Path) -> Found:
    """Every test case; one that was skipped counts neither way. Raises `StageError` for what is not JUnit XML."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = _refuse_entities
    try:
        for block in _blocks(path):
            parser.Parse(block, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise StageError(f"{path.name} is not XML: {error}") from None
    return Found("junit", tuple(reader.items))


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 16):
            yield block


def _refuse_entities(*_: object) -> None:
    raise StageError("this XML declares entities, which no test report does")
