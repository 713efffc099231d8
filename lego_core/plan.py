"""RunPlan: every choice of a run, in one frozen document. Unknown keys are errors."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, final

import torch
from pydantic import Field, ValidationError, field_validator, model_validator

from lego_core.aggregation import Aggregation, FedAvg
from lego_core.component import Component, explain
from lego_core.encoders import Encoder
from lego_core.errors import MergeError, PlanError
from lego_core.fuse import FuseOrder
from lego_core.guard import Guard
from lego_core.merging import HarmonicMean, LatentMerge, Slerp, WeightMerge
from lego_core.modality_names import ModalityName
from lego_core.modality_weights import weights_from_scores
from lego_core.partition import Simulation
from lego_core.privacy import Privacy
from lego_core.split import Split
from lego_core.tasks import Task
from lego_core.training import TrainingSettings
from lego_core.trunk import LatentContract, TrunkPart

PLAN_FOLDERS = ("simulations/plans", "deploy/plans")


@final
class ModalityPlan(Component):
    """One modality of the run.

    Args:
        encoder: How its measurements become tokens.
        features: `equal` refuses a site whose features differ from most others';
            `common` goes on with the features that all sites have.
        learning_rate: Overrides the training settings, for this modality only.
        weight_decay: Likewise.
        smallest_group: Fewest sites that must answer in its rounds, in place of the number for all
            modalities (`participation.smallest-group`).
        ranges: Least and largest value that a feature can have, by its name. Preflight at a site finds
            values outside; a run does not look at it.
    """

    encoder: Encoder
    features: Literal["equal", "common"] = "equal"
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    smallest_group: int | None = Field(default=None, ge=1)
    ranges: dict[str, tuple[float, float]] | None = None

    @field_validator("ranges")
    @classmethod
    def _check_ranges(
        cls, ranges: dict[str, tuple[float, float]] | None
    ) -> dict[str, tuple[float, float]] | None:
        turned = [name for name, (low, high) in (ranges or {}).items() if not low <= high]
        if turned:
            low, high = (ranges or {})[turned[0]]
            raise ValueError(
                f"the range of '{turned[0]}' goes from {low:g} to {high:g}; write the smaller number first"
            )
        return ranges


@final
class Rounds(Component):
    """How blocks are trained over the sites.

    Args:
        mode: `rounds` trains, aggregates and repeats; `one-shot` lets every site train to
            the end once, with one upload.
        rounds: Rounds at most.
        local_epochs: Epochs at each site per round (mode `rounds`).
        seed_rounds: Rounds at the start in which the trunk is aggregated over all sites,
            whatever their modality.
        patience: Rounds without a better federated validation loss before a block is done;
            without effect unless the training keeps the best weights (`training.keep`).
        paired_sites_train_blocks: Whether sites with paired patients also train blocks;
            otherwise their patients take part in fuse rounds only.
    """

    mode: Literal["rounds", "one-shot"] = "rounds"
    rounds: int = Field(default=20, ge=1)
    local_epochs: int = Field(default=2, ge=1)
    seed_rounds: int = Field(default=0, ge=0)
    patience: int = Field(default=5, ge=1)
    paired_sites_train_blocks: bool = False

    @model_validator(mode="after")
    def _check_seed_rounds(self) -> "Rounds":
        if self.mode == "one-shot" and self.seed_rounds:
            raise ValueError(
                f"mode 'one-shot' has one upload and seed-rounds asks for {self.seed_rounds} more; "
                "set seed-rounds to 0, or mode to 'rounds'"
            )
        if self.seed_rounds > self.rounds:
            raise ValueError(f"seed-rounds {self.seed_rounds} is more than rounds {self.rounds}")
        return self


@final
class Merging(Component):
    """How blocks are merged.

    Args:
        latents: How latents become one.
        heads: How task heads become one.
        trunk: How trunks become one, for all modalities; each block keeps its own if not given.
        apart: Parts of a merged trunk that each block keeps to itself all the same: any of
            `latent`, `attention`, `feed-forward`, `norms`.
        modality_weights: How much each modality counts: one number for each; or `validation`,
            by the score of its block on the sites' validation patients
            (`weights_from_scores`); equal if not given.
    """

    latents: LatentMerge = HarmonicMean()
    heads: WeightMerge = Slerp()
    trunk: WeightMerge | None = None
    apart: tuple[TrunkPart, ...] = ()
    modality_weights: dict[str, float] | Literal["validation"] | None = None

    @field_validator("modality_weights", mode="before")
    @classmethod
    def _check_word(cls, given: object) -> object:
        if isinstance(given, str) and given != "validation":
            raise ValueError(
                f"there is no rule '{given}' for the weights of modalities; write 'validation', give every "
                "modality one number, or leave the key out for equal weights"
            )
        return given

    @model_validator(mode="after")
    def _check_apart(self) -> "Merging":
        if self.apart and self.trunk is None:
            raise ValueError(
                f"apart names {list(self.apart)} and no trunks are merged, so all parts stay apart; add "
                "merging.trunk, or take apart out"
            )
        return self

    @property
    def needs_grams(self) -> bool:
        """Whether a method asks what the linear layers of the blocks are fed."""
        return self.heads.needs_grams or bool(self.trunk and self.trunk.needs_grams)

    @property
    def needs_scores(self) -> bool:
        """Whether modalities count by how well their blocks do on validation patients."""
        return self.modality_weights == "validation"

    def weights_of(
        self, modalities: Sequence[str], *, scores: Mapping[str, float], chance: float
    ) -> dict[str, float] | None:
        """The weights of some modalities, or None for equal ones.

        Args:
            modalities: Their names.
            scores: Of every block on validation patients; only looked at if `needs_scores`.
            chance: What a coin scores.

        Raises:
            MergeError: If a score is needed and missing.
        """
        weights = self.modality_weights
        if weights == "validation":
            missing = [name for name in modalities if name not in scores]
            if missing:
                raise MergeError(
                    f"Modalities are weighed by validation scores, and there are none of {missing} among "
                    f"{sorted(scores)}. Give every block's score, or numbers as merging.modality-weights."
                )
            weights = weights_from_scores(scores, chance=chance)
        return weights and {name: weights[name] for name in modalities}


@final
class Fuse(Component):
    """Federated rounds that fine-tune the merged blocks on paired patients.

    Args:
        order: `stack` or `weave`.
        rounds: Number of rounds; all of them are run.
        local_epochs: Epochs at each site per round.
        learning_rate: Step size of AdamW, in place of the blocks' own.
        batch_size: Patients B per step, likewise; smaller than for blocks, since epochs are few.
        trunk_rate: How fast the trunks learn, likewise; slowly, since they are trained already.
        keep: Which weights the last round ends with, likewise: the `last`, or the `mean` over the
            steps of its last epoch.
        dropout: Whether anything is dropped, likewise. On few features two epochs are no worse
            without; where features outnumber patients, switch it on.
    """

    order: FuseOrder = "stack"
    rounds: int = Field(default=2, ge=1)
    local_epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=16, ge=1)
    trunk_rate: float = Field(default=0.1, ge=0, le=1)
    keep: Literal["last", "mean"] = "mean"
    dropout: bool = False

    def training(self, blocks: TrainingSettings, *, epochs: int, last_round: bool = True) -> TrainingSettings:
        """How blocks are trained, with what is different in fuse rounds."""
        names = ("learning_rate", "batch_size", "trunk_rate", "dropout")
        own = {name: getattr(self, name) for name in names}
        keep = self.keep if last_round else "last"
        return blocks.model_copy(update={**own, "keep": keep, "epochs": epochs})


@final
class Evaluation(Component):
    """How the sites evaluate.

    Args:
        bootstrap: Resamples of the patients behind every interval.
        smallest_count: Scores of fewer patients than this never leave a site.
    """

    bootstrap: int = Field(default=200, ge=20)
    smallest_count: int = Field(default=10, ge=1)


@final
class Participation(Component):
    """Who must be there, and how long anybody is waited for.

    Args:
        sites: Number of sites to wait for at the start; if the wait ends with fewer, the run
            goes on with those. If not given: as many as the plan's simulation has, or one.
        wait_seconds: How long to wait for them.
        smallest_group: Fewest sites that must answer in a modality's round.
        round_seconds: How long to wait for the answers of a round.
        return_seconds: How long of this to wait for a site that was lost to come back and be asked again.
    """

    sites: int | None = Field(default=None, ge=1)
    wait_seconds: float = Field(default=120.0, gt=0)
    smallest_group: int = Field(default=1, ge=1)
    round_seconds: float = Field(default=900.0, gt=0)
    return_seconds: float = Field(default=120.0, ge=0)


@final
class Travel(Component):
    """How weights travel between server and sites.

    Args:
        dtype: `bfloat16` halves what is sent in training: weights to the sites and updates back are rounded
            to 8 significant bits on their way, and are float32 again at either end. Scores, statistics and
            the bundle are not touched.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"


@final
class RunPlan(Component):
    """What a run does: the document that every site reviews before it takes part."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = ""
    seed: int = Field(default=0, ge=0)
    task: Task
    privacy: Privacy
    modalities: dict[ModalityName, ModalityPlan] = Field(min_length=1)
    latent: LatentContract = LatentContract()
    training: TrainingSettings = TrainingSettings()
    rounds: Rounds = Rounds()
    aggregation: Aggregation = FedAvg()
    guard: Guard = Guard()
    merging: Merging = Merging()
    fuse: Fuse | None = None
    evaluation: Evaluation = Evaluation()
    participation: Participation = Participation()
    travel: Travel = Travel()
    split: Split = Split()
    simulation: Simulation | None = None

    @classmethod
    def load(cls, path: Path) -> "RunPlan":
        """Read a plan from a TOML file.

        Raises:
            PlanError: If the file cannot be read, is not TOML, or is not a plan.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(
                f"The plan '{path.name}' cannot be read. Give the path of a TOML file, or the name of a "
                "shipped plan.",
                local=f"{path}: {error}",
            ) from error
        return cls.parse(text, where=f"Plan '{path.stem}'")

    @classmethod
    def parse(cls, text: str, *, where: str) -> "RunPlan":
        """Read a plan from TOML text.

        Raises:
            PlanError: If the text is not TOML, or not a plan.
        """
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise PlanError(f"{where} is not TOML: {error}. Mend that line.") from error
        except ValidationError as error:
            raise explain(error, where=where, kind=PlanError) from error

    @classmethod
    def shipped(cls, name: str) -> "RunPlan":
        """Read a plan that came with this code, by name.

        Raises:
            PlanError: If there is none of this name.
        """
        return cls.load(find_plan(name))

    @model_validator(mode="after")
    def _check_aggregation_may_see_updates(self) -> "RunPlan":
        needed, shown = self.aggregation.fewest_updates, self.privacy.num_updates_shown
        if self.aggregation.needs_individual_updates and shown is not None and shown < needed:
            raise ValueError(
                f"aggregation '{self.aggregation.kind}' must compare {needed} updates, and privacy "
                f"'{self.privacy.kind}' shows {shown} at most: sums of {shown} groups of sites (keys "
                "aggregation.kind and buckets of the privacy); use aggregation 'fedavg', or more buckets"
            )
        return self

    @model_validator(mode="after")
    def _check_one_bound(self) -> "RunPlan":
        if self.guard.norm_bound is not None and self.privacy.sum_terms is not None:
            raise ValueError(
                f"guard.norm-bound is {self.guard.norm_bound:g}, and under privacy '{self.privacy.kind}' "
                f"{self.privacy.sums_table}.clip-norm, {self.privacy.sum_terms.clip_norm:g}, is the bound; "
                "take guard.norm-bound out"
            )
        return self

    @model_validator(mode="after")
    def _check_sums_are_not_rounded(self) -> "RunPlan":
        if self.travel.dtype != "float32" and self.privacy.sum_terms is not None:
            raise ValueError(
                f"travel.dtype is '{self.travel.dtype}', and under privacy '{self.privacy.kind}' sites "
                "send masked whole numbers, which cannot be rounded, and check the hashes of the weights "
                "they are sent; set travel.dtype to 'float32'"
            )
        return self

    @model_validator(mode="after")
    def _check_nothing_is_chosen_without_noise(self) -> "RunPlan":
        if self.privacy.noise_alone is not None and self.training.keep == "best":
            raise ValueError(
                "training.keep is 'best', which chooses weights by their loss on validation patients, "
                f"without noise, and privacy '{self.privacy.kind}' trains with noise; set training.keep to "
                "'last' or 'mean'"
            )
        return self

    @model_validator(mode="after")
    def _check_rounds_can_be_taken_back(self) -> "RunPlan":
        if self.guard.worst_rise is not None and self.rounds.mode == "one-shot":
            raise ValueError(
                f"guard.worst-rise is {self.guard.worst_rise:g}, and mode 'one-shot' has one upload and no "
                "round to take back; set rounds.mode to 'rounds', or take guard.worst-rise out"
            )
        return self

    @model_validator(mode="after")
    def _check_modalities_are_named(self) -> "RunPlan":
        weights = self.merging.modality_weights
        if isinstance(weights, dict) and weights.keys() != self.modalities.keys():
            raise ValueError(
                f"merging.modality-weights names {sorted(weights)} and the plan's modalities are "
                f"{sorted(self.modalities)}; give every modality one weight"
            )
        strange = [name for name in self.privacy.travel_alone if name not in self.modalities]
        if strange:
            raise ValueError(
                f"privacy.alone names {strange} and the plan's modalities are {sorted(self.modalities)}; "
                "name those whose updates may travel one by one"
            )
        groups = self.simulation.groups if self.simulation else ()
        unknown = {name for group in groups for name in group.modalities} - set(self.modalities)
        if unknown:
            raise ValueError(
                f"the simulated hospitals hold {sorted(unknown)}, for which the plan has no encoder; its "
                f"modalities are {sorted(self.modalities)}; add [modalities.NAME.encoder], or take the "
                "modality out of the hospitals"
            )
        return self

    @property
    def update_bound(self) -> float | None:
        """The longest update of a site, per part of a model; None for any."""
        terms = self.privacy.sum_terms
        return terms.clip_norm if terms else self.guard.norm_bound

    @property
    def update_bound_key(self) -> str:
        """Where the plan says it."""
        return f"{self.privacy.sums_table}.clip-norm" if self.privacy.sum_terms else "guard.norm-bound"

    @property
    def travel_dtype(self) -> torch.dtype:
        """The type in which weights and updates travel in training."""
        return getattr(torch, self.travel.dtype)

    @property
    def expected_sites(self) -> int:
        """How many sites to wait for at the start."""
        simulated = self.simulation.num_hospitals if self.simulation else 1
        return self.participation.sites or simulated

    def smallest_group_of(self, name: str) -> int:
        """Fewest sites that must answer in a round of a modality's block, or of the fused model."""
        own = self.modalities[name].smallest_group if name in self.modalities else None
        return own or self.participation.smallest_group

    @property
    def fewest_sites(self) -> int:
        """Fewest sites that anything of the run is trained on."""
        return min(self.participation.smallest_group, *map(self.smallest_group_of, self.modalities))

    def training_of(self, modality: str) -> TrainingSettings:
        """The training settings with what this modality overrides."""
        own = self.modalities[modality]
        changes = {
            key: value
            for key in ("learning_rate", "weight_decay")
            if (value := getattr(own, key)) is not None
        }
        return self.training.model_copy(update=changes)


def shipped_plans() -> dict[str, Path]:
    """The plans that came with this code, by name."""
    root = Path(__file__).resolve().parents[1]
    files = [path for folder in PLAN_FOLDERS for path in sorted((root / folder).glob("*.toml"))]
    return {path.stem: path for path in files}


def find_plan(name: str) -> Path:
    """Where a shipped plan lies.

    Raises:
        PlanError: If there is none of this name.
    """
    plans = shipped_plans()
    if name not in plans:
        raise PlanError(
            f"There is no shipped plan '{name}'. The plans are {sorted(plans)}; or give the path of a "
            "TOML file."
        )
    return plans[name]
