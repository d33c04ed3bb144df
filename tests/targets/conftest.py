"""A project with fake stages, and the mlgate command that knows them."""

from tests.fakes.fixtures import fakes, mlgate, project

__all__ = ["fakes", "mlgate", "project"]
