"""docs/reference says what the code says: schemas, help of every command, codes and metrics."""

import json
from collections.abc import Callable, Iterator

import click
import pytest

from mlgate import schema
from mlgate.cli import COMMANDS, cli
from mlgate.documents import DOCUMENTS
from mlgate.error_codes import CODES, EXITS
from mlgate.stages import STAGES

Check = Callable[[str, str], None]


@pytest.mark.parametrize("name", ["spec", *DOCUMENTS])
def test_schemas(name: str, assert_file: Check) -> None:
    document = schema.spec() if name == "spec" else schema.document(name)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert_file(f"docs/reference/{name}.schema.json", text)


def _helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    context.help_option_names = ["-h", "--help"]
    yield name, command.get_help(context)
    if isinstance(command, click.Group) and name != "mlgate":
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _helps(found, f"{name} {inner}")


def test_commands(assert_file: Check) -> None:
    pages = list(_helps(cli, "mlgate"))
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        pages += _helps(command, f"mlgate {name}")
    text = "# Commands\n\nWhat `--help` says, of every command.\n"
    for name, page in pages:
        text += f"\n## {name}\n\n```text\n{page.rstrip()}\n```\n"
    assert_file("docs/reference/commands.md", text)


def test_codes_and_exit_codes(assert_file: Check) -> None:
    text = "# Codes\n\nWhat `mlgate explain CODE` says.\n\n## Exit codes\n\n"
    text += "".join(f"- **{code}** {meaning}\n" for code, meaning in EXITS.items())
    for heading, refusals in (("Problems of a spec", False), ("Refusals of mlgate verify", True)):
        text += f"\n## {heading}\n"
        for code, meaning in CODES.items():
            if code.startswith("MG4") == refusals:
                text += f"\n### {code}: {meaning.title}\n\n{meaning.explanation}\n"
    assert_file("docs/reference/codes.md", text)


def test_metrics(assert_file: Check) -> None:
    text = "# Metrics\n\nWhat each stage measures: the names that gates use.\n"
    for uses, stage in STAGES.items():
        text += f"\n## {uses}\n\n{stage.summary}\n\n"
        text += "| metric | unit | labels | compared to | meaning |\n|---|---|---|---|---|\n"
        for metric in stage.metrics:
            labels, against = ", ".join(metric.labels), ", ".join(metric.compared_to)
            meaning = metric.meaning.replace("|", "\\|")
            text += f"| `{metric.name}` | {metric.unit} | {labels} | {against} | {meaning} |\n"
    assert_file("docs/reference/metrics.md", text)
