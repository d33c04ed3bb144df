"""What a command costs before it does its work: CPU-seconds of fresh processes, peers in the same run.

    python -m tests.benchmarks.startup --times 15

CPU-seconds (user + system, of the process and its children) and peak memory are the medians of
`--times` runs, the commands taking turns; each is also given as a ratio to the peer
`python -c "import pydantic"`.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PEER = 'python -c "import pydantic"'


def commands(digits: Path) -> dict[str, tuple[list[str], float | None]]:
    """What is run, by name, and the CPU-seconds it may take."""
    ours = [sys.executable, "-m", "mlgate"]
    return {
        "python -c pass": ([sys.executable, "-c", "pass"], None),
        'python -c "import click"': ([sys.executable, "-c", "import click"], None),
        PEER: ([sys.executable, "-c", "import pydantic; pydantic.BaseModel"], None),
        "mlgate --version": ([*ours, "--version"], 0.15),
        "mlgate --help": ([*ours, "--help"], 0.15),
        "mlgate lint digits": ([*ours, "lint", str(digits)], 0.3),
        "mlgate check digits, cached": ([*ours, "check", str(digits)], 0.5),
    }


def cost(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU-seconds and peak MiB of one run."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def project(folder: Path, stage: str) -> Path:
    """The digits template with only its `data` stage, so that a first check takes seconds."""
    digits = folder / "digits"
    shutil.copytree(ROOT / "templates" / "digits", digits, ignore=shutil.ignore_patterns(".mlgate"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "mlgate",
            "check",
            str(digits),
            *(["--only", stage] if stage else []),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return digits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--stage", default="", help="check only this stage of the template")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = commands(project(folder, arguments.stage))
        if arguments.stage:
            told["mlgate check digits, cached"][0].extend(["--only", arguments.stage])
        seen: dict[str, list[tuple[float, float]]] = {title: [] for title in told}
        for turn in range(arguments.times + 1):
            for title, (command, _) in told.items():
                found = cost(command, folder)
                if turn:  # the first fills the disk's cache
                    seen[title].append(found)
    peer = statistics.median(cpu for cpu, _ in seen[PEER])
    over = 0
    print(f"{'':<30} {'CPU s':>8} {'spread':>15} {'x peer':>8} {'MiB':>6} {'goal':>6}")
    for title, figures in seen.items():
        times = sorted(cpu for cpu, _ in figures)
        middle, goal = statistics.median(times), told[title][1]
        over += goal is not None and middle > goal
        memory = statistics.median(mib for _, mib in figures)
        spread = f"{times[0]:.3f}–{times[-1]:.3f}"
        aim = "" if goal is None else f"{goal:.2f}"
        print(
            f"{title:<30} {middle:>8.3f} {spread:>15} {middle / peer:>8.1f} {memory:>6.0f} {aim:>6}"
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
