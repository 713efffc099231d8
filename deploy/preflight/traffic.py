"""What went between coordinator and sites in a dry run, and what a whole run would come to."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from flwr.app import Message
from flwr.common.serde import message_to_proto

from client.records import read_letter
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import QUESTIONS, AskBlockUpdate, AskFuseUpdate, AskOutcomes, AskReport
from lego_core.sum_letters import AskSumConfirmations, AskSumKeys, AskSumOpening, AskSumShares

BEFORE = {AskSumKeys.kind, AskSumShares.kind}  # legs of a sum that come before the question it is about
AFTER = {AskSumConfirmations.kind, AskSumOpening.kind}

Leaving = tuple[str, str, tuple[int, ...], str]  # letter, tensor, shape, type


@final
@dataclass
class Exchanged:
    """One kind of question about one thing, at one site, with the legs of its sums.

    Args:
        times: How often a whole run asks it.
    """

    times: int
    messages: int = 0
    down: int = 0
    up: int = 0


@final
@dataclass
class Traffic:
    """Listens to an in-process run; bytes are those of the messages as Flower writes them.

    Args:
        plan: The whole plan, not the shortened one: it says how often a question comes.
    """

    plan: RunPlan
    sites: dict[int, dict[tuple[str, str], Exchanged]] = field(default_factory=lambda: defaultdict(dict))
    leaving: dict[int, dict[str, set[Leaving]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    _pending: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    _last: dict[int, Exchanged] = field(default_factory=dict)

    def listen(self, site: int, message: Message, answer: Callable[[], Message]) -> Message:
        """Let a message and its answer pass, and weigh both."""
        question = read_letter(message)
        reply = answer()
        down, up = _weight(message), _weight(reply)
        if question.kind in BEFORE:
            self._pending[site].append((down, up))
        elif question.kind in AFTER and site in self._last:
            self._add(self._last[site], down, up)
        else:
            about = _about(question)
            new = Exchanged(self._times(question))
            entry = self.sites[site].setdefault((question.kind, about), new)
            self._last[site] = entry
            self._add(entry, down, up)
            for one in self._pending.pop(site, []):
                self._add(entry, *one)
        if reply.has_content():
            letter = read_letter(reply)
            for name, tensor in letter.tensors.items():
                shown = name if question.kind != letter.kind and not _is_session(name) else "one per session"
                dtype = str(tensor.dtype).removeprefix("torch.")
                self.leaving[site][_about(question)].add((letter.kind, shown, tuple(tensor.shape), dtype))
        return reply

    def messages(self, site: int) -> int:
        """Questions of a whole run to one site."""
        return sum(one.messages * one.times for one in self.sites[site].values())

    def bytes_down(self, site: int) -> int:
        """Bytes of all of them."""
        return sum(one.down * one.times for one in self.sites[site].values())

    def bytes_up(self, site: int) -> int:
        """Bytes of the answers."""
        return sum(one.up * one.times for one in self.sites[site].values())

    def _times(self, question: Letter) -> int:
        if question.kind not in (AskBlockUpdate.kind, AskFuseUpdate.kind):
            return 1
        asked = {one.kind: one for one in QUESTIONS}[question.kind].read(question)
        if getattr(asked, "score_only", False):
            return 1
        if question.kind == AskFuseUpdate.kind:
            return self.plan.fuse.rounds if self.plan.fuse else 0
        return self.plan.rounds.rounds if self.plan.rounds.mode == "rounds" else 1

    def _add(self, entry: Exchanged, down: int, up: int) -> None:
        entry.messages += 1
        entry.down += down
        entry.up += up


def _about(letter: Letter) -> str:
    """What a question is about, in words."""
    asked = {one.kind: one for one in QUESTIONS}[letter.kind].read(letter)
    scored = ", scored" if getattr(asked, "score_only", False) else ""
    if isinstance(asked, AskFuseUpdate):
        return f"fused model{scored}"
    if isinstance(asked, AskBlockUpdate):
        return f"block '{asked.modality}'{scored}"
    return str(
        getattr(asked, "modality", {AskOutcomes: "outcomes", AskReport: "scores"}.get(type(asked), ""))
    )


def _weight(message: Message) -> int:
    return len(message_to_proto(message).SerializeToString())


def _is_session(name: str) -> bool:
    """Whether a tensor is called by the number of a secure sum's session."""
    return len(name) >= 32 and all(sign in "0123456789abcdef" for sign in name)
