"""Rollouts from begin to end in a fake world, killed at every instruction that matters."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import MlgateError
from mlgate.rollout import journal as journals
from mlgate.rollout.controller import Controller, Ending, NotEffective, RouterError, one_controller
from mlgate.rollout.course import Course
from mlgate.rollout.journal import Journal
from mlgate.rollout.people import Orders
from mlgate.rollout.progress import replay
from tests.rollout.world import FakeRouter, Killed, Universe, course

ABOUT: dict[str, Any] = {"rollout": "digits", "version": "v2"}


def run(folder: Path, universe: Universe, plan: Course | None = None) -> Ending:
    return Controller(folder, plan or course(), ABOUT, universe.world()).run()


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in journals.read(folder / "journal.jsonl")]


def test_a_good_canary_is_promoted_and_everything_is_written_down(tmp_path: Path) -> None:
    universe = Universe()
    assert run(tmp_path, universe).state == "promoted"
    assert universe.router.shares == [0.1, 0.5, 1.0]
    assert universe.router.stable == "v2"
    assert (universe.registry.champion, universe.registry.previous) == ("v2", "v1")
    assert [news["event"] for news in universe.notifier.news] == ["promoted"]
    found = kinds(tmp_path)
    assert found[0] == "started"
    assert found[-2:] == ["ended", "notified"]
    assert found.count("intent") == found.count("done") == 5


def test_a_bad_canary_goes_back_and_is_told_once(tmp_path: Path) -> None:
    universe = Universe(bad=0.3)
    ending = run(tmp_path, universe)
    assert ending.state == "rolled_back"
    assert "errors is worse on the canary" in ending.why
    assert universe.router.weight == 0
    assert universe.registry.champion == "v1"
    assert [news["event"] for news in universe.notifier.news] == ["rolled_back"]
    run(tmp_path, universe)  # terminal: nothing moves again
    assert len(universe.notifier.news) == 1
    assert universe.router.shares == [0.1, 0.0]


def _kill_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float) -> int:
    whole = Universe(bad=bad)
    _sharpen(whole, monkeypatch)
    run(tmp_path / "whole", whole)
    return whole.knife.passed


def _sharpen(universe: Universe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every journal write may be the last: before it, torn in the middle, and after it."""
    append = Journal.append

    def cut(self: Journal, kind: Any, **body: Any) -> Any:
        universe.knife()
        try:
            universe.knife()
        except Killed:
            with self.path.open("ab") as torn:
                torn.write(b'{"at":"2026-01-01T00:')
            raise
        entry = append(self, kind, **body)
        universe.knife()
        return entry

    monkeypatch.setattr(Journal, "append", cut)


@pytest.mark.parametrize(("bad", "state"), [(0.01, "promoted"), (0.3, "rolled_back")])
def test_killed_at_every_write_and_effect_it_ends_as_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float, state: str
) -> None:
    with monkeypatch.context() as patch:
        points = _kill_points(tmp_path, patch, bad)
    assert points > 20
    for point in range(1, points + 1):
        with monkeypatch.context() as patch:
            universe = Universe(bad=bad)
            _sharpen(universe, patch)
            universe.knife.at = point
            folder = tmp_path / f"{point}"
            with pytest.raises(Killed):
                run(folder, universe)
            seen = _decided(folder)
            universe.clock.time += 60  # the lease runs out
            if universe.registry.champion == "v1":
                assert universe.router.served_by_canary == 0
            assert run(folder, universe).state == state
        assert universe.router.weight == 0
        assert universe.router.stable == ("v2" if state == "promoted" else "v1")
        expected = ("v2", "v1") if state == "promoted" else ("v1", "v0")
        assert (universe.registry.champion, universe.registry.previous) == expected
        assert [n["event"] for n in universe.notifier.news if n["event"] == state]
        assert _decided(folder)[: len(seen)] == seen


def _decided(folder: Path) -> list[str]:
    entries = journals.read(folder / "journal.jsonl")
    return [f"{e.body['decision']}: {e.body['why']}" for e in entries if e.kind == "decided"]


def test_a_journal_gives_the_same_answers_to_the_last_bit(tmp_path: Path) -> None:
    run(tmp_path, Universe(bad=0.03))
    entries = journals.read(tmp_path / "journal.jsonl")
    at = next(i for i, e in enumerate(entries) if e.body.get("state") and e.kind == "decided")
    again = replay(course(), entries[:at])
    move = again.next_move()
    body = entries[at].body
    assert (move.kind, move.why) == (body["decision"], body["why"])
    stored: Any = body["answers"]
    assert [a["harm"] for a in stored] == [a.harm for a in again.engine.answers()]


def test_c7_no_user_is_sent_before_the_canary_can_infer(tmp_path: Path) -> None:
    universe = Universe()
    universe.probe.cold = 6
    assert run(tmp_path, universe).state == "promoted"
    entries = journals.read(tmp_path / "journal.jsonl")
    warmed = next(i for i, e in enumerate(entries) if e.kind == "warmed")
    assert "intent" not in [e.kind for e in entries[:warmed]]


def test_c7_a_canary_that_never_infers_ends_without_a_user(tmp_path: Path) -> None:
    universe = Universe()
    universe.probe.cold = 10**6
    ending = run(tmp_path, universe, course(warmup_timeout="10s"))
    assert ending.state == "rolled_back"
    assert "answered no inference within 10s: 502" in ending.why
    assert set(universe.router.shares) == {0.0}


def test_c8_a_router_that_acknowledges_and_ignores_is_told(tmp_path: Path) -> None:
    universe = Universe(bad=0.3)
    looks = []

    def deafen() -> None:
        looks.append(1)
        universe.router.deaf = universe.router.weight > 0

    universe.on_look = deafen
    with pytest.raises(NotEffective, match="rollback-not-effective") as caught:
        run(tmp_path, universe)
    assert caught.value.exit_code == 3
    assert [n["event"] for n in universe.notifier.news] == ["failed"]
    universe.on_look = lambda: None
    universe.router.deaf = False
    assert run(tmp_path, universe).state == "rolled_back"
    assert universe.router.weight == 0


@pytest.mark.parametrize(
    ("traffic", "changes", "why"),
    [
        ({"rate": 0}, {}, "no traffic on the canary"),
        ({"down": True}, {}, "no answer from log"),
        (
            {},
            {"triggers": ({"metric": "accuracy", "compared_to": "stable", "max_drop": 0.02},)},
            "no labels",
        ),
    ],
)
@pytest.mark.parametrize("then", ["rollback", "hold"])
def test_silence_is_never_a_promotion(
    tmp_path: Path, traffic: dict[str, Any], changes: dict[str, Any], why: str, then: str
) -> None:
    universe = Universe(**traffic)
    patience = {"hold": "30s", "then": then}
    silence = {"no_traffic": patience, "no_labels": patience, "source_down": patience}
    ending = run(tmp_path, universe, course(**changes, **silence, max_duration="2min"))
    assert ending.state == ("rolled_back" if then == "rollback" else "undecided")
    if then == "rollback":
        assert why in ending.why
    assert universe.router.weight == 0
    assert universe.registry.champion == "v1"


def test_evidence_that_does_not_come_ends_undecided(tmp_path: Path) -> None:
    universe = Universe(rate=20, bad=0.02)
    ending = run(tmp_path, universe, course(max_duration="15s"))
    assert ending.state == "undecided"
    assert "undecided after 15s" in ending.why


def test_a_pause_stops_steps_and_not_a_rollback(tmp_path: Path) -> None:
    universe = Universe()
    orders = Orders(tmp_path / "orders.jsonl")
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def pause() -> None:
        universe.on_look = lambda: None
        orders.give("pause", "kim", "lunch", at)

    universe.on_look = pause
    tmp_path.mkdir(exist_ok=True)
    ending = run(tmp_path, universe, course(max_duration="100s"))
    assert ending.state == "undecided"
    assert universe.router.shares == [0.1, 0.0]
    harmed = Universe(bad=0.3)
    folder = tmp_path / "harmed"
    folder.mkdir()
    Orders(folder / "orders.jsonl").give("pause", "kim", "lunch", at)
    assert run(folder, harmed).state == "rolled_back"


def test_a_freeze_holds_even_what_is_harmful_and_an_abort_ends_it(tmp_path: Path) -> None:
    universe = Universe(bad=0.3)
    orders = Orders(tmp_path / "orders.jsonl")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    tmp_path.mkdir(exist_ok=True)
    orders.give("pause", "kim", "looking at it", at, freeze=True)
    looks = []

    def stop() -> None:
        looks.append(universe.router.weight)
        if len(looks) == 50:
            orders.give("abort", "kim", "seen enough", at)

    universe.on_look = stop
    ending = run(tmp_path, universe)
    assert ending == Ending("aborted", "aborted by kim: seen enough")
    assert looks[40] == 0.1


def test_an_approval_is_waited_for(tmp_path: Path) -> None:
    steps = ({"weight": 10, "min": "3s", "min_requests": 10, "approval": True},)
    universe = Universe()
    looks = []
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def approve() -> None:
        looks.append(1)
        if len(looks) == 200:
            Orders(tmp_path / "orders.jsonl").give("approve", "kim", "", at)

    universe.on_look = approve
    assert run(tmp_path, universe, course(steps=steps)).state == "promoted"
    assert len(looks) >= 200


def test_two_controllers_are_one_too_many(tmp_path: Path) -> None:
    with one_controller(tmp_path), pytest.raises(MlgateError, match="another controller"):
        run(tmp_path, Universe())


def test_a_router_that_is_gone_or_busy_is_refused_before_anything_moves(tmp_path: Path) -> None:
    gone = Universe()
    gone.router.gone = True
    with pytest.raises(RouterError, match="does not answer"):
        run(tmp_path / "a", gone)
    busy = Universe()
    busy.router.weight = 0.2
    with pytest.raises(RouterError, match=r"already sends 20.0%"):
        run(tmp_path / "b", busy)


def test_a_router_lost_on_the_way_fails_and_goes_on_later(tmp_path: Path) -> None:
    universe = Universe()
    looks = []

    def lose() -> None:
        looks.append(1)
        universe.router.gone = len(looks) == 5

    universe.on_look = lose
    with pytest.raises(RouterError):
        run(tmp_path, universe)
    assert [n["event"] for n in universe.notifier.news] == ["failed"]
    universe.router.gone = False
    universe.clock.time += 60
    assert universe.router.served_by_canary == 0
    assert run(tmp_path, universe).state == "promoted"
    events = [n["event"] for n in universe.notifier.news]
    assert events == ["failed", "lease_ran_out", "promoted"]


def test_a_clock_that_jumps_ends_nothing(tmp_path: Path) -> None:
    universe = Universe()
    now = universe.clock.now
    looks = []

    def jumping() -> datetime:
        looks.append(1)
        return now().replace(year=2031 if len(looks) % 2 else 2001)

    universe.clock.now = jumping  # type: ignore[method-assign]
    assert run(tmp_path, universe).state == "promoted"


@pytest.mark.parametrize("harm", ["changed", "removed", "swapped"])
def test_a_broken_chain_is_refused_with_its_line_and_moves_nothing(
    tmp_path: Path, harm: str
) -> None:
    universe = Universe()
    run(tmp_path, universe)
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")
    if harm == "changed":
        lines[4] = lines[4].replace(b"0.1", b"0.2")
    elif harm == "removed":
        del lines[4]
    else:
        lines[4], lines[5] = lines[5], lines[4]
    path.write_bytes(b"\n".join(lines))
    moved = list(universe.router.shares)
    with pytest.raises(journals.JournalError, match=r"journal.jsonl:5: the chain is broken"):
        run(tmp_path, universe)
    assert universe.router.shares == moved


def test_orders_that_cannot_be_read_are_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_bytes(b'{"command": "abrot", "who": "kim"}\n')
    with pytest.raises(MlgateError, match=r"orders.jsonl:1: this is no order"):
        run(tmp_path, Universe())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ({"weight": 50}, {"weight": 10})}, "steps must rise"),
        ({"steps": ({"weight": 50, "needs": ("latency_ms",)},)}, "which no trigger watches"),
        ({"interval": "10s"}, "lease must last two intervals"),
    ],
)
def test_a_course_that_cannot_be_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        course(**changes)


def test_the_lease_sends_everybody_to_stable(tmp_path: Path) -> None:
    universe = Universe()
    router: FakeRouter = universe.router
    router.set_share(0.5)
    router.renew(5)
    assert router.served_by_canary == 0.5
    universe.clock.time += 5
    assert router.served_by_canary == 0
