"""Jobs of the slim stage, as the spine makes them."""

import json
from pathlib import Path
from typing import Any

from mlgate.stage import Job, Located, inputs_of
from mlgate.stages.slim.spec import Slim

REQUESTS = [
    {"path": "/predict", "body": [1, 2]},
    {"path": "/predict", "body": [3, 4]},
    {"path": "/zone", "body": []},
    {"path": "/predict", "body": [5]},
]


def job(folder: Path, image: str, requests: list[Any] | None = None, **options: Any) -> Job[Slim]:
    """A job in a new work folder below `folder`; `options` as in mlgate.yaml."""
    file = folder / "requests.jsonl"
    lines = REQUESTS if requests is None else requests
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    probe = {"replay": str(file)} | options.pop("probe", {})
    text = json.dumps({"uses": "slim", "image": image, "probe": probe, **options})
    parsed = Slim.model_validate_json(text)
    inputs = {
        source: Located(source.path, None, ())
        for _, source in inputs_of(parsed)
        if source.path is not None
    }
    workdir = folder / "work"
    workdir.mkdir()
    return Job(stage="image", options=parsed, workdir=workdir, inputs=inputs)
