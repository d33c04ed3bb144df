"""The real HAProxy, both lines: split, lease, stickiness, promotion, and a whole rollout."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate.rollout.batch import Batch
from mlgate.rollout.controller import Clock, Controller, RouterError, World
from mlgate.rollout.course import Course
from mlgate.rollout.routers.haproxy import Haproxy
from mlgate.rollout.sources.access_log import AccessLog, AccessLogOptions
from tests.rollout.servers import Proxy, binaries, haproxy
from tests.rollout.world import FakeNotifier, FakeProbe, FakeRegistry, Knife, course

pytestmark = pytest.mark.haproxy
_BINARIES = binaries()


@pytest.fixture(params=["debian", "pypi"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    if request.param not in _BINARIES:
        pytest.skip(f"HAProxy from {request.param} is not installed")
    with haproxy(tmp_path, _BINARIES[request.param]) as running:
        yield running


def versions(proxy: Proxy, count: int = 2000) -> dict[str, int]:
    answers = proxy.ask(count)
    assert {status for status, _ in answers} == {200}
    return {v: sum(version == v for _, version in answers) for v in ("v1", "v2")}


def test_the_split_is_what_was_asked_and_users_stay(proxy: Proxy) -> None:
    router = proxy.router
    router.check()
    assert router.share() == 0
    assert versions(proxy, 200) == {"v1": 200, "v2": 0}
    router.renew(60)
    router.set_share(0.1)
    assert router.share() == 0.1
    few = {i for i, (_, version) in enumerate(proxy.ask(2000)) if version == "v2"}
    assert 140 < len(few) < 260  # 10 % of 2,000 users: within four and a half standard errors
    router.set_share(0.5)
    many = {i for i, (_, version) in enumerate(proxy.ask(2000)) if version == "v2"}
    assert few < many
    router.set_share(0)
    assert versions(proxy, 200)["v2"] == 0


def test_without_a_controller_traffic_goes_back(proxy: Proxy) -> None:
    router = proxy.router
    router.set_share(1)
    router.renew(0.4)
    deadline = time.time() + 0.4
    while time.time() < deadline + 0.2:
        proxy.ask(20)
    assert proxy.canary.served
    assert max(proxy.canary.served) < deadline + 0.05


def test_a_promotion_is_in_the_file_and_survives_a_restart(proxy: Proxy) -> None:
    router = proxy.router
    router.renew(60)
    router.set_share(1)
    before = (proxy.folder / "haproxy.cfg").read_text()
    router.settle()
    router.settle()  # twice is once
    after = (proxy.folder / "haproxy.cfg").read_text()
    assert after == before.replace(proxy.stable.address, proxy.canary.address)
    assert router.share() == 0
    assert versions(proxy, 100) == {"v1": 0, "v2": 100}
    proxy.stop()
    proxy.start()
    assert versions(proxy, 100) == {"v1": 0, "v2": 100}


def test_a_canary_that_dies_costs_nobody_an_answer_and_is_an_error_of_its_arm(
    proxy: Proxy,
) -> None:
    proxy.router.renew(60)
    proxy.router.set_share(0.5)
    source = AccessLog(
        AccessLogOptions(kind="access-log", path="access.jsonl"),
        proxy.folder,
        {"stable": "stable/stable", "canary": "canary/canary"},
        course().triggers,
    )
    proxy.canary.shutdown()
    proxy.canary.server_close()
    assert {status for status, _ in proxy.ask(60)} == {200}
    time.sleep(0.2)
    batch, _ = source.read(Batch(seconds=1, asked=0.5), {})
    assert batch.canary.of("error") == batch.canary.units > 10
    assert batch.stable.of("error") == 0


def test_what_is_not_there_is_named(proxy: Proxy) -> None:
    options = proxy.options.model_copy(update={"canary": "canary/kanari"})
    with pytest.raises(RouterError, match="no server canary/kanari") as caught:
        Haproxy(options, proxy.folder).check()
    assert "canary/canary" in str(caught.value.hint)
    options = proxy.options.model_copy(update={"map": "other.map"})
    with pytest.raises(RouterError, match=r"other\.map"):
        Haproxy(options, proxy.folder).check()
    proxy.stop()
    with pytest.raises(RouterError, match=r"does not answer on admin\.sock"):
        proxy.router.share()


def rollout(proxy: Proxy, plan: Course) -> tuple[str, FakeRegistry]:
    """A rollout under live traffic; the state that it ends in."""
    options = AccessLogOptions(kind="access-log", path="access.jsonl")
    arms = {"stable": "stable/stable", "canary": "canary/canary"}
    source = AccessLog(options, proxy.folder, arms, plan.triggers)
    registry = FakeRegistry(Knife())
    world = World(
        proxy.router,
        source,
        FakeProbe(),
        registry,
        FakeNotifier(),
        Clock(),
        lambda _progress, _move: _traffic(proxy),
    )
    return Controller(proxy.folder / "rollout", plan, {}, world).run().state, registry


def _traffic(proxy: Proxy) -> None:
    proxy.ask(150, user=f"{time.time()}-")


_QUICK = {
    "steps": (
        {"weight": 20, "min": "200ms", "min_requests": 20},
        {"weight": 50, "min": "200ms", "min_requests": 20},
    ),
    "triggers": (
        {"metric": "latency_ms.p50", "compared_to": "stable", "max_increase": "900%"},
        {"metric": "errors.count", "max": 20},
    ),
    "interval": "100ms",
    "lease": "20s",
    "max_duration": "20s",
}


def test_a_good_model_is_promoted_by_a_real_proxy(proxy: Proxy) -> None:
    proxy.ask(300)
    state, registry = rollout(proxy, course(**_QUICK | {"triggers": _QUICK["triggers"][1:]}))
    assert state == "promoted"
    assert registry.champion == "v2"
    assert versions(proxy, 50) == {"v1": 0, "v2": 50}


def test_a_bad_model_is_rolled_back_by_a_real_proxy(proxy: Proxy) -> None:
    proxy.canary.failing = 10**6
    proxy.ask(300)
    errors = {"metric": "errors", "compared_to": "stable", "max_increase": "200%"}
    state, registry = rollout(proxy, course(**_QUICK | {"triggers": (errors,)}))
    assert state == "rolled_back"
    assert registry.champion == "v1"
    assert versions(proxy, 50) == {"v1": 50, "v2": 0}
