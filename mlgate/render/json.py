"""The report as one JSON document: `mlgate/report/v1`."""

import json

from mlgate.run.report import Report


def render(report: Report) -> str:
    return json.dumps(report.document(), indent=2, ensure_ascii=False) + "\n"
