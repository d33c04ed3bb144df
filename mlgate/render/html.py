"""The report as one HTML page that stands alone."""

from mlgate.report import Report


def render(report: Report) -> str:
    return ""
