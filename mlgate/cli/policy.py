"""`mlgate policy`: the rules of an organisation, listed and tested."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from mlgate import document
from mlgate.errors import Problem, SpecError, UsageError
from mlgate.policy.cases import Case, CaseFile, Tested, test
from mlgate.policy.rules import PlacedRule
from mlgate.resources import POLICIES
from mlgate.spec.policies import read_rules, shipped
from mlgate.spec.problems import explained, validated

_FLOOR: Final = 0.9


@click.group("policy")
def command() -> None:
    """List, check and test the rules that an organisation asks of every model.

    policies: in mlgate.yaml names them. A rule is CEL over the spec and the report, checked before it runs; see docs/policies.md.
    """


@command.command("list")
def list_() -> None:
    """List the policy sets that mlgate ships, and their rules."""
    for name in shipped():
        rules = _rules(POLICIES / f"{name}.yaml", name)
        click.echo(f"{name}")
        for placed in rules:
            click.echo(f"  {placed.rule.name:38} {placed.rule.description}")


@command.command("check")
@click.argument("files", nargs=-1, required=True)
def check(files: tuple[str, ...]) -> None:
    """Compile every rule of FILES: fields, types, and rules that can never fail.

    Exit code 2 when there is a problem, each at file:line:column.
    """
    count = 0
    for name in files:
        for path in _found(name):
            count += len(_rules(path, str(path)))
    click.echo(f"{_many(count, 'rule')}, no problems")


@command.command("test")
@click.argument("policies", nargs=-1, required=True)
@click.option(
    "--cases", "folder", type=click.Path(path_type=Path), help="Folder of the cases. [tests beside]"
)
@click.option("--filter", "name", help="Only rules whose name holds this text.")
def test_(policies: tuple[str, ...], folder: Path | None, name: str | None) -> None:
    """Judge each rule of POLICIES on its cases, and each small change of it.

    The cases of POLICY.yaml are in tests/POLICY.yaml beside it: facts, and what the rule must come
    to on them. Exit code 1 when a case comes out otherwise, a rule has no case that passes or none
    that fails, or fewer than nine of ten changes are noticed. The worst of all files counts.
    """
    failed = False
    for given in policies:
        for path in _found(given):
            failed |= not _tested(path, folder, name)
    raise SystemExit(1 if failed else 0)


def _tested(path: Path, folder: Path | None, name: str | None) -> bool:
    rules = _rules(path, str(path))
    cases = _cases((folder or path.parent / "tests") / path.name)
    if name is not None:
        rules = [placed for placed in rules if name in placed.rule.name]
        cases = [case for case in cases if name in case.rule]
        if not rules or not cases:
            raise UsageError(f"{path}: no rule with a case is called …{name}…")
    found = test(rules, cases)
    _tell(path, len(rules), found)
    return not found.failures and found.killed >= _FLOOR


def _tell(path: Path, rules: int, found: Tested) -> None:
    for failure in found.failures:
        click.echo(f"{path}: {failure.rule}: {failure.message}", err=True)
    if found.killed < _FLOOR:
        for survivor in found.survivors:
            click.echo(f"{path}: {survivor.rule}: {survivor.message}", err=True)
    noticed = found.mutants - len(found.survivors)
    click.echo(
        f"{path}: {_many(rules, 'rule')}, {_many(found.cases, 'case')}, "
        f"{_many(len(found.failures), 'failure')}; {noticed} of {found.mutants} changes noticed"
    )


def _found(name: str) -> Sequence[Path]:
    """The files that a name stands for: a shipped set, a path or a pattern."""
    if name in shipped() and not Path(name).exists():
        return [POLICIES / f"{name}.yaml"]
    paths = [Path(path) for path in sorted(glob.glob(name, recursive=True))]
    if not paths:
        raise UsageError(f"{name} matches no file", hint=f"shipped sets: {', '.join(shipped())}")
    return paths


def _rules(path: Path, label: str) -> list[PlacedRule]:
    rules, problems = read_rules(path, label)
    if problems:
        raise SpecError(problems)
    return list(rules)


def _cases(path: Path) -> list[Case]:
    node, problems = document.parse(document.read(path, str(path)), str(path))
    found: tuple[Problem, ...] = problems
    if node is not None and not problems:
        file = validated(CaseFile, document.plain(node))
        if isinstance(file, CaseFile):
            return list(file.cases)
        found = tuple(explained(file, CaseFile, node, ()))
    if not found:
        raise UsageError(f"{path} holds no cases")
    raise SpecError(found)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
