"""What a site takes part in: its own rules, asked at every question, before any data is opened."""

from collections.abc import Iterator
from typing import Annotated, final, get_args

from pydantic import Field, StringConstraints, field_validator

from lego_core.component import Component
from lego_core.encoders import Encoder
from lego_core.errors import SecureSumError, SiteRefusal
from lego_core.plan import RunPlan
from lego_core.privacy import Privacy, SumTerms
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.protocol import AbstractSummable
from lego_core.records import Cohort

CALLS_CODE = "module"  # the kind of encoder that imports and calls whatever the plan names

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@final
class SiteRules(Component):
    """The table `[rules]` of `site.toml`.

    A key that is left out asks for nothing, but for `encoders`, and for `privacy`, which a site with data of
    its own must name.

    ```toml
    [rules]
    privacy = ["secure-sum", "patient-dp"]  # kinds of privacy plans; there is no order among them
    epsilon = 3.0                           # largest budget of a plan that spends one
    modalities = ["clinical"]               # what may take part; the rest is not offered
    encoders = ["tabular"]                  # kinds; without the key, any but "module"
    smallest-group = 5                      # fewest sites in a sum
    most-rounds = 30                        # rounds of training, of blocks and fused model together
    smallest-count = 20                     # fewest patients behind anything that leaves
    plans = ["9f86d081884c7d65..."]         # SHA-256 of the plan files that were approved
    compare-runs = true                     # hold sums of one run against those of another
    ```

    Args:
        privacy: Kinds of privacy plans that the site accepts.
        epsilon: Largest `privacy.epsilon`, where the plan has one. To ask for one, name in `privacy` only
            kinds that have it.
        modalities: Names of what may take part.
        encoders: Kinds of encoders that may be trained here. `module`, which calls code that the plan
            names, must be named.
        smallest_group: Fewest sites: in the plan, and in every secure sum that is begun.
        most_rounds: Most rounds of training.
        smallest_count: Fewest patients behind sums, updates and scores; where the plan's
            `evaluation.smallest-count` is larger, that applies.
        plans: SHA-256 of the plans that may be run, as `sha256sum` gives it of the file.
        compare_runs: Whether the site signs no secure sum that differs, by one site or two, from one of
            another run for the same weights: the difference is what these sites gave.

    Guarantees:
        Whatever the server asks first, a refused run reads no file of patients.
        Not that the code which asks these rules is the one that was approved: for that, the SuperNode is
        started by `python -m deploy site start`, which runs no other.
    """

    privacy: tuple[str, ...] | None = Field(default=None, min_length=1)
    epsilon: float | None = Field(default=None, gt=0)
    modalities: tuple[str, ...] | None = Field(default=None, min_length=1)
    encoders: tuple[str, ...] | None = Field(default=None, min_length=1)
    smallest_group: int = Field(default=1, ge=1)
    most_rounds: int | None = Field(default=None, ge=1)
    smallest_count: int | None = Field(default=None, ge=1)
    plans: tuple[Sha256, ...] | None = Field(default=None, min_length=1)
    compare_runs: bool = True

    @field_validator("privacy")
    @classmethod
    def _check_privacy(cls, named: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _among(named, kinds_of(Privacy), what="privacy plan")

    @field_validator("encoders")
    @classmethod
    def _check_encoders(cls, named: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _among(named, kinds_of(Encoder), what="encoder")

    def check_plan(self, plan: RunPlan, *, sha256: str) -> None:
        """Decline a run that the site wants no part in.

        Args:
            plan: The plan, from the site's own copy.
            sha256: Hash of the file it was read from.

        Raises:
            SiteRefusal: With everything that stands against it.
        """
        reasons = list(self._against(plan, sha256))
        if reasons:
            raise SiteRefusal(
                f"This site declines: {'; '.join(reasons)}. No data was opened. Agree on a plan that the "
                "site accepts, or let its operator change [rules] in site.toml."
            )

    def check_stated(self) -> None:
        """Decline any run while the site does not say which privacy it accepts.

        Raises:
            SiteRefusal: If it does not.
        """
        if self.privacy is None:
            raise SiteRefusal(
                "This site declines: its site.toml does not say which kinds of privacy plans it accepts. No "
                f"data was opened. Let its operator name them in [rules], key privacy; there are "
                f"{kinds_of(Privacy)}."
            )

    def check_question(self, question: AbstractSummable) -> None:
        """Decline a question that goes beyond what the plan made known.

        Raises:
            SiteRefusal: If it is about another modality, or one round too many.
        """
        about = [getattr(question, "modality", None), *getattr(question, "modalities", ())]
        closed = [name for name in about if name is not None and not self.lets(name)]
        if closed:
            raise SiteRefusal(
                f"This site declines: it is asked about {closed} and lets {sorted(self.modalities or ())} "
                "take part (key rules.modalities). No data was opened. Ask about these alone."
            )
        number = 0 if getattr(question, "score_only", False) else getattr(question, "round", 0)
        if self.most_rounds is not None and number > self.most_rounds:
            raise SiteRefusal(
                f"This site declines: it is asked for round {number} and takes part in {self.most_rounds} at "
                "most (key rules.most-rounds). No data was opened. End the run here."
            )

    def check_session(self, described: SessionDescriptor, *, terms: SumTerms) -> None:
        """Refuse a secure sum that is less safe than the plan says, or that is of too few sites.

        Args:
            described: The session, as the server describes it.
            terms: What the site's own plan asks for.

        Raises:
            SecureSumError: If it is.
        """
        there = len(described.participants)
        if described.max_corrupt < terms.most_corrupt(there):
            raise SecureSumError(
                f"The site refuses this session of the secure sum: it withstands {described.max_corrupt} "
                f"corrupt sites of {there}, and its plan asks for {terms.most_corrupt(there)} (key "
                "max-corrupt). Nothing was sent. Give server and site the same bundle."
            )
        wanted = max(terms.fewest_survivors(there), self.smallest_group)
        if described.min_survivors < wanted:
            raise SecureSumError(
                f"The site refuses this session of the secure sum: a sum of {described.min_survivors} sites "
                f"could be opened, and its plan and its rules ask for {wanted}. Nothing was sent. Give "
                "server and site the same bundle, and invite as many sites."
            )

    def lets(self, modality: str) -> bool:
        """Whether a modality may take part."""
        return self.modalities is None or modality in self.modalities

    def restrict(self, cohort: Cohort) -> Cohort:
        """The cohort as the run may know it: what may not take part is not there."""
        allowed = [name for name in cohort.modalities if self.lets(name)]
        return cohort if len(allowed) == len(cohort.modalities) else cohort.only(*allowed)

    def _against(self, plan: RunPlan, sha256: str) -> Iterator[str]:
        asked = plan.privacy.kind
        if self.privacy is not None and asked not in self.privacy:
            yield (
                f"the run has privacy '{asked}' and this site accepts {list(self.privacy)} (key "
                "rules.privacy)"
            )
        epsilon = plan.privacy.noise_alone.epsilon if plan.privacy.noise_alone else None
        if self.epsilon is not None and epsilon is not None and epsilon > self.epsilon:
            yield (
                f"the run spends epsilon {epsilon:g} and this site accepts {self.epsilon:g} (key "
                "rules.epsilon)"
            )
        yield from self._against_modalities(plan)
        terms = plan.privacy.sum_terms
        sites = terms.fewest if terms else plan.fewest_sites
        if sites < self.smallest_group:
            yield (
                f"the run goes on with {sites} sites and this site asks for {self.smallest_group} (key "
                "rules.smallest-group)"
            )
        rounds = training_rounds(plan)
        if self.most_rounds is not None and rounds > self.most_rounds:
            yield (
                f"the run has {rounds} rounds of training and this site takes part in {self.most_rounds} "
                "(key rules.most-rounds)"
            )
        if self.plans is not None and sha256 not in self.plans:
            yield (
                f"the plan '{plan.name}' has SHA-256 {sha256} and this site has approved "
                f"{len(self.plans)} others (key rules.plans)"
            )

    def _against_modalities(self, plan: RunPlan) -> Iterator[str]:
        open_here = [name for name in plan.modalities if self.lets(name)]
        if not open_here:
            yield (
                f"the run is about {sorted(plan.modalities)} and this site lets "
                f"{sorted(self.modalities or ())} take part (key rules.modalities)"
            )
        usual = [kind for kind in kinds_of(Encoder) if kind != CALLS_CODE]
        allowed = usual if self.encoders is None else list(self.encoders)
        for name in open_here:
            kind = plan.modalities[name].encoder.kind
            if kind not in allowed:
                yield (
                    f"the run encodes '{name}' by '{kind}' and this site accepts {allowed} (key "
                    "rules.encoders)"
                )


def training_rounds(plan: RunPlan) -> int:
    """How often a plan may ask a site to train the same thing: blocks, then the fused model."""
    blocks = plan.rounds.rounds if plan.rounds.mode == "rounds" else 1
    return blocks + (plan.fuse.rounds if plan.fuse else 0)


def kinds_of(union: object) -> list[str]:
    """The names of a registry's members, as plans write them."""
    return [get_args(one.model_fields["kind"].annotation)[0] for one in get_args(get_args(union)[0])]


def _among(named: tuple[str, ...] | None, known: list[str], *, what: str) -> tuple[str, ...] | None:
    unknown = [name for name in named or () if name not in known]
    if unknown:
        raise ValueError(f"there is no {what} '{unknown[0]}'; there are {known}")
    return named
