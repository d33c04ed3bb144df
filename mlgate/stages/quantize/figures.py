from mlgate.evidence import Evidence
from mlgate.figure import Figure


def figures(evidence: Evidence) -> tuple[Figure, ...]:
    return ()
