"""A federation's flow, in reading order: agree, train blocks, merge, fuse, evaluate."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import final

from lego_core.assemble import Ingredients, build_block, build_fuse, build_merge
from lego_core.block import LegoBlock
from lego_core.errors import RunError
from lego_core.evaluation import EvaluationReport, ModelSet, pool
from lego_core.mergeability import MergeabilityPair, forecast
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.run_report import LeftOut, Phase, SiteCharts
from server.agreement import Agreed, agree
from server.checkpoint import Vault
from server.exchange import Exchange
from server.grams import gather_grams
from server.learner import Learner
from server.participants import Participant, gather
from server.rounds import Rounds
from server.scoring import Scoring
from server.training_questions import TrainingPhase, TrainingQuestions
from server.way import Way


@final
class FederatedRun:
    """One run of one plan.

    Args:
        plan: What to do.
        exchange: How to reach the sites.
        vault: Gives the place where finished rounds are kept; asked once, like `way`, and within the run, so
            that a key or a roster that does not hold is in the run's records.
        way: Gives how the sites' numbers travel.
    """

    def __init__(
        self, plan: RunPlan, exchange: Exchange, *, vault: Callable[[], Vault], way: Callable[[], Way]
    ) -> None:
        self.plan = plan
        self.exchange = exchange
        self._open_vault = vault
        self._choose_way = way
        self.participants: list[Participant] = []
        self.learners: list[Learner] = []
        self.mergeability: list[MergeabilityPair] = []
        self.charts: list[SiteCharts] = []
        self.ingredients: Ingredients | None = None
        self.modality_weights: dict[str, float] = {}
        self._agreed: Agreed | None = None
        self._fusing: list[Participant] = []

    @cached_property
    def way(self) -> Way:
        """How the sites' numbers travel."""
        return self._choose_way()

    @cached_property
    def vault(self) -> Vault:
        """Where finished rounds are kept."""
        return self._open_vault()

    @property
    def agreed(self) -> Agreed:
        """What the sites agreed on; asks them the first time.

        Raises:
            RunError: If the sites do not suffice for what the plan asks, fuse rounds included.
        """
        if self._agreed is None:
            way, _ = self.way, self.vault  # no site is asked before roster and keys hold
            self._begin("offer")
            self.participants = gather(self.exchange, self.plan, roster=way.roster)
            self._begin("agree")
            self._agreed = agree(self.participants, plan=self.plan, exchange=self.exchange, office=way.office)
            self._check_judges()
            if self.plan.fuse is not None:
                self._fusing = self._who_fuses()
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
        self.exchange.log.write("merged", told)
        return ModelSet(merged)

    def fuse(self, models: ModelSet) -> ModelSet:
        """Fine-tune the blocks together at the sites that hold paired patients, if the plan asks."""
        if self.plan.fuse is None:
            return models
        blocks = [models.merged.blocks[name] for name in self.agreed.agreement.schemas]
        fused = build_fuse(self.plan, blocks, self.ingredients)
        self._train([Learner("fused", fused, members=self._fusing, plan=self.plan)], phase="fuse")
        return ModelSet(models.merged, fused)

    def evaluate(self, models: ModelSet) -> EvaluationReport:
        """Have every site score every model and subset of modalities it can, and pool the scores."""
        agreed, log = self.agreed, self.exchange.log
        members = [(one, held) for one in self.participants if (held := self._held(one))]
        self._begin("evaluate")
        asked = [[one.site, ""] for one, _ in members]
        log.write("round-started", {"phase": "evaluate", "round": 1, "rounds": 1, "asked": asked})
        scored = self.way.score(Scoring(self.plan, agreed.agreement, members, models))
        self.charts = scored.charts
        results = pool(scored.reports, metric=agreed.agreement.task.metric, best_block=self._best_block())
        told = results.model_dump(include={"metric", "best_block", "scores", "withheld"})
        log.write(
            "evaluated", {"sites": sorted({site for sites in scored.reports for site in sites}), **told}
        )
        return results

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

    def _who_fuses(self) -> list[Participant]:
        """The sites with paired patients, each asked about what it holds in the agreed form.

        Raises:
            RunError: If there are none, or too few for the plan's sums.
        """
        members = [one.with_only(self._held(one)) for one in self.participants]
        members = [one for one in members if one.teaches("head")]
        if not members:
            raise RunError(
                f"Plan '{self.plan.name}' asks for fuse rounds and no site has training patients with "
                "several modalities. Invite one that has, or take [fuse] out of the plan."
            )
        self._check_sums_of_parts(members)
        return members

    def _check_sums_of_parts(self, members: Sequence[Participant]) -> None:
        """Refuse fuse rounds that a secure sum could not hide, or say which blocks stay as they are.

        Raises:
            RunError: If too few sites fuse, or if too few hold a block and the plan does not go on so.
        """
        terms = self.plan.privacy.sum_terms
        if terms is None:
            return
        held = {name: [one for one in members if one.teaches(name)] for name in self.agreed.agreement.schemas}
        few = {name: own for name, own in held.items() if 0 < len(own) < terms.fewest}
        if len(members) < terms.fewest or (few and self.plan.privacy.small_groups == "refuse"):
            counts = ", ".join(f"'{name}' {len(own)}" for name, own in few.items()) or "each block as many"
            raise RunError(
                f"Fuse rounds of plan '{self.plan.name}' have {len(members)} sites with paired patients "
                f"({counts}), and a secure sum needs {terms.fewest} for the head and for every block (keys "
                f"min-survivors and max-corrupt of [{self.plan.privacy.sums_table}]). Invite more such "
                f"sites, or take [fuse] out of the plan{_or_without(few, self.plan)}."
            )
        for name, own in few.items():
            for one in own:
                reason = (
                    f"Block '{name}' is held by {len(own)} of the sites that fuse, and a secure sum needs "
                    f"{terms.fewest}: what it learns there stays there, and the block stays as it is."
                )
                self.exchange.log.leave_out(
                    LeftOut(site=one.site, phase="fuse", round=0, modality=name, reason=reason)
                )

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
        plan, grams = self.plan, {}
        if plan.merging.needs_grams:
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
        self.learners += learners
        questions = TrainingQuestions(self.plan, self.agreed.agreement, phase)
        Rounds(questions, self.way.collector(questions), self.exchange.log, self.vault).run(learners)

    def _held(self, one: Participant) -> tuple[str, ...]:
        """The modalities that a site holds in the agreed form."""
        return tuple(name for name, members in self.agreed.members.items() if one in members)


def _or_without(few: Mapping[str, object], plan: RunPlan) -> str:
    """What else to do about blocks that too few sites hold, where the plan can go on without them."""
    if not few or plan.privacy.small_groups != "refuse":
        return ""
    return ", or set privacy.too-few to 'keep-local' to leave these blocks as they are"
