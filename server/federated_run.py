"""A federation's flow, in reading order: agree, train blocks, merge, fuse, evaluate."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

from lego_core.assemble import Ingredients, build_block, build_fuse, build_merge
from lego_core.block import LegoBlock
from lego_core.errors import RunError
from lego_core.evaluation import EvaluationReport, ModelSet, pool
from lego_core.mergeability import MergeabilityPair, forecast
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.run_report import Phase, SiteCharts
from server.agreement import Agreed, agree
from server.checkpoint import Vault, write_checkpoint
from server.exchange import Exchange
from server.fusing import check_who_fuses, who_fuses
from server.grams import gather_grams
from server.kept_tensors import kept_grams, kept_normalisations, kept_tensors
from server.learner import Learner
from server.participants import Participant, gather
from server.rejoin import rejoin
from server.resume import Before
from server.rounds import Rounds
from server.run_state import RunIdentity, RunState
from server.scoring import Scoring
from server.training_questions import TrainingPhase, TrainingQuestions
from server.way import Way


@final
class FederatedRun:
    """One run of one plan.

    Args:
        plan: What to do.
        exchange: How to reach the sites.
        vault: Gives the place where checkpoints are kept; asked once, like `way`, and within the run, so
            that a key or a roster that does not hold is in the run's records.
        way: Gives how the sites' numbers travel.
        before: Where to go on, if it broke off before: the same steps are taken, and what was finished is
            read, not asked.
    """

    def __init__(
        self,
        plan: RunPlan,
        exchange: Exchange,
        *,
        vault: Callable[[], Vault],
        way: Callable[[], Way],
        before: Before | None = None,
    ) -> None:
        self.plan = plan
        self.exchange = exchange
        self.before = before
        self._open_vault = vault
        self._choose_way = way
        self.participants: list[Participant] = []
        self.learners: list[Learner] = []
        self.mergeability: list[MergeabilityPair] = []
        self.results: EvaluationReport | None = None
        self.charts: list[SiteCharts] = []
        self.ingredients: Ingredients | None = None
        self.modality_weights: dict[str, float] = {}
        self._agreed: Agreed | None = None
        self._checkpoints = before.number if before else 0

    @cached_property
    def way(self) -> Way:
        """How the sites' numbers travel."""
        return self._choose_way()

    @cached_property
    def vault(self) -> Vault:
        """Where checkpoints are kept."""
        return self._open_vault()

    @property
    def agreed(self) -> Agreed:
        """What the sites agreed on; asks them the first time.

        Raises:
            RunError: If the sites do not suffice for what the plan asks, fuse rounds included.
        """
        if self._agreed is None:
            way, _ = self.way, self.vault  # no site is asked before roster and keys hold
            if self.before and self.before.state.agreement:
                self._agreed = self._agreed_before(self.before, self.before.state.agreement)
            else:
                self._keep("begun")
                self._begin("offer")
                self.participants = gather(self.exchange, self.plan, roster=way.roster)
                self._begin("agree")
                self._agreed = agree(
                    self.participants, plan=self.plan, exchange=self.exchange, office=way.office
                )
                self._check_judges()
                if self.plan.fuse:
                    check_who_fuses(self.participants, self._agreed, plan=self.plan, log=self.exchange.log)
                self._keep("agreed")
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
            if modality in agreed.normalisations:
                block.normalise_with(agreed.normalisations[modality])
            trainers = [one for one in members if one.trains_block(modality, plan)]
            learners.append(Learner(modality, block, members=trainers, plan=plan))
            blocks.append(block)
        self._train(learners, phase="blocks")
        return blocks

    def merge(self, blocks: Sequence[LegoBlock]) -> ModelSet:
        """Merge the blocks without any training, and forecast how well they go together."""
        self._begin("merge")
        trunks = {block.modality: dict(block.trunk.named_parameters()) for block in blocks}
        self.mergeability = forecast(trunks)
        pairs = [pair.model_dump() for pair in self.mergeability]
        names = [block.modality for block in blocks]
        self.ingredients = self._gather_ingredients(blocks)
        merged = build_merge(self.plan, blocks, self.ingredients)
        self.modality_weights = merged.modality_weights
        told = {"modalities": names, "weights": self.modality_weights, "mergeability": pairs}
        if not (self.before and self.before.state.is_merged):
            self.exchange.log.write("merged", told)
            self._keep("merged")
        return ModelSet(merged)

    def fuse(self, models: ModelSet) -> ModelSet:
        """Fine-tune the blocks together at the sites that hold paired patients, if the plan asks."""
        if self.plan.fuse is None:
            return models
        blocks = [models.merged.blocks[name] for name in self.agreed.agreement.schemas]
        fused = build_fuse(self.plan, blocks, self.ingredients)
        members = who_fuses(self.participants, self.agreed)
        self._train([Learner("fused", fused, members=members, plan=self.plan)], phase="fuse")
        return ModelSet(models.merged, fused)

    def evaluate(self, models: ModelSet) -> EvaluationReport:
        """Have every site score every model and subset of modalities it can, and pool the scores."""
        agreed, log = self.agreed, self.exchange.log
        if self.before and self.before.state.results:
            self.charts = list(self.before.state.charts)
            return self.before.state.results
        members = [(one, held) for one in self.participants if (held := agreed.held(one))]
        self._begin("evaluate")
        asked = [[one.site, ""] for one, _ in members]
        log.write("round-started", {"phase": "evaluate", "round": 1, "rounds": 1, "asked": asked})
        scored = self.way.score(Scoring(self.plan, agreed.agreement, members, models))
        self.charts = scored.charts
        metric = agreed.agreement.task.metric
        self.results = pool(scored.reports, metric=metric, best_block=self._best_block())
        told = self.results.model_dump(include={"metric", "best_block", "scores", "withheld"})
        sites = sorted({site for sites in scored.reports for site in sites})
        log.write("evaluated", {"sites": sites, **told})
        self._keep("evaluated")
        return self.results

    def _check_judges(self) -> None:
        """Say which blocks nobody can judge: none of their rounds is kept for being better, or taken back.

        Raises:
            RunError: If modalities count by how well their blocks do.
        """
        plan, terms = self.plan, self.plan.privacy.sum_terms
        for modality, members in self.agreed.members.items():
            trainers = [one for one in members if one.trains_block(modality, plan)]
            judges = [one.site for one in trainers if one.offer.modalities[modality].judges]
            if len(judges) >= (terms.fewest if terms else 1):
                continue
            if plan.merging.needs_scores:
                raise RunError(
                    "Modalities count by validation scores of their blocks (key merging.modality-weights), "
                    f"and of the sites that train '{modality}', {len(judges)} have validation patients that "
                    f"may be told of, of {terms.fewest if terms else 1} at least. Give the sites validation "
                    "patients (key split), or every modality a weight in numbers."
                )
            self.exchange.log.write("nobody-judges", {"modality": modality, "sites": judges})

    def _best_block(self) -> str:
        """The block that ranks the sites' validation patients best.

        Ranks, not losses: the sites of two modalities have different patients, and where
        more of them die the loss is higher for any block.
        """
        blocks = [learner for learner in self.learners if learner.name in self.plan.modalities]
        judged = {one.name: one.best_score for one in blocks if one.best_score is not None}
        return max(judged, key=judged.__getitem__) if judged else blocks[0].name

    def _gather_ingredients(self, blocks: Sequence[LegoBlock]) -> Ingredients:
        """What merge methods work with; sites are asked for sums only if the plan's methods need them."""
        plan, grams, before = self.plan, {}, self.before
        if plan.merging.needs_grams and before and before.state.is_merged:
            grams = kept_grams(before.tensors, blocks)
        elif plan.merging.needs_grams:
            members = {learner.name: learner.members for learner in self.learners}
            grams = gather_grams(
                blocks, members, agreement=self.agreed.agreement, plan=plan, office=self.way.office
            )
        scores = {one.name: one.best_score for one in self.learners if one.best_score is not None}
        return Ingredients(self.learners[0].start, grams, scores)

    def _begin(self, phase: Phase) -> None:
        self.exchange.log.write("phase-started", {"phase": phase})

    def _train(self, learners: list[Learner], *, phase: TrainingPhase) -> None:
        self._begin(phase)
        for learner in learners:
            if self.before and (state := self.before.learner(learner.name)):
                learner.restore(state, self.before.tensors)
        self.learners += learners
        questions = TrainingQuestions(self.plan, self.agreed.agreement, phase)
        Rounds(questions, self.way.collector(questions), self.exchange.log, self._keep).run(learners)

    def _agreed_before(self, before: Before, agreement: Agreement) -> Agreed:
        """What the sites agreed on before the run broke off; those that are left to be asked are heard."""
        state, way = before.state, self.way
        self.participants = list(state.participants)
        if state.results is None:
            self.participants = rejoin(
                state.participants, plan=self.plan, exchange=self.exchange, roster=way.roster
            )
        by_name = {one.site: one for one in self.participants}
        members = {name: [by_name[site] for site in sites] for name, sites in state.members.items()}
        return Agreed(agreement, kept_normalisations(before.tensors), members)

    def _keep(self, about: str) -> None:
        """Write down all that the rest of the run depends on."""
        agreed, self._checkpoints = self._agreed, self._checkpoints + 1
        members = agreed.members if agreed else {}
        state = RunState(
            identity=RunIdentity.of(self.plan, roster_sha256=self.way.roster_sha256),
            run_log_head=self.exchange.log.head,
            participants=tuple(self.participants),
            agreement=agreed.agreement if agreed else None,
            members={name: tuple(one.site for one in own) for name, own in members.items()},
            learners=tuple(learner.to_plain() for learner in self.learners),
            is_merged=self.ingredients is not None,
            results=self.results,
            charts=tuple(self.charts),
        )
        plain = state.model_dump(mode="json")
        tensors = kept_tensors(agreed, self.ingredients, self.learners)
        write_checkpoint(self.vault, number=self._checkpoints, about=about, state=plain, tensors=tensors)
