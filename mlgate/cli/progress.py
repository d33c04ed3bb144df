"""What a running check does, on standard error: a live view on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlgate.cli.terminal import remark
from mlgate.errors import printable
from mlgate.render.text import MARKS
from mlgate.run.report import Errored, Ran, Skipped
from mlgate.run.scheduler import Event


@contextmanager
def watch() -> Iterator[Callable[[Event], None]]:
    """Gives a function that takes events and shows them."""
    if sys.stderr is not None and sys.stderr.isatty():
        with _live() as on_event:
            yield on_event
    else:
        yield _line


def _line(event: Event) -> None:
    if event.what == "started":
        remark(f"{event.stage}: started ({event.detail})")
    elif event.what == "retry":
        remark(f"{event.stage}: trying again ({event.detail})")
    elif event.what == "logged":
        remark(f"{event.stage}: see {event.detail}")
    elif event.what in ("finished", "cached") and event.result is not None:
        remark(f"{event.stage}: {_came_to(event)}")


@contextmanager
def _live() -> Iterator[Callable[[Event], None]]:
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

        def on_event(event: Event) -> None:
            now = time.monotonic()
            if event.what in ("started", "retry"):
                doing[event.stage] = (event.detail, now, Spinner("dots"))
            elif event.progress is not None and event.stage in doing:
                _, since, spinner = doing[event.stage]
                share = ""
                if event.progress.done is not None and event.progress.total:
                    share = f" {100 * event.progress.done // event.progress.total} %"
                doing[event.stage] = (event.progress.message + share, since, spinner)
            elif event.what == "logged":
                live.console.print(Text(f"  {event.stage}: see {printable(event.detail)}"))
            elif event.result is not None:
                started = doing.pop(event.stage, None)
                took = f" in {now - started[1]:.1f} s" if started else ""
                skipped = isinstance(event.result, Skipped)
                mark = "–" if skipped else MARKS[event.result.outcome]
                live.console.print(Text(f"{mark} {event.stage}: {_came_to(event)}{took}"))

        yield on_event


def _came_to(event: Event) -> str:
    match event.result:
        case Skipped(because=because):
            return f"not run: {because}"
        case Errored(message=message) as broke:
            return f"{broke.outcome}: {printable(message)}"
        case Ran(cached=cached) as ran:
            return f"{ran.outcome}{' (cached)' if cached else ''}"
        case None:
            return event.what
