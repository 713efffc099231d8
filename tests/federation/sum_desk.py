"""A server that a test plays by hand: real sites behind a grid, one question at a time.

A whole run is too slow to try a hundred lies. Here the sites have agreed already, and a test asks
them to train one round of one block; each desk is another run, so that ledgers do not mind.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from listening import ListeningGrid, Overheard
from tiny_plans import clinics_only
from torch import Tensor

from client.records import read_letter
from client.site import read_site_file
from lego_core.assemble import build_block
from lego_core.letters import AbstractMessage, Letter
from lego_core.plan import RunPlan
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.run_report import LeftOut
from lego_core.sum_forms import SumForm
from lego_core.sum_letters import (
    AbstractSumAnswer,
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    MaskedVectors,
    SumConfirmations,
    SumOpening,
)
from server.agreement import Agreed, agree
from server.asked import Asked
from server.exchange import Exchange
from server.gathered import Gathered
from server.learner import Learner
from server.open_updates import OpenUpdates
from server.participants import Participant, gather
from server.run_log import RunLog
from server.setting import way_of
from server.summed_updates import SummedUpdates
from server.sums import SumOffice
from server.training_questions import TrainingQuestions
from simulations.in_process import (
    SERVER_NODE_ID,
    Fault,
    RunConfig,
    answer_faithfully,
    over_the_wire,
)
from simulations.make_sites import make_sites

MODALITY = "clinical"
Answer = Callable[[], Message]
RUN_IDS = count(1000)
AnyQuestion = TypeVar("AnyQuestion", bound=AbstractMessage)
Lie = Callable[[SessionDescriptor], SessionDescriptor]


def _honest(described: SessionDescriptor) -> SessionDescriptor:
    return described


@dataclass(frozen=True)
class LyingOffice(SumOffice):  # type: ignore[misc]
    """An office that begins other sessions than it should."""

    lie: Lie = _honest

    def describe(
        self, form: SumForm, asked: Sequence[Asked], *, round_number: int, attempt: int
    ) -> SessionDescriptor:
        """As the plan has it, but for the lie."""
        honest = SumOffice.describe(self, form, asked, round_number=round_number, attempt=attempt)
        return self.lie(honest)


class HandGrid(ListeningGrid):
    """A grid whose sites can be asked apart from it."""

    def deliver(self, site: int, message: Message) -> Message:
        """Ask a site; the message must have been on its way once, or be like one that was."""
        return self._app(message, self.contexts[site])


@dataclass
class Desk:
    """One run that has come as far as training.

    Args:
        plan: What to do.
        agreed: What the sites agreed on.
        grid: The connection.
        exchange: How to reach the sites.
        office: Who adds up; None where the plan hides nothing.
        is_judged: Whether sites also score what they receive, in a second sum.
    """

    plan: RunPlan
    agreed: Agreed
    grid: HandGrid
    exchange: Exchange
    office: SumOffice | None
    is_judged: bool = False
    learner: Learner = field(init=False)

    def __post_init__(self) -> None:
        block = build_block(self.plan, self.agreed.agreement, MODALITY)
        block.normalise_with(self.agreed.normalisations[MODALITY])
        members = self.agreed.members[MODALITY]
        if not self.is_judged:
            members = [claiming(one, judges=False) for one in members]
        self.learner = Learner(MODALITY, block, members=members, plan=self.plan)

    def train(self, *, number: int = 1) -> Gathered:
        """One round."""
        questions = TrainingQuestions(self.plan, self.agreed.agreement, "blocks")
        collector = (
            SummedUpdates(questions, self.office) if self.office else OpenUpdates(questions, self.exchange)
        )
        return collector.train([self.learner], number=number)[MODALITY]

    def weights_after(self, gathered: Gathered) -> dict[str, Tensor]:
        """The block as the round leaves it."""
        learner = copy.deepcopy(self.learner)
        for part, updates in gathered.updates.items():
            learner.move(part, updates)
        return learner.state()

    def answer(self, site: int, message: Message) -> Letter:
        """What a site says to a message, now."""
        return read_letter(self.grid.deliver(site, message))

    @property
    def left_out(self) -> list[LeftOut]:
        """Who took no part in what."""
        return self.exchange.log.left_out

    def reasons(self, site: str) -> str:
        """Why a site took no part, in all that is known."""
        return "\n".join(one.reason for one in self.left_out if one.site == site)

    def asked(self, kind: type[AbstractMessage], *, site: int | None = None) -> list[Overheard]:
        """The questions of one kind."""
        return [one for one in self.grid.asked if site in (None, one.site) and one.is_a(kind)]

    def answered(self, kind: type[AbstractMessage], *, site: int | None = None) -> list[Overheard]:
        """The answers of one kind."""
        return [one for one in self.grid.answered if site in (None, one.site) and one.is_a(kind)]

    def sessions(self) -> dict[str, SessionDescriptor]:
        """All sessions that were begun, by name."""
        read = [
            SessionDescriptor.read(packed)
            for one in self.asked(AskSumKeys)
            for packed in AskSumKeys.read(one.letter).sessions
        ]
        return {one.sid.hex(): one for one in read}

    def shares_of(self, sid: str, place: int) -> int:
        """How many sites handed out a share of somebody's secret, of either kind."""
        opened = [SumOpening.read(one.letter).shares for one in self.answered(SumOpening)]
        return sum(place in one.get(sid, {}) for one in opened)

    def sent(self, *, site: int) -> dict[str, set[str]]:
        """The sessions in which a site gave away something that hides or opens, by kind."""
        masked = [MaskedVectors.read(one.letter) for one in self.answered(MaskedVectors, site=site)]
        signed = [SumConfirmations.read(one.letter) for one in self.answered(SumConfirmations, site=site)]
        opened = [SumOpening.read(one.letter) for one in self.answered(SumOpening, site=site)]
        return {
            "vector": {sid for one in masked for sid in one.signatures},
            "signature": {sid for one in signed for sid in one.signatures},
            "shares": {sid for one in opened for sid in one.shares},
        }

    def declined(self, kind: type[AbstractSumAnswer], *, site: int) -> str:
        """What a site said when it ended sessions."""
        return "\n".join(
            reason
            for one in self.answered(kind, site=site)
            for reason in kind.read(one.letter).declined.values()
        )


@dataclass
class Consortium:
    """Sites on the disk that have agreed; a desk is a run of theirs."""

    plan: RunPlan
    folder: Path
    participants: list[Participant]
    agreed: Agreed

    @classmethod
    def of(cls, plan: RunPlan, folder: Path) -> "Consortium":
        """Make the sites, and have them agree; runs are not compared, since each desk is one of its own."""
        make_sites(plan, folder / "sites")
        for path in (folder / "sites").glob("site-*/site.toml"):
            set_rules(path, {"compare-runs": False})
        grid, exchange, office = _connect(plan, folder, answer_faithfully, lie=None)
        participants = gather(exchange, plan)
        assert len(participants) == len(grid.contexts)
        agreed = agree(participants, plan=plan, exchange=exchange, office=office)
        return cls(plan, folder, participants, agreed)

    def desk(
        self, fault: Fault = answer_faithfully, *, lie: Lie | None = None, is_judged: bool = False
    ) -> Desk:
        """Another run of these sites.

        Args:
            fault: What goes wrong between server and sites.
            lie: Changes every session that is begun.
            is_judged: Whether sites also score what they receive, in a second sum.
        """
        grid, exchange, office = _connect(self.plan, self.folder, fault, lie=lie)
        summing = office if isinstance(office, SumOffice) else None
        return Desk(self.plan, self.agreed, grid, exchange, summing, is_judged)

    def site(self, number: int) -> Path:
        """The folder of a site."""
        return self.folder / "sites" / f"site-{number}"


def claiming(member: Participant, *, judges: bool) -> Participant:
    """A site whose offer says that it has validation patients, or none."""
    own = {name: one.model_copy(update={"judges": judges}) for name, one in member.offer.modalities.items()}
    return replace(member, offer=member.offer.model_copy(update={"modalities": own}))


def set_rules(path: Path, rules: dict[str, Any]) -> None:
    """Have a site.toml say other rules."""
    path.write_text(tomli_w.dumps({**read_site_file(path).to_plain(), "rules": rules}), encoding="utf-8")


def _connect(
    plan: RunPlan, folder: Path, fault: Fault, *, lie: Lie | None
) -> tuple[HandGrid, Exchange, SumOffice]:
    number = next(RUN_IDS)
    output = folder / f"run-{number}"
    output.mkdir()
    run_config: RunConfig = {
        "plan": plan.name, "sites-dir": str(folder / "sites"), "output": str(output)
    }  # fmt: skip
    sites = plan.simulation.num_hospitals if plan.simulation else 0
    grid = HandGrid(sites, run_config=run_config, fault=fault)
    for context in grid.contexts:
        context.run_id = number
    exchange = Exchange(grid, RunLog(output / "run.jsonl"))
    context = Context(number, SERVER_NODE_ID, {}, RecordDict(), run_config)
    office = way_of(plan, exchange, context).office
    if lie and isinstance(office, SumOffice):
        office = LyingOffice(**vars(office), lie=lie)
    return grid, exchange, office  # type: ignore[return-value]


def put(message: Message, letter: Letter) -> None:
    """Have a message carry another letter."""
    message.content["letter"] = ConfigRecord({"kind": letter.kind, "body": letter.body})
    message.content["tensors"] = ArrayRecord(dict(letter.tensors))


def lying(
    kind: type[AnyQuestion],
    change: Callable[[AnyQuestion], AbstractMessage],
    *,
    to: int,
    tensors: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda own: own,
) -> Fault:
    """The server asks one site something else than the others, from one kind of question on."""

    def fault(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
        if site == to and message.metadata.message_type == kind.kind:
            letter = read_letter(message)
            put(message, change(kind.read(letter)).letter(tensors(letter.tensors)))
        return answer()

    return fault


def another(overheard: Overheard, letter: Letter) -> Message:
    """A message like one that was on its way, with another letter."""
    message = over_the_wire(overheard.message)
    put(message, letter)
    return message


def summing_clinics(
    hospitals: int, changes: str = "", *, kind: str = "secure-sum", privacy: str = ""
) -> RunPlan:
    """A plan of one modality whose sites are not waited for long."""
    return clinics_only(
        f'[privacy]\nkind = "{kind}"\n{privacy}\n[participation]\nround-seconds = 0.5\n{changes}',
        hospitals=hospitals,
        patients=40 * hospitals,
    )


# ---- lies --------------------------------------------------------------------------------------


def with_bundles(
    change: Callable[[dict[int, bytes]], dict[int, bytes]],
) -> Callable[[AskSumShares], AskSumShares]:
    return lambda one: one.model_copy(
        update={"bundles": {sid: change(dict(shown)) for sid, shown in one.bundles.items()}}
    )


def with_sets(**sets: tuple[int, ...]) -> Callable[[AskSumConfirmations], AskSumConfirmations]:
    return lambda one: one.model_copy(
        update={"sets": {sid: own.model_copy(update=sets) for sid, own in one.sets.items()}}
    )


def with_confirmations(
    change: Callable[[dict[int, bytes]], dict[int, bytes]],
) -> Callable[[AskSumOpening], AskSumOpening]:
    return lambda one: one.model_copy(
        update={"confirmations": {sid: change(dict(own)) for sid, own in one.confirmations.items()}}
    )


def shifted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    first = min(name for name in tensors if name.startswith("trunk"))
    return {**tensors, first: tensors[first] + 1e-3}
