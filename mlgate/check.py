"""The main job: plan, execute, judge, report, and leave a record that can be judged again."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mlgate.errors import StoreError
from mlgate.files import FOLDER
from mlgate.render import render
from mlgate.run import record
from mlgate.run.execute import execute
from mlgate.run.plan import Key, Plan, keys, resolve, terms_of
from mlgate.run.record import Checked, run_name
from mlgate.run.report import Found, judge
from mlgate.run.scheduler import OnEvent
from mlgate.sources import DigestCache
from mlgate.spec.spec import Spec

# What a run's record has for people and other tools, and the format of each.
RECORDED: Final = {
    "report.html": "html",
    "report.md": "markdown",
    "junit.xml": "junit",
    "results.sarif": "sarif",
}


def prepare(
    spec: Spec,
    *,
    only: Iterable[str] = (),
    now: datetime,
    include_deploys: bool = False,
    use_cache: bool = True,
) -> tuple[Plan, dict[str, Key]]:
    """The plan and every node's key; reads every input, but for those that a cache knows."""
    plan = resolve(spec, only=only, include_deploys=include_deploys)
    path = spec.folder / FOLDER / "cache" / "digests.json"
    digests = DigestCache(path, int(now.timestamp() * 1e9), fresh=not use_cache)
    found = keys(plan, lambda source: digests.located(source, spec.folder))
    with contextlib.suppress(StoreError):
        digests.save()
    return plan, found


def check(
    spec: Spec,
    *,
    only: Iterable[str] = (),
    use_cache: bool = True,
    now: Callable[[], datetime],
    on_event: OnEvent = lambda _: None,
) -> Checked:
    """Run every stage, judge it, and keep the record. `now` is the clock, aware."""
    started = now()
    plan, found = prepare(spec, only=only, now=started, use_cache=use_cache)
    run = run_name(started)
    results = execute(
        plan, found, run, now=now, started=started, on_event=on_event, use_cache=use_cache
    )
    return keep(plan, results, run=run, started=started, ended=now())


def keep(
    plan: Plan, found: Mapping[str, Found], *, run: str, started: datetime, ended: datetime
) -> Checked:
    """The report of what was found, and its record on disk under the name `run`."""
    root = plan.spec.folder / FOLDER
    day = started.astimezone(UTC).date().isoformat()
    report = judge(terms_of(plan, found, day=day), found)
    written = record.described(plan, report, run, started=started, ended=ended)
    checked = Checked(report, root / "runs" / run, plan.spec.file, record.about(written))
    record.write(root, checked, written, rendered(checked))
    return checked


def rendered(checked: Checked) -> dict[str, str]:
    """Every file that a run's record has for people and other tools.

    They call the spec as its repository does, for that is how services find its lines.
    """
    file = _in_repository(checked)
    return {
        name: render(form, checked.report, file=file, about=checked.about)
        for name, form in RECORDED.items()
    }


def _in_repository(checked: Checked) -> str:
    """The spec's path from the root of the git repository around it, or its name without one."""
    # .mlgate/runs/<run>, beside the spec
    beside: Path = checked.folder.resolve().parents[2]
    for above in (beside, *beside.parents):
        if (above / ".git").exists():
            return (beside / checked.file).relative_to(above).as_posix()
    return checked.file
