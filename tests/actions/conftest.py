"""Runs on one server, which keeps artifacts and caches from one to the next."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.actions.runner import Runner
from tests.fakes.fixtures import fakes, project
from tests.fakes.forked import served

__all__ = ["fakes", "project"]


@pytest.fixture(scope="session")
def mlgate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The command, without its start-up: these tests call it hundreds of times."""
    with served(tmp_path_factory.mktemp("forked")) as command:
        yield command


@pytest.fixture
def runner(tmp_path: Path, project: Path, mlgate: Path) -> Callable[..., Runner]:
    def make(**how: object) -> Runner:
        return Runner(project, tmp_path / "server", mlgate, **how)  # type: ignore[arg-type]

    return make
