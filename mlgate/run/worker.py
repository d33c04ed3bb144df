"""One stage in a process of its own: `python -m mlgate.run.worker ORDER`.

The order is a JSON file in a private folder; the answer, `answer.json`, is written beside it:
evidence, or an error with its hint. Progress goes as JSON lines to the file descriptor that the order
names. Whatever a library prints lands in the log, never in somebody's pipe. When the parent dies,
standard input closes and so does this process.
"""

import json
import os
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from mlgate.errors import StageError
from mlgate.evidence import Measured
from mlgate.files import write_atomic
from mlgate.stage import Job, Located, Options, Progress, inputs_of
from mlgate.stages import STAGES

ANSWER = "answer.json"


def order(
    stage: str,
    options: Options,
    located: dict[str, Located],
    *,
    confidences: tuple[float, ...],
    confidence: float,
    now: datetime,
    threads: int,
    seconds: float,
    news: int,
    earlier: tuple[Path, ...] = (),
) -> bytes:
    """What a worker is told to do. `located` is keyed by the input's JSON."""
    return json.dumps(
        {
            "stage": stage,
            "options": options.model_dump(mode="json", by_alias=True),
            "located": {
                key: [at.location, at.digest, [str(path) for path in at.files]]
                for key, at in located.items()
            },
            "confidences": confidences,
            "confidence": confidence,
            "now": now.isoformat(),
            "threads": threads,
            "seconds": seconds,
            "news": news,
            "earlier": [str(path) for path in earlier],
        }
    ).encode()


def main(file: Path) -> None:
    """Carry out the order in `file`."""
    told = json.loads(file.read_bytes())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    folder = file.parent
    os.chdir(folder)
    try:
        answer = {"measured": _measured(told, folder)}
    except StageError as error:
        answer = {"error": {"message": error.message, "hint": error.hint, "option": error.option}}
    except MemoryError:
        hint = "lower the stage's memory, or give it less data"
        answer = {"error": {"message": "it ran out of memory", "hint": hint}}
    except ImportError as error:
        message = f"a library is missing: {error.name or error}"
        answer = {"error": {"message": message, "hint": "see mlgate doctor"}}
    write_atomic(folder / ANSWER, json.dumps(answer, allow_nan=False).encode())


def _measured(told: dict[str, Any], folder: Path) -> dict[str, Any]:
    stage = STAGES[told["options"]["uses"]]
    options = stage.options.model_validate_json(json.dumps(told["options"]))
    inputs = {}
    for _, source in inputs_of(options):
        where, digest, files = told["located"][source.model_dump_json(by_alias=True)]
        inputs[source] = Located(where, digest, tuple(map(Path, files)))

    def tell(progress: Progress) -> None:
        line = [progress.message, progress.done, progress.total]
        os.write(told["news"], json.dumps(line).encode() + b"\n")

    job = Job(
        stage=told["stage"],
        options=options,
        workdir=folder,
        inputs=inputs,
        confidences=tuple(told["confidences"]),
        confidence=told["confidence"],
        now=datetime.fromisoformat(told["now"]),
        threads=told["threads"],
        seconds=told["seconds"],
        tell=tell,
        earlier=tuple(map(Path, told["earlier"])),
    )
    found = stage.measure(job)
    named = set(type(found).model_fields) & set(Measured.model_fields)
    return found.model_dump(mode="json", by_alias=True, include=named)


def _die_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
