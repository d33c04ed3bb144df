"""News of a running check, on standard error: a live view on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from mlgate.errors import harmless
from mlgate.render.text import MARKS
from mlgate.run.report import Broke, NotRun, Ran
from mlgate.run.scheduler import News


@contextmanager
def watch() -> Iterator[Callable[[News], None]]:
    """Gives a function that takes news and shows it."""
    if sys.stderr.isatty():
        with _live() as tell:
            yield tell
    else:
        yield _line


def _line(news: News) -> None:
    if news.what == "started":
        click.echo(f"{news.stage}: started ({harmless(news.detail)})", err=True)
    elif news.what == "retry":
        click.echo(f"{news.stage}: trying again ({harmless(news.detail)})", err=True)
    elif news.what in ("finished", "cached") and news.result is not None:
        click.echo(f"{news.stage}: {_came_to(news)}", err=True)


@contextmanager
def _live() -> Iterator[Callable[[News], None]]:
    from rich.console import Console  # noqa: PLC0415  # only a terminal pays for it
    from rich.live import Live  # noqa: PLC0415
    from rich.spinner import Spinner  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True)
    doing: dict[str, tuple[str, float, Spinner]] = {}

    def view() -> Table:
        table = Table.grid(padding=(0, 1))
        for stage, (message, since, spinner) in doing.items():
            table.add_row(spinner, stage, Text(message), f"{time.monotonic() - since:.0f} s")
        return table

    with Live(console=console, get_renderable=view, transient=True, refresh_per_second=8) as live:

        def tell(news: News) -> None:
            now = time.monotonic()
            if news.what in ("started", "retry"):
                doing[news.stage] = (news.detail, now, Spinner("dots"))
            elif news.progress is not None and news.stage in doing:
                _, since, spinner = doing[news.stage]
                share = ""
                if news.progress.done is not None and news.progress.total:
                    share = f" {100 * news.progress.done // news.progress.total} %"
                doing[news.stage] = (news.progress.message + share, since, spinner)
            elif news.result is not None:
                started = doing.pop(news.stage, None)
                took = f" in {now - started[1]:.1f} s" if started else ""
                skipped = isinstance(news.result, NotRun)
                mark = "–" if skipped else MARKS[news.result.outcome]
                live.console.print(Text(f"{mark} {news.stage}: {_came_to(news)}{took}"))

        yield tell


def _came_to(news: News) -> str:
    match news.result:
        case NotRun(because=because):
            return f"not run: {because}"
        case Broke(message=message) as broke:
            return f"{broke.outcome}: {harmless(message)}"
        case Ran(cached=cached) as ran:
            return f"{ran.outcome}{' (cached)' if cached else ''}"
        case None:
            return news.what
