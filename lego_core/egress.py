"""What may leave a site in answer to a question: letters and tensors, known from plan and question alone.

The door of a site (`client/gate.py`) and the site's own training ask the same contract. It is made from
untrained models, so that nothing a model picks up while patients pass through it can be in it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from lego_core.assemble import Ingredients, build_block, build_fuse
from lego_core.block import LegoBlock
from lego_core.errors import ProtocolError
from lego_core.exchangeable import declared, exchanged
from lego_core.fuse import LegoFuse
from lego_core.gram import GramStatistics
from lego_core.letters import AbstractMessage, Letter
from lego_core.parcel_letters import (
    AskHeld,
    AskPiece,
    DropParcels,
    Held,
    ParcelsDropped,
    Piece,
    PieceTaken,
    TakePiece,
)
from lego_core.plan import RunPlan
from lego_core.protocol import (
    QUESTIONS,
    AbstractSummable,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOffer,
    AskOutcomes,
    AskReport,
    AskStatistics,
    Grams,
    Offer,
    Outcomes,
    Progress,
    Refusal,
    SiteReport,
    Statistics,
    Update,
)
from lego_core.run_sums import (
    grams_form,
    outcomes_form,
    score_form,
    statistics_form,
    travels_alone,
    update_forms,
)
from lego_core.statistics import FeatureStatistics
from lego_core.sum_forms import SumForm
from lego_core.sum_letters import (
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    MaskedVectors,
    SumConfirmations,
    SumKeys,
    SumOpening,
    SumShares,
)
from lego_core.summed_scores import all_cases

Form = tuple[torch.Size, torch.dtype]

MEBIBYTE = 2**20
LARGEST_BODY = {SiteReport.kind: 64 * MEBIBYTE, Offer.kind: 16 * MEBIBYTE}  # a report has all resamples
LARGEST_OTHER_BODY = 4 * MEBIBYTE
WITHOUT_NUMBERS: dict[type[AbstractMessage], type[AbstractMessage]] = {
    AskOffer: Offer,
    AskSumKeys: SumKeys,
    AskSumShares: SumShares,
    AskSumConfirmations: SumConfirmations,
    AskSumOpening: SumOpening,
    AskHeld: Held,
    TakePiece: PieceTaken,
    DropParcels: ParcelsDropped,
}


@final
@dataclass(frozen=True)
class Contract:
    """What may answer one question, besides a refusal.

    Args:
        kind: The kind of letter; None if nothing may.
        tensors: All tensors that it holds, by name: shape and type.
        constants: Those that training must not change: an update holds zeros there.
        may_lack: Whether some may be left out, as from sums that a site has declined.
    """

    kind: str | None
    tensors: Mapping[str, Form] = field(default_factory=dict)
    constants: frozenset[str] = frozenset()
    may_lack: bool = False

    def check(self, letter: Letter, *, sender: str) -> None:
        """Stop a letter that is not what was declared before any data were seen.

        The public text of an error tells nothing of an undeclared tensor: its name or its shape may be data.

        Raises:
            ProtocolError: With the first thing that may not leave.
        """
        if letter.kind == Refusal.kind and not letter.tensors:
            return
        if letter.kind != self.kind:
            wanted = f"'{self.kind}'" if self.kind else "none"
            raise ProtocolError(
                f"{sender} would send a letter '{letter.kind}' where {wanted} was declared. Nothing was "
                "sent; give server and site the bundle of the same plan."
            )
        self._check_size(letter, sender=sender)
        extra = sorted(set(letter.tensors) - set(self.tensors))
        missing = [] if self.may_lack else sorted(set(self.tensors) - set(letter.tensors))
        if extra or missing:
            raise ProtocolError(
                f"{sender} would send {len(letter.tensors)} tensors in a letter '{letter.kind}': "
                f"{len(extra)} were not declared before training, and {len(missing)} of the "
                f"{len(self.tensors)} declared are missing. What a model keeps of the patients that pass "
                "through it may not leave. Nothing was sent; see the site's log for the names, and keep no "
                "activations in the model's state.",
                local=f"not declared: {extra}; missing: {missing}",
            )
        for name, tensor in letter.tensors.items():
            self._check_tensor(name, tensor, kind=letter.kind, sender=sender)

    def _check_size(self, letter: Letter, *, sender: str) -> None:
        limit, size = LARGEST_BODY.get(letter.kind, LARGEST_OTHER_BODY), len(letter.body.encode())
        if size > limit:
            raise ProtocolError(
                f"{sender} would send a letter '{letter.kind}' of {size} bytes besides its tensors, and "
                f"{limit} may leave. Nothing was sent. Fewer resamples or features make it smaller."
            )

    def _check_tensor(self, name: str, tensor: Tensor, *, kind: str, sender: str) -> None:
        shape, dtype = self.tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ProtocolError(
                f"{sender} would send tensor '{name}' in another shape or type than the {tuple(shape)} and "
                f"{dtype} that were declared before training: where a model's state grows with its batch, it "
                "holds patients. Nothing was sent; see the site's log, and keep no activations in the model.",
                local=f"'{name}' has shape {tuple(tensor.shape)} and type {tensor.dtype}",
            )
        if not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise ProtocolError(
                f"{sender} would send tensor '{name}' of letter '{kind}' with {count} of {tensor.numel()} "
                "values not finite. The letter was put aside; lower the learning rate, or look for broken "
                "values in the data."
            )
        if name in self.constants and bool(tensor.any()):
            raise ProtocolError(
                f"{sender} would send tensor '{name}', which is neither a weight nor the running mean or "
                "variance of a normalisation layer, and which training changed: it holds what the last "
                "patients left there. Nothing was sent; keep no activations in the model's state."
            )


def contract_of(letter: Letter, read_plan: Callable[[], RunPlan]) -> Contract:
    """What may answer a question.

    Args:
        letter: The question.
        read_plan: Gives the site's own plan; called only where the answer depends on it.

    Raises:
        ProtocolError: If it is no question.
    """
    known = {kind.kind: kind for kind in QUESTIONS}
    if letter.kind not in known:
        return Contract(None)
    question = known[letter.kind].read(letter)
    if isinstance(question, AskPiece):
        return Contract(Piece.kind, {"bytes": (torch.Size([question.length]), torch.uint8)})
    if type(question) in WITHOUT_NUMBERS:
        return Contract(WITHOUT_NUMBERS[type(question)].kind)
    plan = read_plan()
    sums = plan.privacy.sum_terms is not None
    if sums and isinstance(question, AbstractSummable) and not travels_alone(question, plan.privacy):
        forms = {form.group: form for form in forms_of(question, plan)}
        vectors = {
            one.session: (torch.Size([forms[group].dim]), torch.int32)
            for group, one in question.sums.items()
            if group in forms
        }
        return Contract(MaskedVectors.kind, vectors, may_lack=True)
    return in_the_open(question, plan)


def in_the_open(question: AbstractMessage, plan: RunPlan) -> Contract:
    """What may answer a question where numbers travel as they are."""
    match question:
        case AskStatistics():
            nobody = FeatureStatistics.of_nobody(question.schema_of_group.features)
            return Contract(Statistics.kind, _forms(nobody.to_tensors()))
        case AskOutcomes():
            return Contract(Outcomes.kind, _forms(plan.task.count_nobody().to_tensors()))
        case AskGrams():
            block = build_block(plan, question.agreement, question.modality)
            return Contract(Grams.kind, _forms(GramStatistics.of_nobody(block.trunk).to_tensors()))
        case AskReport():
            return Contract(SiteReport.kind)
        case AskBlockUpdate() | AskFuseUpdate():
            if question.score_only:
                return Contract(Progress.kind)
            return update_contract(model_of(question, plan), plan.travel_dtype)
        case _:
            return Contract(None)


def forms_of(question: AbstractSummable, plan: RunPlan) -> list[SumForm]:
    """The sums that the answer to a question may go into."""
    match question:
        case AskStatistics():
            return [statistics_form(question.modality, question.schema_of_group)]
        case AskGrams():
            trunk = build_block(plan, question.agreement, question.modality).trunk
            return [grams_form(question.modality, trunk)]
        case AskBlockUpdate() | AskFuseUpdate():
            model = model_of(question, plan)
            updates = {} if question.score_only else update_forms(model)
            return [*updates.values(), score_form(model)]
        case AskReport():
            every = tuple(name for name in plan.modalities if name in question.agreement.schemas)
            cases = all_cases(
                every,
                question.modalities,
                bootstrap=plan.evaluation.bootstrap,
                with_fused=question.with_fused,
            )
            return [case.form for case in cases]
        case AskOutcomes():
            return [outcomes_form(plan.task)]
        case _:
            raise ProtocolError(
                f"A question of kind '{question.kind}' asks for numbers, and no contract says which. Nothing "
                "was sent; add its sums to lego_core/egress.py."
            )


def update_contract(model: LegoBlock | LegoFuse, dtype: torch.dtype = torch.float32) -> Contract:
    """What may leave a site that trains this model, asked for before it trains.

    Args:
        model: The untrained model.
        dtype: The type in which its weights travel.
    """
    constants = exchanged(model).keys() - dict(model.named_parameters()).keys() - _running(model)
    return Contract(Update.kind, declared(model, dtype), constants=frozenset(constants))


def model_of(question: AskBlockUpdate | AskFuseUpdate, plan: RunPlan) -> LegoBlock | LegoFuse:
    """The untrained model that a question is about."""
    if isinstance(question, AskBlockUpdate):
        return build_block(plan, question.agreement, question.modality)
    blocks = [build_block(plan, question.agreement, name) for name in question.modalities]
    return build_fuse(plan, blocks, Ingredients.of_untrained(blocks))


def _running(model: nn.Module) -> set[str]:
    """Names of the running means and variances of torch's own normalisation layers."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        for name, _ in module.named_buffers(recurse=False)
    }


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, Form]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
