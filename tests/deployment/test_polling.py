"""A node looks for work soon after there was some, and seldom after a long silence."""

import time
from types import ModuleType

import pytest
from flwr.supernode import start_client_internal

from deploy import polling
from deploy.polling import Clock, poll_as_needed

FLOWERS_IDLE, FLOWERS_BUSY = 3, 0.5


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeping takes no time in a test, except by the clock that is looked at."""
    now, lengths = [1000.0], list[float]()

    def sleep(seconds: float) -> None:
        now[0] += seconds
        lengths.append(seconds)

    monkeypatch.setattr(polling.time, "sleep", sleep)
    monkeypatch.setattr(polling.time, "monotonic", lambda: now[0])
    return lengths


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Flower's module, as it was again after the test."""
    monkeypatch.setattr(start_client_internal, "time", time)
    return start_client_internal


def test_the_loop_of_the_installed_flower_is_the_one_that_is_changed(loop: ModuleType) -> None:
    poll_as_needed()
    poll_as_needed()

    assert isinstance(loop.time, Clock)


def test_another_flower_is_refused_and_left_as_it_is(
    loop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import time\ndef start_client_internal():\n    time.sleep(3)\n    time.sleep(30)\n"
    monkeypatch.setattr(polling.inspect, "getsource", lambda _: source)

    with pytest.raises(ImportError, match="is not the one whose waits can be shortened"):
        poll_as_needed()

    assert loop.time is time


def test_looks_for_work_come_soon_after_work(slept: list[float]) -> None:
    clock = Clock()

    clock.sleep(FLOWERS_BUSY)
    clock.sleep(FLOWERS_IDLE)

    assert slept == [polling.LOCAL_SECONDS, polling.SHORTEST_SECONDS]


def test_looks_become_rare_and_never_rarer_than_flowers(slept: list[float]) -> None:
    clock = Clock()

    for _ in range(100):
        clock.sleep(FLOWERS_IDLE)

    assert slept == sorted(slept)
    assert slept[-1] == FLOWERS_IDLE
    assert max(slept) == FLOWERS_IDLE


def test_work_that_comes_waits_a_tenth_of_the_silence_at_most(slept: list[float]) -> None:
    clock = Clock()

    for _ in range(100):
        silence = sum(slept)
        clock.sleep(FLOWERS_IDLE)
        assert slept[-1] <= max(polling.SHORTEST_SECONDS, 0.1 * silence) + 1e-9
