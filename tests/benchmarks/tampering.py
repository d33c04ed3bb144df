"""Every file of a store and of a run's record, altered at random: nothing is accepted against the evidence.

    python -m tests.benchmarks.tampering --times 200

A project is checked once; then, each time from a fresh copy of its .mlgate, one file is altered
(bytes, numbers, words, length, another file's content, an empty file, a pipe), and `check`, `judge`
and `verify` say what they make of it. Accepted means: a pass whose evidence, judged by this script,
does not pass, or a verified file that is not what the stage made. Both have to be 0.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mlgate.check import check
from mlgate.errors import MlgateError
from mlgate.evidence import digest_of
from mlgate.run.record import Checked, judge_stored
from mlgate.run.report import Ran
from mlgate.run.scheduler import Execution
from mlgate.run.store import Store
from mlgate.run.verdict import Record
from mlgate.spec.lint import load
from mlgate.verify import verify
from tests import probes

SPEC = """
version: 1
name: tampered
stages:
  bad: {uses: probe, value: 2.0, file: d.bin, gates: [{metric: probe, max: 1}]}
  made: {uses: probe, value: 0.5, file: d.bin, makes: weights, gates: [{metric: probe, max: 1}]}
"""


def flip(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return b"x"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def better(data: bytes, _: random.Random) -> bytes:
    """As somebody would who wants a pass."""
    changes = (
        (b"2.0", b"0.5"),
        (b'"value":2', b'"value":0'),
        (b'"fail"', b'"pass"'),
        (b'"exit_code":1', b'"exit_code":0'),
        (b'"max":1', b'"max":9'),
    )
    for old, new in changes:
        data = data.replace(old, new)
    return data


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def grow(data: bytes, _: random.Random) -> bytes:
    return data + b" "


def deep(_data: bytes, _: random.Random) -> bytes:
    return b"[" * 100_000


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, better, cut, grow, deep)


def alter(root: Path, chance: random.Random) -> str:
    """Alter one file below .mlgate; says which, and how."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    file = chance.choice(files)
    how = chance.choice((*CHANGES, "pipe", "another"))
    mark = file.stat()
    file.chmod(0o644)
    if how == "pipe":
        file.unlink()
        os.mkfifo(file)
        return f"{file.relative_to(root)}: pipe"
    data = chance.choice(files).read_bytes() if how == "another" else file.read_bytes()
    if callable(how):
        data = how(data, chance)
    with file.open("r+b") as opened:
        opened.write(data)
        opened.truncate()
    os.utime(file, ns=(mark.st_atime_ns, mark.st_mtime_ns))  # as it was, as far as that can be
    return f"{file.relative_to(root)}: {getattr(how, '__name__', how)}"


def accepted(folder: Path, run: str) -> list[str]:
    """What is believed that the evidence does not say."""
    found = []
    spec = load(folder / "mlgate.yaml")
    root = folder / ".mlgate"

    def judged(how: str, checked: Checked) -> None:
        for stage, result in checked.report.results.items():
            if not isinstance(result, Ran):
                continue
            value = 2.0 if stage == "bad" else 0.5
            if result.evidence.measurements[0].value != value:
                found.append(f"{how}: {stage} measured {result.evidence.measurements[0].value}")
        if checked.report.exit_code == 0:
            found.append(f"{how}: a pass")

    with contextlib.suppress(MlgateError):
        judged("judge", judge_stored(root, run))
    made = digest_of(b"weights")
    with contextlib.suppress(MlgateError):
        answer = verify(Record(root / "runs" / run, Store(root)), [made], spec=spec)
        if answer.verified:
            found.append("verify: a run that failed")
    checked = check(spec, now=lambda: datetime.now(UTC))
    judged("check", checked)
    for output in (checked.folder / "outputs").rglob("*"):
        if output.is_file() and output.read_bytes() != b"weights":
            found.append("check: handed on an altered file")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    probes.install()
    Execution.worker = probes.WORKER
    wrong: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        first = Path(place) / "first"
        first.mkdir()
        (first / "mlgate.yaml").write_text(SPEC)
        (first / "d.bin").write_text("data")
        run = check(load(first / "mlgate.yaml"), now=lambda: datetime.now(UTC)).folder.name
        for seed in range(arguments.seed, arguments.seed + arguments.times):
            folder = Path(place) / "copy"
            shutil.copytree(first, folder, symlinks=True)
            what = alter(folder / ".mlgate", random.Random(seed))
            with contextlib.redirect_stderr(io.StringIO()):
                for believed in accepted(folder, run):
                    wrong[f"{what}: {believed}"] += 1
            shutil.rmtree(folder)
    for what in sorted(wrong):
        print(f"ACCEPTED  {what}")
    print(f"{len(wrong)} of {arguments.times} alterations were accepted against the evidence")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
