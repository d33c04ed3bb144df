"""Runs on one server, which keeps artifacts and caches from one to the next."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.actions.runner import Runner
from tests.fakes.fixtures import fakes, mlgate, project

__all__ = ["fakes", "mlgate", "project"]


@pytest.fixture
def runner(tmp_path: Path, project: Path, mlgate: Path) -> Callable[..., Runner]:
    def make(**how: object) -> Runner:
        return Runner(project, tmp_path / "server", mlgate, **how)  # type: ignore[arg-type]

    return make
