"""A user's program that answers: rows go in as JSON Lines, answers come back as JSON Lines.

Both go through files, so nothing waits for anything: a program that floods its output meets the
limit on a file's size, one that hangs the time limit, one that grows the limit on memory.
"""

import datetime
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlgate.errors import StageError
from mlgate.quantity import seconds, size
from mlgate.stage import Job
from mlgate.stages.evaluate.spec import Command, Evaluate, File, Record
from mlgate.stages.evaluate.tables import Truth

_LAUNCH: Final = str(Path(__file__).with_name("launch.py"))
_MOST_OUTPUT: Final = 1 << 30
_LONGEST_LINE: Final = 1 << 20
_ALWAYS: Final = ("PATH", "HOME", "LANG", "TZ")


def answers_of_command(
    job: Job[Evaluate], command: Command, truth: Truth, whose: str
) -> list[Record]:
    """The lines that the program printed. Raises `StageError` for whatever else it did."""
    rows = job.workdir / f"{whose}.rows.jsonl"
    answers = job.workdir / f"{whose}.answers.jsonl"
    said = job.workdir / f"{whose}.stderr"
    label = job.options.evaluation.label if job.options.evaluation else None
    with rows.open("w", encoding="utf-8") as file:
        file.writelines(_lines(truth, label))
    arguments = [_argument(job, part) for part in command.run]
    name = command.run[0] if isinstance(command.run[0], str) else Path(arguments[0]).name
    limit = seconds(command.timeout)
    with rows.open("rb") as source, answers.open("wb") as out, said.open("wb") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                _LAUNCH,
                str(size(command.memory)),
                str(_MOST_OUTPUT),
                *arguments,
            ],
            stdin=source,
            stdout=out,
            stderr=errors,
            env=_environment(command),
            cwd=job.workdir,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            raise StageError(
                f"{whose}: {name} took over {command.timeout}", hint="raise command.timeout"
            ) from None
        finally:
            _end(process)
    if code:
        raise StageError(f"{whose}: {name} {_ended(code)}{_last_words(said)}", hint=_advice(code))
    return list(_records(answers, f"{whose}: {name}"))


def _argument(job: Job[Evaluate], part: str | File) -> str:
    return part if isinstance(part, str) else job.inputs[part.file].location


def _environment(command: Command) -> dict[str, str]:
    missing = [name for name in command.environment if name not in os.environ]
    if missing:
        raise StageError(f"the variable {missing[0]} is not set, and command.environment lists it")
    names = (*_ALWAYS, *command.environment)
    return {name: os.environ[name] for name in names if name in os.environ}


def _lines(truth: Truth, label: str | None) -> Iterator[str]:
    """Each row without its label, and its key."""
    table = truth.table.drop_columns([label]) if label is not None else truth.table
    keys = truth.keys.to_pylist()
    start = 0
    for batch in table.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            line = {**row, "key": keys[start]}
            yield json.dumps(line, default=_plain, allow_nan=True) + "\n"
            start += 1


def _plain(value: object) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _records(path: Path, whose: str) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), start=1):
            if len(line) > _LONGEST_LINE:
                raise StageError(f"{whose}: line {number} of its output is over 1 MiB")
            if not line.strip():
                continue
            if not line.endswith(b"\n"):
                raise StageError(f"{whose}: its output ends in the middle of line {number}")
            try:
                record = json.loads(line)
            except ValueError as error:
                raise StageError(
                    f"{whose}: line {number} of its output is no JSON: {error}",
                    hint="print answers alone on standard output; the rest goes to standard error",
                ) from None
            if not isinstance(record, dict) or "key" not in record:
                raise StageError(
                    f"{whose}: line {number} of its output has no key",
                    hint='a line is {"key": …, "answer": …, "scores": […]}',
                )
            yield record


def _ended(code: int) -> str:
    if code > 0:
        return f"exited with {code}"
    if -code == signal.SIGXFSZ:
        return "printed more than 1 GiB"
    return f"died of {signal.Signals(-code).name}"


def _advice(code: int) -> str | None:
    if code == 127:
        return "is the program installed here, and on the PATH?"
    return None if code > 0 else "does it fit into command.memory?"


def _last_words(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """No process of the group outlives the run."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
