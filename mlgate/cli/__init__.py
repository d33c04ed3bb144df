"""The command line: the only place that prints, reads argv, environment and clock, and exits.

One module per command, loaded when it is called: `mlgate --help` pays for none of them.
"""

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import tempfile
import traceback
import warnings
from types import FrameType
from typing import Final, NoReturn

import click

from mlgate import __version__
from mlgate.cli.terminal import echo
from mlgate.errors import MlgateError, SpecError, without_passwords

# The name, and what `mlgate --help` says of it: a test holds it to the command's own first line.
COMMANDS: Final = {
    "init": "Write a project that runs, from a template.",
    "check": "Run every gate and say whether the model may ship.",
    "lint": "Find every problem in a spec, without running anything.",
    "plan": "Show what would run, in what order, and what is cached.",
    "compile": "Write the CI files that run the same plan: a GitHub workflow or a Tekton pipeline.",
    "run": "Run one stage, as a CI job does: results come from and go to a folder.",
    "judge": "Recompute a stored run's verdict from its evidence alone.",
    "verify": "Say whether exactly these files were approved, and whether the evidence still says so.",
    "sign": "Sign a finished run: what was made of what, which gates held, and the verdict.",
    "promote": "Move traffic to an approved model, step by step, and back when harm is proven.",
    "canary": "Watch, forecast and steer a rollout of a canary stage.",
    "report": "Render a stored run again, in another format.",
    "diff": "Put two runs side by side.",
    "history": "Show a metric over the stored runs.",
    "policy": "List, check and test the rules that an organisation asks of every model.",
    "schema": "Print the JSON Schema of mlgate.yaml, or of a document that mlgate writes.",
    "explain": "Explain an error code, a metric or an exit code.",
    "doctor": "Say what this machine can run, and why not the rest.",
    "completion": "Print the completion script for a shell.",
}

_EPILOG: Final = """\b
Exit codes:
  0  pass (warnings included)      3  something could not be measured
  1  a gate failed                 4  inconclusive: not enough evidence
  2  the spec or the usage is wrong

\b
Start with:
  mlgate init digits --template digits
  mlgate check digits
"""


class _Commands(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"mlgate.cli.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib  # noqa: PLC0415  # only a typing mistake pays for it

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="mlgate")
def cli() -> None:
    """Gates for machine-learning models, as code.

    One mlgate.yaml says what must hold before a model may ship; mlgate measures it, judges it,
    and keeps the evidence.
    """


def main() -> NoReturn:
    """Run the command line and exit with the documented code; no traceback reaches anybody."""
    _prepare()
    try:
        code = _outcome()
    except KeyboardInterrupt:  # while an error was being told
        say("stopped")
        code = 130
    _leave(code)


def _prepare() -> None:
    """Make this process alike in every environment."""
    _open_standard_streams()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a background job
            signal.signal(number, _stop)
    # Warnings of libraries are for their developers; as errors they would decide a verdict.
    warnings.simplefilter("ignore")
    # Plugins of pydantic are other people's code that would see every spec; and cost time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without ✓ still gets its verdict
            stream.reconfigure(errors="backslashreplace")


def _open_standard_streams() -> None:
    """Where somebody closed a standard stream, the next file would take its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    """The first signal stops what is going on; another one does not wait for that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is _stop:
            signal.signal(number, _stop_at_once)
    raise KeyboardInterrupt


def _stop_at_once(_signum: int, _frame: FrameType | None) -> None:
    os._exit(130)


def _outcome() -> int:
    """Run the command, tell what stopped it, and give the exit code."""
    try:
        code = cli.main(standalone_mode=False, prog_name="mlgate")
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as wrong:
        with contextlib.suppress(OSError):
            wrong.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        say("stopped")
        return 130
    except MlgateError as error:
        show(error)
        return error.exit_code
    except BrokenPipeError:
        os._exit(3)  # whoever read our output has gone; there is nobody to tell
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return _unexpected(error)
        say(f"standard output cannot be written: {error.strerror}")
        os._exit(3)
    except Exception as error:  # noqa: BLE001  # the last door: a line, not a traceback
        return _unexpected(error)


def say(text: str) -> None:
    """One line for people, on standard error."""
    _tell(f"mlgate: {text}")


def show(error: MlgateError) -> None:
    """An error as people read it: every problem with its place, the message, the hint."""
    if isinstance(error, SpecError):
        for problem in error.problems:
            for line in str(problem).split("\n"):
                _tell(line)
        if error.more:
            _tell(f"… and {error.more:,} more problems")
    _tell(f"mlgate: {error.message}", colour="red")
    if error.hint:
        _tell(f"hint: {error.hint}")


def _tell(text: str, colour: str | None = None) -> None:
    # Nobody listens, or standard error is closed or full: the exit code still says it.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        echo(without_passwords(text), err=True, colour=colour)


def _leave(code: int) -> NoReturn:
    """Exit, once what was said has arrived: a report on a full disk is not a pass."""
    try:
        if sys.stdout is not None:  # somebody may have closed it
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell.
        os._exit(code or 3)
    except OSError as error:
        say(f"standard output cannot be written: {error.strerror}")
        os._exit(3)
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:  # what it could not tell is told by the exit code
        os._exit(code)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the answer is out: it stays what it is
    sys.exit(code)


def _unexpected(error: Exception) -> int:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="mlgate-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            traceback.print_exception(error, file=log)
    except OSError as full:
        say(f"unexpected {type(error).__name__}: {error} (no log: {full.strerror})")
        return 3
    _tell(f"mlgate: unexpected {type(error).__name__}: see {log.name}", colour="red")
    return 3
