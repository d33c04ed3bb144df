"""The sets that mlgate ships: each rule tested, and each small change of it noticed."""

from pathlib import Path

import pytest

from mlgate.spec.policies import shipped
from tests.projects import mlgate


def test_the_three_sets_are_there() -> None:
    assert shipped() == ("baseline", "production", "regulated")


@pytest.mark.parametrize("name", ["baseline", "production", "regulated"])
def test_a_shipped_set_holds_on_its_cases_and_notices_nine_of_ten_changes(
    tmp_path: Path, name: str
) -> None:
    done = mlgate("policy", "test", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 failures" in done.stdout


def test_policy_check_and_list_know_them(tmp_path: Path) -> None:
    sets = ("baseline", "production", "regulated")
    assert mlgate("policy", "check", *sets, cwd=tmp_path).returncode == 0
    listed = mlgate("policy", "list", cwd=tmp_path).stdout
    assert "latency-is-gated" in listed
