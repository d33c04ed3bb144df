"""`mlgate completion`: tab completion for a shell."""

import click
from click.shell_completion import get_completion_class

from mlgate.cli import cli


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for a shell.

    For bash, add to ~/.bashrc: eval "$(mlgate completion bash)"
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "mlgate", "_MLGATE_COMPLETE").source())
