"""`mlgate init`: a project that runs."""

import json
import shutil
from pathlib import Path

import click

from mlgate import schema
from mlgate.errors import MlgateError, UsageError
from mlgate.files import FOLDER
from mlgate.resources import TEMPLATES
from mlgate.spec.problems import near


def templates() -> list[str]:
    return sorted(path.name for path in TEMPLATES.iterdir() if (path / "mlgate.yaml").exists())


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option(
    "--template", metavar="NAME", default="digits", show_default=True, help="What it is about."
)
@click.option("--list", "listing", is_flag=True, help="List the templates and exit.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
def command(folder: Path | None, template: str, listing: bool, dry_run: bool) -> None:
    """Write a project that runs, from a template.

    DIR is made if it is not there; without it, a folder named like the template. Nothing that
    exists is overwritten; a README.md or .gitignore that is there stays.
    """
    if listing:
        for name in templates():
            first = (TEMPLATES / name / "README.md").read_text().splitlines()[0].lstrip("# ")
            click.echo(f"{name:<10} {first}")
        return
    if template not in templates():
        hint = near(template, templates()) or f"templates: {', '.join(templates())}"
        raise UsageError(f"there is no template {template!r}", hint=hint)
    target = folder or Path(template)
    source = TEMPLATES / template
    files = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file() and not {FOLDER, "__pycache__"} & set(path.relative_to(source).parts)
    ]
    # A repository has these two already; the project does without its own.
    files = [
        path
        for path in files
        if path.relative_to(source).as_posix() not in ("README.md", ".gitignore")
        or not (target / path.relative_to(source)).exists()
    ]
    taken = [path for path in files if (target / path.relative_to(source)).exists()]
    if taken:
        raise UsageError(
            f"{target / taken[0].relative_to(source)} exists already: nothing was written",
            hint="choose another folder: mlgate init DIR",
        )
    try:
        for path in files:
            written = target / path.relative_to(source)
            if dry_run:
                click.echo(f"would write {written}")
                continue
            written.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, written)
        if dry_run:
            return
        (target / FOLDER).mkdir(exist_ok=True)
        (target / FOLDER / "mlgate.schema.json").write_text(json.dumps(schema.spec(), indent=1))
    except OSError as error:
        raise MlgateError(f"{target} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {len(files)} files to {target}")
    click.echo(f"next: mlgate check {target}")
