"""Both images side by side: the same requests, and everything else that a user relies on."""

import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlgate.errors import StageError
from mlgate.serving.compare import Tolerance, differences, unstable
from mlgate.serving.container import Container, Setup
from mlgate.serving.ready import ask, await_ready, exit_words
from mlgate.serving.recorded import Answer, Request
from mlgate.stages.slim import strace
from mlgate.stages.slim.probe import health_command

SETS: Final = ("golden", "holdout", "negative", "contract")
_STOP_SECONDS: Final = 10.0
_PROVIDERS: Final = {
    "TensorRT": re.compile(r"onnxruntime_providers_tensorrt|libnvinfer"),
    "CUDA": re.compile(r"onnxruntime_providers_cuda|libcudart|libcublas"),
    "OpenVINO": re.compile(r"onnxruntime_providers_openvino|libopenvino"),
    "ROCm": re.compile(r"onnxruntime_providers_rocm|libamdhip64"),
}


@dataclass(frozen=True)
class Examination:
    """What is asked of both images, and when answers are the same."""

    setup: Setup
    config: Mapping[str, Any]
    ready: Request
    status: int
    seconds: float
    sets: Mapping[str, tuple[Request, ...]]
    tolerance: Tolerance
    ignore: frozenset[str]
    starts: int


@dataclass
class Behaviour:
    """What one start of an image showed."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    contract: dict[str, str] = field(default_factory=dict)
    cold_start: float = 0.0
    failure: str | None = None
    log: str = ""


@dataclass
class Outcome:
    """How the slim image differs from its source, by set; what was set aside; times."""

    mismatches: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SETS})
    asked: dict[str, int] = field(default_factory=dict)
    aside: set[str] = field(default_factory=set)
    cold_starts: list[tuple[float, float]] = field(default_factory=list)
    p50: tuple[float, float] | None = None
    uncompared: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.mismatches.values())


def negatives(requests: tuple[Request, ...]) -> tuple[Request, ...]:
    """Requests that have to be refused in the same way."""
    kind = (("Content-Type", "application/json"),)
    paths = list(dict.fromkeys(r.path for r in requests if r.body is not None))[:3]
    found = [Request("GET", "/mlgate-no-such-path", name="unknown path")]
    for path in paths:
        found += [
            Request("DELETE", path, name=f"wrong method on {path}"),
            Request("POST", path, kind, b"{", name=f"malformed JSON to {path}"),
            Request("POST", path, kind, b"{}", name=f"missing fields to {path}"),
            Request(
                "POST", path, kind, b"[" + b"0," * 300_000 + b"0]", name=f"large body to {path}"
            ),
        ]
    return tuple(found)


def compare_images(
    client: Any, fat: str, slim: str, exam: Examination, tell: Callable[[str], None]
) -> Outcome:
    """Starts both in turns and asks both everything.

    Raises `StageError` when the source itself fails, or when two starts of it do not agree on
    more than ids, times and tokens: there is then nothing to hold the slim image to.
    """
    outcome = Outcome(asked={name: len(requests) for name, requests in exam.sets.items()})
    pairs = []
    for number in range(exam.starts):
        ours = _behave(client, fat, exam, thorough=number < 2)
        if ours.failure is not None:
            raise StageError(f"the source image itself fails: {ours.failure}")
        theirs = _behave(client, slim, exam, thorough=number == 0)
        pairs.append((ours, theirs))
        if theirs.failure is not None:
            outcome.mismatches["contract"].append(f"start: {theirs.failure}")
            return outcome
        outcome.cold_starts.append((ours.cold_start, theirs.cold_start))
        tell(f"start {number + 1} of {exam.starts}: {theirs.cold_start:.2f} s")
    _compare(outcome, pairs[0][0], pairs[1][0], pairs[0][1], exam)
    return outcome


def _behave(client: Any, image: str, exam: Examination, *, thorough: bool) -> Behaviour:
    seen = Behaviour()
    with Container(client, image, exam.setup) as server:
        try:
            server.start()
            seen.cold_start = await_ready(
                server, exam.ready, status=exam.status, seconds=exam.seconds
            )
        except StageError as error:
            seen.failure = error.message
            return seen
        if not thorough:
            return seen
        for name, requests in exam.sets.items():
            seen.answers[name] = [ask(server, request) for request in requests]
        seen.contract = _contract(server, exam)
        code = server.stop(_STOP_SECONDS)
        seen.contract["stop signal"] = "had to be killed" if code is None else exit_words(code)
        seen.log = server.log()
    return seen


def _contract(server: Container, exam: Examination) -> dict[str, str]:
    """What a user of the image relies on beside answers."""
    found = {}
    health = health_command(exam.config.get("config") or {})
    if health:
        code, said = server.run_inside(health)
        found["health check"] = f"exit code {code}" + (f": {said[-200:]}" if code else "")
    pid = server.pid()
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        found["user"] = " ".join(re.findall(r"^[UG]id:\s+(\d+)", status, re.MULTILINE))
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return found  # another user's process, or a machine of its own behind the engine
    mapped = {line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count("/") > 1}
    libraries = sorted({path.rsplit("/", 1)[1] for path in mapped if ".so" in path})
    named = [name for name, rule in _PROVIDERS.items() if any(rule.search(x) for x in libraries)]
    found["provider"] = " ".join(named) or "CPU"
    found["libraries"] = " ".join(libraries)
    return found


def _compare(
    outcome: Outcome, fat: Behaviour, again: Behaviour, slim: Behaviour, exam: Examination
) -> None:
    disagreements = []
    for name, requests in exam.sets.items():
        aside = set(exam.ignore)
        for request, one, other in zip(
            requests, fat.answers[name], again.answers[name], strict=True
        ):
            places, left = unstable(one, other, tolerance=exam.tolerance)
            aside |= places
            outcome.aside |= places
            disagreements += [f"{request}: {d}" for d in left if d.place not in exam.ignore]
            if one.status == 0 and name in ("golden", "holdout"):
                raise StageError(f"the source image gave {request} no answer: {one.body.decode()}")
        for request, one, theirs in zip(
            requests, fat.answers[name], slim.answers[name], strict=True
        ):
            found = differences(one, theirs, tolerance=exam.tolerance, aside=frozenset(aside))
            if found:
                outcome.mismatches[name].append(f"{request}: {found[0]}")
    if disagreements:
        raise StageError(
            f"two starts of the source image answer differently: {disagreements[0]}",
            hint="make it deterministic, or allow for it: verify.rtol, verify.atol, verify.ignore",
        )
    for what, said in fat.contract.items():
        theirs_said = slim.contract.get(what, "unknown")
        if said == theirs_said or again.contract.get(what) != said:
            continue
        if what == "libraries":
            lost = sorted(set(said.split()) - set(theirs_said.split()))
            theirs_said, said = f"without {' '.join(lost)}", "loaded"
            if not lost:
                continue
        outcome.mismatches["contract"].append(f"{what} fat={said} slim={theirs_said}")
    outcome.uncompared += [what for what in ("user", "provider") if what not in fat.contract]
    outcome.p50 = (_median(fat), _median(slim))


def _median(seen: Behaviour) -> float:
    times = [a.seconds for name in ("golden", "holdout") for a in seen.answers.get(name, ())]
    return statistics.median(times) * 1000 if times else 0.0


def missing_files(
    client: Any, image: str, exam: Examination, gone: Mapping[str, int], folder: Path
) -> tuple[str, ...]:
    """Dropped files that the slim image looks for: it is asked once more, under trace."""
    folder.mkdir()
    tools, logs = strace.tools(folder / "tools"), folder / "logs"
    logs.mkdir()
    logs.chmod(0o777)
    about = exam.config.get("config") or {}
    command = [*(about.get("Entrypoint") or ()), *(exam.setup.args or about.get("Cmd") or ())]
    setup = Setup(
        args=strace.traced(command, "main")[1:], env=exam.setup.env, port=exam.setup.port,
        network=exam.setup.network, gpus=exam.setup.gpus, entrypoint=strace.traced((), "x")[:1],
        mounts=((tools, strace.TOOLS, False), (logs, strace.LOGS, True)),
    )  # fmt: skip
    try:
        with Container(client, image, setup) as server:
            server.start()
            await_ready(server, exam.ready, status=exam.status, seconds=exam.seconds)
            for requests in exam.sets.values():
                for request in requests:
                    ask(server, request)
            health = health_command(about)
            if health:
                server.run_inside(strace.traced(health, "health"))
            server.stop(_STOP_SECONDS)
    except StageError:
        pass  # it does not start: what it looked for until then is what we want
    missed = strace.read_trace(sorted(logs.iterdir())).missed
    return tuple(sorted(path for path in missed if path in gone))
