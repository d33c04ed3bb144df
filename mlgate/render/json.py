"""The report as one JSON document: `mlgate/report/v1`."""

import json
from collections.abc import Sequence

from mlgate.run.report import Report


def render(report: Report, *, file: str = "mlgate.yaml", about: Sequence[str] = ()) -> str:
    return json.dumps(report.document(), indent=2, ensure_ascii=False) + "\n"
