"""Policy files and waivers of a spec: read with places, and everything that is wrong with them.

A bare name (`production`) is a set that mlgate ships; anything else is a path from the spec's
folder, or a pattern. What a rule asks is compiled here, so a mistyped field is found before
anything is measured.
"""

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

from mlgate import document
from mlgate.errors import MlgateError, Position, Problem
from mlgate.evidence import Frozen, digest_of
from mlgate.policy.engine import Wrong, engine
from mlgate.policy.judge import unused
from mlgate.policy.rules import PlacedRule, Policies, PolicyFile, Rule, Waiver, WaiverFile
from mlgate.resources import POLICIES
from mlgate.spec.problems import explained, near, unwritable, validated

M = TypeVar("M", bound=Frozen)

_SHIPPED: Final = re.compile(r"[a-z][a-z0-9-]*")
_ALL: Final = re.compile(r"([\w.]+)\.all\(")
_TEXT: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def shipped() -> tuple[str, ...]:
    """Names of the policy sets that mlgate brings along."""
    return tuple(sorted(path.stem for path in POLICIES.glob("*.yaml")))


def read(root: document.Node, folder: Path) -> tuple[Policies, tuple[Problem, ...]]:
    """The policies that a spec names, and every problem in them. `day` is left open."""
    problems: list[Problem] = []
    rules: list[PlacedRule] = []
    for index, name in enumerate(_listed(root, "policies")):
        at = document.find(root, ("policies", index)).position
        for path, label in _files(name, folder, at, problems):
            rules += _rules(path, label, at, problems)
    problems += _twice(rules)
    waivers: list[Waiver] = []
    for index, name in enumerate(_listed(root, "waivers")):
        at = document.find(root, ("waivers", index)).position
        for path, label in _files(name, folder, at, problems, may_be_shipped=False):
            waivers += _waivers(path, label, at, problems)
    policies = Policies(rules=tuple(rules), waivers=tuple(waivers))
    for waiver in unused(policies):
        at = document.key_position(root, ("waivers",))
        names = [placed.rule.name for placed in rules]
        message = f"a waiver is for the rule {waiver.rule!r}, which no policy has"
        problems.append(Problem("MG503", message, at, near(waiver.rule, names)))
    return policies, tuple(problems)


def read_rules(path: Path, label: str) -> tuple[tuple[PlacedRule, ...], tuple[Problem, ...]]:
    """The rules of one file, called `label` in messages, and every problem in it."""
    problems: list[Problem] = []
    rules = _rules(path, label, Position(label, 1, 1), problems)
    problems += _twice(rules)
    return tuple(rules), tuple(problems)


def _listed(root: document.Node, key: str) -> list[str]:
    value = document.plain(document.find(root, (key,))) if _has(root, key) else []
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str)]


def _has(root: document.Node, key: str) -> bool:
    return isinstance(root, document.Mapping) and key in root.items


def _files(
    name: str,
    folder: Path,
    at: Position,
    problems: list[Problem],
    *,
    may_be_shipped: bool = True,
) -> Iterator[tuple[Path, str]]:
    """The files that a name stands for, and how messages call them."""
    if may_be_shipped and _SHIPPED.fullmatch(name) and not (folder / name).exists():
        if name in shipped():
            yield POLICIES / f"{name}.yaml", f"{name} (shipped)"
            return
        hint = near(name, shipped()) or f"shipped: {', '.join(shipped())}; or a path: ./{name}.yaml"
        problems.append(Problem("MG501", f"there is no policy set {name!r}", at, hint))
        return
    if "://" in name or "\0" in name:
        problems.append(Problem("MG501", "policies are local files", at))
        return
    found = sorted(glob.glob(str(folder / name), recursive=True))
    if not found:
        message = f"{name} matches no file: nothing would be asked"
        problems.append(Problem("MG501", message, at, "check the path, from the spec's folder"))
    for path in found:
        yield Path(path), _label(Path(path), folder, name)


def _label(path: Path, folder: Path, name: str) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return name


def _rules(path: Path, label: str, at: Position, problems: list[Problem]) -> list[PlacedRule]:
    read = _validated(path, label, at, PolicyFile, problems)
    if read is None:
        return []
    file, node, digest = read
    placed = []
    for index, rule in enumerate(file.rules):
        line = document.find(node, ("rules", index)).position.line
        placed.append(PlacedRule(rule=rule, file=label, digest=digest, line=line))
        problems += _expressions(rule, node, index)
    return placed


def _waivers(path: Path, label: str, at: Position, problems: list[Problem]) -> list[Waiver]:
    read = _validated(path, label, at, WaiverFile, problems)
    if read is None:
        return []
    file, node, _ = read
    seen: set[tuple[str, str]] = set()
    for index, waiver in enumerate(file.waivers):
        if waiver.last_day() is None:
            place = document.find(node, ("waivers", index, "expires")).position
            message = f"{waiver.expires!r} is no day, so the waiver counts as over"
            problems.append(Problem("MG503", message, place, "write it as 2026-12-31"))
        if (waiver.rule, waiver.scope) in seen:
            place = document.find(node, ("waivers", index)).position
            problems.append(Problem("MG503", f"{waiver.rule} is waived twice", place))
        seen.add((waiver.rule, waiver.scope))
        compiled = engine(report=False).compile(waiver.scope)
        if isinstance(compiled, Wrong):
            place = document.find(node, ("waivers", index, "scope")).position
            problems.append(Problem("MG502", compiled.message, place, compiled.hint))
    return list(file.waivers)


def _validated(
    path: Path, label: str, at: Position, model: type[M], problems: list[Problem]
) -> tuple[M, document.Node, str] | None:
    try:
        text = document.read(path, label)
    except MlgateError as error:
        problems.append(Problem("MG501", error.message, at, error.hint))
        return None
    node, wrong = document.parse(text, label)
    problems += wrong
    if node is None:
        if not wrong:
            message = "the file is empty: nothing would be asked"
            problems.append(Problem("MG501", message, Position(label, 1, 1)))
        return None
    found = validated(model, document.plain(node))
    if not isinstance(found, model):
        problems += explained(found, model, node, ())
        return None
    problems += unwritable(node, {model}, ())
    return found, node, digest_of(text.encode())


def _twice(rules: list[PlacedRule]) -> Iterator[Problem]:
    first: dict[str, PlacedRule] = {}
    for placed in rules:
        name = placed.rule.name
        if name in first:
            other = first[name]
            at = Position(placed.file, placed.line, 1)
            message = f"the rule {name!r} is there twice (first in {other.file}:{other.line})"
            yield Problem("MG504", message, at, "rename one")
        first.setdefault(name, placed)


def _expressions(rule: Rule, node: document.Node, index: int) -> Iterator[Problem]:
    """What is wrong with a rule's expressions, each at its place within the file."""
    for key, source in (("when", rule.when), ("assert", rule.assert_), ("message", rule.message)):
        if source is None:
            continue
        at = document.find(node, ("rules", index, key)).position
        compiled = engine(report=True).compile(source, text=key == "message")
        if isinstance(compiled, Wrong):
            place = _within(at, compiled)
            yield Problem("MG502", f"{rule.name}: {compiled.message}", place, compiled.hint)
        elif key == "assert":
            yield from _never_fails(rule, at)


def _within(at: Position, wrong: Wrong) -> Position:
    """A place within an expression, as a place in the file."""
    if wrong.line > 1 or at.text[at.column - 1 : at.column] in ("|", ">"):
        return Position(at.file, at.line + wrong.line, wrong.column, "")
    quote = 1 if at.text[at.column - 1 : at.column] in ("'", '"') else 0
    return Position(at.file, at.line, at.column + quote + wrong.column - 1, at.text)


def _never_fails(rule: Rule, at: Position) -> Iterator[Problem]:
    """Rules that hold whatever is found: the two doors that the language leaves open."""
    plain = _TEXT.sub("''", rule.assert_)
    if not re.search(r"\b(spec|report)\b", plain):
        message = f"{rule.name} reads neither spec nor report, so it always says the same"
        yield Problem("MG505", message, at)
    if re.search(r"\|\|\s*true\b|\btrue\s*\|\|", plain):
        yield Problem("MG505", f"{rule.name} can never fail: … || true", at)
    asked = f"{_TEXT.sub(repr(''), rule.when)} {plain}"
    for match in _ALL.finditer(plain):
        many = match[1]
        guarded = f"size({many})" in asked or f"{many}.exists(" in asked
        if not guarded:
            message = f"{rule.name}: {many}.all(…) holds for an empty list, too"
            hint = f"ask for one first: size({many}) > 0 && {many}.all(…)"
            yield Problem("MG505", message, at, hint)
