"""Loaded by every Python that has this folder in PYTHONPATH: workers know the fake stages too."""

from mlgate.stages import STAGES
from tests.fakes.stages import FAKES

assert isinstance(STAGES, dict)
STAGES.update(FAKES)
