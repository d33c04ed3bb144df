"""Results that travel between CI jobs, by digest: one stage's out, all of them joined.

    DIR/results/<stage>.json    what the stage came to: its evidence's digest, or why there is none
    DIR/store/sha256/<hex>      that evidence, and the files that the stage made

A result carries no verdict. Whoever reads it judges the evidence anew, by the spec at hand: so the
joined verdict is the one that a check on one machine reaches, to the byte, and a result that is
lost, altered, or of another run or spec is an error, never a pass.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mlgate.check import keep, prepare
from mlgate.ci.needs import Needs
from mlgate.documents import ErrorRow, ResultDocument
from mlgate.errors import StoreError, UsageError
from mlgate.evidence import Artifact, digest_of
from mlgate.files import FOLDER, cannot_write, read_bytes, write_atomic
from mlgate.gate import Outcome
from mlgate.run.execute import execute
from mlgate.run.plan import Key, Node, Plan, resolve
from mlgate.run.record import Checked, run_name
from mlgate.run.report import Errored, Ran, Result, Seen, Skipped
from mlgate.run.scheduler import OnEvent, blocked, is_answer
from mlgate.run.store import Store
from mlgate.spec.spec import Spec, written_digest

_LARGEST_RESULT: Final = 1_000_000


def refuse_stale(file: Path, spec: Spec, compiled: str | None) -> None:
    """Raise `UsageError` when a job was compiled from another spec than the one at hand."""
    if compiled and compiled != written_digest(file, spec):
        raise UsageError(
            "the compiled CI file is out of date: it was made from another spec",
            hint="run mlgate compile again, and commit what it writes",
        )


@dataclass(frozen=True)
class JobResults:
    """A folder of results that belong to one CI run of one spec.

    `run` is the CI system's own name of the run (None: any): results of another are not there.
    `needs` is what the CI system says of the jobs that left them (None: nothing): a result that is
    not the one of its own job's last attempt does not count.
    """

    folder: Path
    spec: Spec
    run: str | None = None
    needs: Needs | None = None

    def write(self, node: Node, key: str | None, result: Ran | Errored, store: Store) -> str:
        """Leave a result here, with the evidence and the files that it names; its digest."""
        mine: dict[str, Any] = {
            "stage": node.id,
            "uses": node.options.uses,
            "spec": self.spec.digest,
        }
        head = {**mine, "run": self.run or "", "key": key or ""}
        if isinstance(result, Ran):
            here = Store(self.folder)
            here.put(result.evidence.canonical())
            for made in result.evidence.outputs.values():
                _copy(store, here, made)
            document = ResultDocument(**head, evidence=result.digest, cached=result.cached)
        else:
            row = ErrorRow(message=result.message, hint=result.hint, line=result.line)
            document = ResultDocument(**head, errored=row)
        write_atomic(self.file(node.id), document.canonical())
        return digest_of(document.canonical())

    def digest(self, stage: str) -> str | None:
        """The digest of the result that lies here; None where none does."""
        try:
            return digest_of(read_bytes(self.file(stage), most=_LARGEST_RESULT))
        except (OSError, ValueError):
            return None

    def digests(self, stages: Iterable[str]) -> dict[str, str]:
        """The digests of all results that lie here, of these stages."""
        found = {stage: self.digest(stage) for stage in stages}
        return {stage: digest for stage, digest in found.items() if digest is not None}

    def read(self, node: Node, store: Store, *, files: bool = False) -> Ran | Errored | None:
        """The result of a stage, judged by this spec; None when it is not here.

        With `files`, what the stage made is put into `store`, verified.
        """
        if self.needs is not None:
            wanted = self.needs.digest(node.id)
            if wanted is None or isinstance(wanted, Errored):
                return wanted
            found = self.digest(node.id)
            if found is not None and found != wanted:
                return Errored("its result is not the one that its job left", "run its job again")
        row = self._row(node)
        if row is None or isinstance(row, Errored):
            return row
        if self.run is not None and row.run != self.run:
            return None
        if row.spec != self.spec.digest:
            return Errored("its result is of another spec", "run all stages again")
        if row.errored is not None:
            return Errored(row.errored.message, row.errored.hint, row.errored.line)
        return self._judged(node, row, store, files=files, cached=row.cached)

    def cached(self, node: Node, key: str, store: Store) -> Ran | None:
        """What an earlier run left under that content key, whatever its spec; None if nothing."""
        row = self._row(node)
        if row is None or isinstance(row, Errored) or row.key != key or row.errored is not None:
            return None
        result = self._judged(node, row, store, files=True, cached=True)
        return result if isinstance(result, Ran) else None

    def carry(self, node: Node, result: Result, later: "JobResults", store: Store) -> None:
        """Put a result into another folder, under the content key that it came with.

        Only what was measured, and could be judged: a failure to measure is never cached.
        """
        row = self._row(node)
        if not isinstance(result, Ran) or not isinstance(row, ResultDocument) or not row.key:
            return
        if is_answer(node, result):
            later.write(node, row.key, result, store)

    def _row(self, node: Node) -> ResultDocument | Errored | None:
        """The result's file, read by its model; None where there is none."""
        hint = "it was altered, or written by another version of mlgate"
        try:
            row = ResultDocument.read(read_bytes(self.file(node.id), most=_LARGEST_RESULT))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return Errored("its result cannot be read", hint)
        if (row.stage, row.uses) != (node.id, node.options.uses):
            return Errored("its result is of another stage", hint)
        return row

    def _judged(
        self, node: Node, row: ResultDocument, store: Store, *, files: bool, cached: bool
    ) -> Ran | Errored:
        here = Store(self.folder)
        if row.evidence is None:
            return Errored("its result holds neither evidence nor an error", "run this stage again")
        try:
            evidence = here.evidence(row.evidence)
            store.put(evidence.canonical())
            for made in evidence.outputs.values() if files else ():
                _copy(here, store, made)
        except StoreError as error:
            return Errored(error.message.replace(f"{self.folder}/", ""), "run this stage again")
        if evidence.uses != node.options.uses:
            return Errored(f"its evidence is of {evidence.uses}", "run this stage again")
        seen = Seen(evidence, row.evidence, cached)
        return node.terms.judge(seen, confidence=self.spec.confidence)

    def file(self, stage: str) -> Path:
        return self.folder / "results" / f"{stage}.json"


def run_stage(
    spec: Spec,
    stage: str,
    *,
    upstream: JobResults,
    own: JobResults,
    now: Callable[[], datetime],
    on_event: OnEvent = lambda _: None,
) -> Result:
    """Run one stage on what `upstream` holds, and leave its result in `own`."""
    started = now()
    plan, keys = prepare(spec, only=[stage], now=started, include_deploys=True)
    node = plan.node(stage)
    store = Store(spec.folder / FOLDER)
    results: dict[str, Result] = {}
    for other in node.after:
        found = upstream.read(plan.node(other), store, files=True)
        if found is None:
            return Skipped(f"there is no result of {other} here: mlgate run {other}", Outcome.ERROR)
        results[other] = found
    if node.stage.deploys and (missed := _unproved(spec, upstream, store)):
        return missed
    here = Plan(spec, tuple(n for n in plan.nodes if n.id in {*node.after, stage}))
    # What the checkout brings along under .mlgate is a claim of whoever committed it; what earlier
    # runs measured comes through `drop_cached`, from where only they write.
    run = run_name(started)
    result = execute(
        here,
        keys,
        run,
        now=now,
        started=started,
        on_event=on_event,
        use_cache=False,
        known=results,
    )[stage]
    if not isinstance(result, Skipped):
        own.write(node, keys[stage].digest, result, store)
        written = read_bytes(own.file(stage), most=_LARGEST_RESULT)
        write_atomic(spec.folder / FOLDER / "runs" / run / "result.json", written)
    return result


def _unproved(spec: Spec, results: JobResults, store: Store) -> Skipped | None:
    """Why nothing may move yet: a checked stage that did not pass, whatever CI made of it."""
    for node in resolve(spec).nodes:
        found = results.read(node, store) or _lost()
        if found.outcome > Outcome.WARN:
            return Skipped(f"{node.id} did not pass", found.outcome)
    return None


def drop_cached(
    spec: Spec, stages: Iterable[str], *, cache: JobResults | None, own: JobResults, now: datetime
) -> tuple[str, ...]:
    """The stages that have to run. What `cache` has under its content key is put into `own`."""
    plan, keys = prepare(spec, now=now, include_deploys=True)
    store = Store(spec.folder / FOLDER)
    wanted = set(stages)
    return tuple(
        node.id
        for node in plan.nodes
        if node.id in wanted and not _reuse(node, keys[node.id], cache, own, store)
    )


def _reuse(node: Node, key: Key, cache: JobResults | None, own: JobResults, store: Store) -> bool:
    if cache is None or key.digest is None or node.stage.deploys:
        return False
    result = cache.cached(node, key.digest, store)
    if result is None or not node.may_be_of(result.evidence, key):
        return False
    own.write(node, key.digest, result, store)
    return True


def join(
    spec: Spec,
    stages: Iterable[str],
    *,
    results: JobResults,
    cache: JobResults | None = None,
    now: datetime,
) -> Checked:
    """The verdict on `stages` out of the results that arrived, and its record on disk.

    What was measured goes into `cache`, for later runs to find under its content key. Every one of `stages` has a result in the report: what did not arrive is an error, unless a
    stage that it waits for cache it from starting.
    """
    plan = resolve(spec, only=tuple(stages))
    store = Store(spec.folder / FOLDER)
    joined: dict[str, Result] = {}
    for node in plan.nodes:
        found = results.read(node, store, files=True)
        joined[node.id] = blocked(node, joined) or found or _lost()
        joined[node.id] = _of_this_chain(node, joined)
        if cache is not None:
            results.carry(node, joined[node.id], cache, store)
    return keep(plan, joined, run=run_name(now), started=now, ended=now)


def _lost() -> Errored:
    return Errored(
        "its result did not arrive", "its job was skipped, cancelled or lost its artifact"
    )


def _of_this_chain(node: Node, results: Mapping[str, Result]) -> Result:
    """The node's result, if it was measured on what its upstream made, by digest."""
    result = results[node.id]
    if not isinstance(result, Ran):
        return result
    for port, source in node.inputs().items():
        if source.from_ is None:
            continue
        maker, output = source.from_.split(".", 1)
        above = results[maker]
        made = above.evidence.outputs.get(output) if isinstance(above, Ran) else None
        if made is None or result.evidence.inputs.get(port) != made.digest:
            return Errored(f"it was measured on another {source.from_}", "run its job again")
    return result


def _copy(source: Store, target: Store, made: Artifact) -> None:
    """One file from store to store, without copying where that is possible. Verified."""
    if not source.verify(made):
        raise StoreError(f"{made.name} ({made.digest}) is missing or was altered")
    path = target.path(made.digest)
    if path.exists() and target.verify(made):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        try:
            temporary.hardlink_to(source.path(made.digest))
        except OSError:  # another filesystem
            shutil.copyfile(source.path(made.digest), temporary)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
