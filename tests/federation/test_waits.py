"""Sites that are lost, come back, crash or are late: every question ends, with an answer or a sentence."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from hypothesis import given, settings
from hypothesis import strategies as st
from rehearsal import Run
from tiny_plans import clinics_only, tiny_plan

from client.records import reply_with
from lego_core.chained_log import ChainedLog
from lego_core.letters import Letter
from lego_core.protocol import AskOffer
from server import exchange as exchange_module
from server.exchange import Answer, Exchange, Question
from server.run_log import RunLog
from simulations.in_process import FIRST_NODE_ID, InProcessGrid

GONE, CRASHED = ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED
SILENT = -1
app = ClientApp()


@app.query("offer")
def say_who(message: Message, context: Context) -> Message:
    return reply_with(Letter("here", str(context.node_id)), message)


class ScriptedGrid(InProcessGrid):
    """What befalls the questions to a site, one after the other: an error, silence, or nothing.

    Args:
        script: By the site's number.
        away: How often a site that was lost is missing when somebody looks who is there.
    """

    def __init__(self, script: dict[int, list[int | None]], *, sites: int = 2, away: int = 0) -> None:
        super().__init__(sites, run_config={}, app=app)
        self.script = {FIRST_NODE_ID + site: list(events) for site, events in script.items()}
        self.asked: list[int] = []
        self.times_to_live: list[float] = []
        self.withheld: dict[str, Message] = {}
        self._away, self._missing = away, dict[int, int]()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        ids = super().push_messages(messages)
        for message, name in zip(messages, ids, strict=True):
            node = message.metadata.dst_node_id
            self.asked.append(node - FIRST_NODE_ID)
            self.times_to_live.append(message.metadata.ttl)
            event = self.script[node].pop(0) if self.script.get(node) else None
            if event == SILENT:
                self.withheld[name] = self._replies.pop(name)
            elif event is not None:
                self._replies[name] = Message(Error(event, "row of PATIENT-42"), reply_to=message)
                if event == GONE:
                    self._missing[node] = self._away
        return ids

    def get_node_ids(self) -> list[int]:
        there = [node for node in super().get_node_ids() if not self._missing.get(node)]
        self._missing = {node: times - 1 for node, times in self._missing.items() if times}
        return there

    def let_through(self) -> None:
        """The late answers arrive."""
        self._replies |= self.withheld


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "SEE_WHO_IS_BACK_SECONDS", 0.01)
    monkeypatch.setattr(exchange_module, "SHORTEST_POLL_SECONDS", 0.01)


def ask(grid: ScriptedGrid, folder: Path, *, seconds: float = 5.0, back: float = 5.0) -> list[Answer]:
    return asking(Exchange(grid, RunLog(folder / "run.jsonl"), return_seconds=back), grid, seconds=seconds)


def asking(exchange: Exchange, grid: ScriptedGrid, *, seconds: float = 5.0) -> list[Answer]:
    questions = [
        Question(context.node_id, f"site-{number}", AskOffer().letter())
        for number, context in enumerate(grid.contexts)
    ]
    return exchange.ask(questions, timeout_seconds=seconds, doing={"phase": "offer", "round": 0})


def events(folder: Path, name: str) -> list[object]:
    return [one["site"] for one in ChainedLog(folder / "run.jsonl").events if one["event"] == name]


def test_site_that_comes_back_within_the_wait_is_asked_again(tmp_path: Path) -> None:
    grid = ScriptedGrid({0: [GONE]}, away=3)

    first, second = ask(grid, tmp_path)

    assert first.letter is not None
    assert second.letter is not None
    assert grid.asked == [0, 1, 0]
    assert events(tmp_path, "asked-again") == ["site-0"]


def test_site_whose_program_crashed_is_asked_again_at_once(tmp_path: Path) -> None:
    grid = ScriptedGrid({1: [CRASHED]})

    answers = ask(grid, tmp_path)

    assert all(answer.letter for answer in answers)
    assert events(tmp_path, "asked-again") == ["site-1"]


def test_site_that_crashes_over_a_question_every_time_is_given_up(tmp_path: Path) -> None:
    grid = ScriptedGrid({0: [CRASHED] * 9})

    first, second = ask(grid, tmp_path)

    assert grid.asked.count(0) == 3
    assert "ended without an answer, as when memory runs out" in first.reason
    assert second.letter is not None


def test_site_that_never_returns_is_waited_for_once_and_then_only_looked_for(tmp_path: Path) -> None:
    grid = ScriptedGrid({0: [GONE]}, away=10_000)
    exchange = Exchange(grid, RunLog(tmp_path / "run.jsonl"), return_seconds=0.1)

    lost, _ = asking(exchange, grid)
    still_lost, other = asking(exchange, grid)

    assert "It was not back within 0.1 seconds" in lost.reason
    assert "was lost earlier in the run" in still_lost.reason
    assert other.letter is not None
    assert grid.asked == [0, 1, 1]


def test_site_that_returns_later_takes_part_again(tmp_path: Path) -> None:
    grid = ScriptedGrid({0: [GONE]}, away=10_000)
    exchange = Exchange(grid, RunLog(tmp_path / "run.jsonl"), return_seconds=0.1)

    asking(exchange, grid)
    grid._missing.clear()
    back, _ = asking(exchange, grid)

    assert back.letter is not None


def test_wait_for_a_lost_site_ends_with_the_wait(tmp_path: Path) -> None:
    first, _ = ask(ScriptedGrid({0: [GONE]}, away=10_000), tmp_path, seconds=0.2, back=1e6)

    assert "lost while it was asked" in first.reason


def test_nobody_waits_for_lost_sites_where_the_plan_does_not(tmp_path: Path) -> None:
    grid = ScriptedGrid({0: [GONE]}, away=1)

    first, _ = ask(grid, tmp_path, back=0.0)

    assert "lost while it was asked" in first.reason
    assert grid.asked == [0, 1]


@pytest.mark.parametrize("code", [1, 3, 4, 5, 7, 8])
def test_what_flower_reports_for_a_site_is_told_in_a_sentence_of_ours(tmp_path: Path, code: int) -> None:
    first, _ = ask(ScriptedGrid({0: [code] * 9}), tmp_path, back=0.0)

    assert first.letter is None
    assert "PATIENT-42" not in first.reason
    assert first.reason.endswith(".")


def test_late_answer_is_dropped_and_frees_the_site(tmp_path: Path) -> None:
    grid = ScriptedGrid({0: [SILENT]})
    exchange = Exchange(grid, RunLog(tmp_path / "run.jsonl"))

    reasons = [asking(exchange, grid, seconds=0.3)[0].reason]
    reasons.append(asking(exchange, grid)[0].reason)
    grid.let_through()
    last, _ = asking(exchange, grid)

    assert reasons == [
        "The site did not answer within 0.3 seconds.",
        "The site is still busy with an earlier question.",
    ]
    assert last.letter is not None
    assert events(tmp_path, "answered-late") == ["site-0"]


def test_flower_keeps_a_question_longer_than_anybody_waits(tmp_path: Path) -> None:
    """Otherwise a slow site would look free as soon as the wait is over."""
    grid = ScriptedGrid({})

    ask(grid, tmp_path, seconds=10.0)

    assert all(25.0 < seconds <= 30.0 for seconds in grid.times_to_live)


def test_site_whose_answer_never_came_is_asked_again_when_flower_has_given_up(tmp_path: Path) -> None:
    grid = ScriptedGrid({0: [SILENT]})
    exchange = Exchange(grid, RunLog(tmp_path / "run.jsonl"))

    asking(exchange, grid, seconds=0.05)
    asked = [asking(exchange, grid, seconds=0.05)[0].letter for _ in range(8)]
    while grid.asked.count(0) == 1:
        asked.append(asking(exchange, grid, seconds=0.05)[0].letter)

    assert asked[0] is None
    assert asked[-1] is not None


@settings(max_examples=30)
@given(
    script=st.dictionaries(
        st.integers(0, 2), st.lists(st.sampled_from([None, SILENT, 0, 1, 2, 3, 4, 5, 6, 7, 8]), max_size=4)
    ),
    away=st.integers(0, 4),
)
def test_every_question_ends_whatever_befalls_it(
    script: dict[int, list[int | None]], away: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    grid = ScriptedGrid(script, sites=3, away=away)

    answers = ask(grid, tmp_path_factory.mktemp("wait"), seconds=0.1)

    assert [answer.question.site for answer in answers] == ["site-0", "site-1", "site-2"]
    assert all((answer.letter is None) == bool(answer.reason) for answer in answers)
    assert max(map(grid.asked.count, range(3))) <= 3


# ---- what the plan says ------------------------------------------------------------------------


def test_modality_may_ask_for_more_sites_than_the_others(run: Run) -> None:
    plan = tiny_plan("[modalities.clinical]\nsmallest-group = 3\n[rounds]\nrounds = 1")

    ended = run(plan)

    assert ended.error is not None
    assert "Modality 'clinical' has 2 sites that can train it" in ended.error.public
    assert "asks for at least 3" in ended.error.public


def test_sites_that_did_not_come_are_in_the_report(run: Run) -> None:
    plan = clinics_only("[rounds]\nrounds = 1\n[participation]\nwait-seconds = 0.1", hospitals=2, patients=80)

    ended = run(plan, sites=1)

    (left,) = ended.report.left_out
    assert ended.report.status == "complete-with-absences"
    assert (left.site, left.phase) == ("1 more", "offer")
    assert "Of 2 sites, 1 came within 0.1 seconds" in left.reason
