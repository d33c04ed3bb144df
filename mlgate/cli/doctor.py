"""`mlgate doctor`: what this machine can run."""

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator

import click

from mlgate import __version__
from mlgate.documents import CheckRow, DoctorDocument
from mlgate.machine import cores, gpus, memory_bytes
from mlgate.stages import STAGES


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def command(form: str) -> None:
    """Say what this machine can run, and why not the rest."""
    rows = list(_rows())
    if form == "json":
        click.echo(DoctorDocument(checks=tuple(rows)).printed(), nl=False)
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = click.style("✓", fg="green") if row.ok else click.style("–", fg="yellow")
        click.echo(f"{mark} {row.name:<{width}}  {row.says}")
        if row.hint:
            click.echo(f"  {'':<{width}}  hint: {row.hint}")


def _rows() -> Iterator[CheckRow]:
    python = platform.python_version()
    yield _row("mlgate", True, f"{__version__} on Python {python}, {platform.machine()}")
    memory = memory_bytes()
    size = f", {memory / 2**30:.0f} GiB of memory" if memory else ""
    yield _row("machine", True, f"{cores()} cores{size}")
    for stage in STAGES.values():
        # One of the two runtimes is enough.
        missing = [
            name
            for name in stage.packages
            if not _installed(name) and not _installed(name.removesuffix("-gpu"))
        ]
        if missing:
            hint = f"pip install {' '.join(missing)}"
            yield _row(stage.uses, False, f"lacks {', '.join(missing)}", hint)
        else:
            yield _row(stage.uses, True, stage.summary)
    for stage in STAGES.values():
        yield from stage.doctor()
    found = gpus()
    yield _row("gpu", bool(found), ", ".join(found) or "no NVIDIA driver is loaded")


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _row(name: str, ok: bool, says: str, hint: str | None = None) -> CheckRow:
    return CheckRow(name=name, ok=ok, says=says, hint=hint)
