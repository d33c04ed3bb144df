"""Arguments that several commands take, each declared once."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from mlgate.errors import Problem, SpecError, UsageError, printable
from mlgate.spec.lint import load
from mlgate.spec.spec import FILE, Spec, locate

F = TypeVar("F", bound=Callable[..., Any])

spec_argument = click.argument(
    "spec", required=False, type=click.Path(path_type=Path), metavar="[SPEC]"
)


def spec_options(command: F) -> F:
    """SPEC, `--profile` and `--set`."""
    for option in (
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="Give a parameter of the spec; may be repeated.",
        ),
        click.option("--profile", metavar="NAME", help="Apply a profile of the spec."),
        spec_argument,
    ):
        command = option(command)
    return command


def read_spec(spec: Path | None, profile: str | None, settings: Sequence[str]) -> Spec:
    """The spec that the arguments name. Raises `SpecError`, `UsageError`."""
    params = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write --set NAME=VALUE")
        params[name] = value
    file = locate(spec)
    try:
        return load(file, profile=profile, params=params, env=os.environ)
    except SpecError as error:
        raise SpecError(placed(error.problems, file), more=error.more) from None


def given_params(params: str | None) -> tuple[str, ...]:
    """`--params`, a JSON object of strings, as the settings that `--set` takes."""
    try:
        given = json.loads(params or "{}")
    except ValueError:
        given = None
    if not isinstance(given, Mapping) or not all(isinstance(v, str) for v in given.values()):
        raise UsageError("--params is no JSON object of strings")
    return tuple(f"{name}={value}" for name, value in given.items())


def placed(problems: Sequence[Problem], file: Path) -> tuple[Problem, ...]:
    """Problems as seen from the current folder, where terminals and editors can follow them."""
    return tuple(
        replace(p, position=replace(p.position, file=str(file.parent / p.position.file)))
        for p in problems
    )


def file_of(spec: Path | None) -> str | None:
    """The name of the spec that an argument means: a folder's mlgate.yaml; None without one."""
    if spec is None:
        return None
    return FILE if spec.is_dir() else spec.name


def seen_from_here(file: str, spec: Path | None) -> str:
    """The file of a stored run's spec, as `check` of it would call it from the current folder."""
    return printable(str(root_of(spec) / file))


def say_which(file: str) -> None:
    """Tell whose run is shown, where it is not the one that a folder is expected to hold."""
    if Path(file).name != FILE:
        click.echo(f"spec: {file}", err=True)


def root_of(spec: Path | None) -> Path:
    """The folder that holds the spec, which may be wrong or gone: its runs are beside it."""
    path = Path() if spec is None else spec
    return path if path.is_dir() else path.parent
