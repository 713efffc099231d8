"""A federation's flow, in reading order: agree, train blocks, merge, fuse, evaluate."""

from collections.abc import Sequence
from typing import final

from lego_core.assemble import Ingredients, build_block, build_fuse, build_merge, build_models
from lego_core.block import LegoBlock
from lego_core.errors import LegoError, RunError
from lego_core.evaluation import EvaluationReport, ModelSet, pool
from lego_core.mergeability import MergeabilityPair, forecast
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement, AskReport, SiteReport
from lego_core.run_report import LeftOut, SiteCharts
from server.agreement import Agreed, agree
from server.checkpoint import Vault
from server.exchange import Exchange, Question
from server.grams import gather_grams
from server.learner import Learner
from server.participants import Participant, gather
from server.rounds import Phase, Rounds
from server.site_reports import read_report


@final
class FederatedRun:
    """One run of one plan.

    Args:
        plan: What to do.
        exchange: How to reach the sites.
        folder: Where finished rounds are kept.
    """

    def __init__(self, plan: RunPlan, exchange: Exchange, folder: Vault) -> None:
        self.plan = plan
        self.exchange = exchange
        self.folder = folder
        self.participants: list[Participant] = []
        self.learners: list[Learner] = []
        self.mergeability: list[MergeabilityPair] = []
        self.charts: list[SiteCharts] = []
        self.ingredients: Ingredients | None = None
        self.modality_weights: dict[str, float] = {}
        self._agreed: Agreed | None = None

    @property
    def agreed(self) -> Agreed:
        """What the sites agreed on; asks them the first time."""
        if self._agreed is None:
            self.participants = gather(self.exchange, self.plan)
            self._agreed = agree(self.participants, plan=self.plan, exchange=self.exchange)
        return self._agreed

    @property
    def agreement(self) -> Agreement | None:
        """What the sites agreed on, as far as the run has come."""
        return self._agreed.agreement if self._agreed else None

    def train_blocks(self) -> list[LegoBlock]:
        """Train one global block per modality, each over its sites, all in the same rounds."""
        agreed, plan = self.agreed, self.plan
        blocks, learners = [], []
        for modality, members in agreed.members.items():
            block = build_block(plan, agreed.agreement, modality)
            block.normalise_with(agreed.normalisations[modality])
            trainers = [one for one in members if one.trains_block(modality, plan)]
            learners.append(Learner(modality, block, members=trainers, plan=plan))
            blocks.append(block)
        self._train(learners, phase="blocks")
        return blocks

    def merge(self, blocks: Sequence[LegoBlock]) -> ModelSet:
        """Merge the blocks without any training, and forecast how well they go together."""
        trunks = {block.modality: dict(block.trunk.named_parameters()) for block in blocks}
        self.mergeability = forecast(trunks)
        pairs = [pair.model_dump() for pair in self.mergeability]
        names = [block.modality for block in blocks]
        self.ingredients = self._gather_ingredients(blocks)
        merged = build_merge(self.plan, blocks, self.ingredients)
        self.modality_weights = merged.modality_weights
        told = {"modalities": names, "weights": self.modality_weights, "mergeability": pairs}
        self.exchange.log.write("merged", told)
        return ModelSet(merged)

    def fuse(self, models: ModelSet) -> ModelSet:
        """Fine-tune the blocks together at the sites that hold paired patients, if the plan asks."""
        if self.plan.fuse is None:
            return models
        agreed = self.agreed
        members = [
            one.with_only(held)
            for one in self.participants
            if one.offer.paired and len(held := self._held(one)) > 1
        ]
        if not members:
            raise RunError(
                f"Plan '{self.plan.name}' asks for fuse rounds and no site has training patients with "
                "several modalities. Invite one that has, or take [fuse] out of the plan."
            )
        blocks = [models.merged.blocks[name] for name in agreed.agreement.schemas]
        fused = build_fuse(self.plan, blocks, self.ingredients)
        self._train([Learner("fused", fused, members=members, plan=self.plan)], phase="fuse")
        return ModelSet(models.merged, fused)

    def evaluate(self, models: ModelSet) -> EvaluationReport:
        """Have every site score every model and subset of modalities it can, and pool the scores."""
        exchange, agreed, log = self.exchange, self.agreed, self.exchange.log
        questions = [self._ask_report(one, models) for one in self.participants if self._held(one)]
        asked = [[question.site, ""] for question in questions]
        log.write("round-started", {"phase": "evaluate", "round": 1, "rounds": 1, "asked": asked})
        answers = exchange.ask(
            questions,
            timeout_seconds=self.plan.participation.round_seconds,
            doing={"phase": "evaluate", "round": 1},
        )
        reports: dict[str, SiteReport] = {}
        for answer in answers:
            try:
                reports[answer.question.site] = read_report(answer, plan=self.plan)
            except LegoError as error:
                log.leave_out(
                    LeftOut(
                        site=answer.question.site, phase="evaluate", round=1, declined=answer.declined,
                        reason=error.public,
                    )
                )  # fmt: skip
        if not reports:
            raise RunError("No site could evaluate the models. See who was left out and why.")
        self.charts = [SiteCharts(site=site, rows=reports[site].charts) for site in sorted(reports)]
        log.write("evaluated", {"sites": sorted(reports)})
        return pool(reports, metric=agreed.agreement.task.metric, best_block=self._best_block())

    def _best_block(self) -> str:
        """The block that ranks the sites' validation patients best.

        Ranks, not losses: the sites of two modalities have different patients, and where
        more of them die the loss is higher for any block.
        """
        blocks = [learner for learner in self.learners if learner.name in self.plan.modalities]
        return max(blocks, key=lambda learner: learner.best_score).name

    def _gather_ingredients(self, blocks: Sequence[LegoBlock]) -> Ingredients:
        """What merge methods work with; sites are asked for sums only if the plan's methods need them."""
        plan, grams = self.plan, {}
        if plan.merging.needs_grams:
            members = {learner.name: learner.members for learner in self.learners}
            grams = gather_grams(
                blocks, members, agreement=self.agreed.agreement, plan=plan, exchange=self.exchange
            )
        scores = {learner.name: learner.best_score for learner in self.learners}
        return Ingredients(self.learners[0].start, grams, scores)

    def _train(self, learners: list[Learner], *, phase: Phase) -> None:
        self.learners += learners
        Rounds(self.plan, self.exchange, self.folder, self.agreed.agreement, phase).run(learners)

    def _held(self, one: Participant) -> tuple[str, ...]:
        """The modalities that a site holds in the agreed form."""
        return tuple(name for name, members in self.agreed.members.items() if one in members)

    def _ask_report(self, one: Participant, models: ModelSet) -> Question:
        held, agreement = self._held(one), self.agreed.agreement
        question = AskReport(agreement=agreement, modalities=held, with_fused=models.fused is not None)
        needed = build_models(self.plan, agreement, held, with_fused=models.fused is not None)
        state = models.state_dict()
        return Question(
            one.node_id, one.site, question.letter({name: state[name] for name in needed.state_dict()})
        )
