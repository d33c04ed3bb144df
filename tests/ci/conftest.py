"""A project with fake stages, and the mlgate command that knows them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fixtures import fakes, mlgate, project
from tests.fakes.forked import served

__all__ = ["fakes", "mlgate", "project"]


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same command without its start-up, for those who call it often."""
    with served(tmp_path_factory.mktemp("forked")) as command:
        yield command
