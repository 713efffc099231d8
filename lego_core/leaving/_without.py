"""The same bundle without some of its blocks."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lego_core.assemble import build_block, build_models
from lego_core.bundle import ModelBundle
from lego_core.errors import BundleError, MergeError
from lego_core.evaluation import ModelSet
from lego_core.leaving._report import report_without
from lego_core.manifest import MadeFrom
from lego_core.merge import LegoMerge
from lego_core.plan import RunPlan

SHARED = "merged.shared."


def without_blocks(bundle: ModelBundle, names: Collection[str]) -> ModelBundle:
    """Leave blocks out and merge the others again; nothing is trained, and nobody signed the result.

    The blocks that stay are used as they are. A fused model is left out, for it was trained with all
    blocks; so is the run's [fuse] and [simulation] from the plan.

    Args:
        bundle: As it was loaded.
        names: The modalities of the blocks to leave out.

    Raises:
        BundleError: If it has no such block, or no other.
        MergeError: If the plan merges trunks, and the bundle does not hold what that takes.

    Guarantees:
        Where trunks were not merged, the new merge says of every patient what the old one says of the
        same patient without these modalities.
    """
    every = bundle.models.merged.modalities
    unknown = sorted(set(names) - set(every))
    if unknown or not names:
        raise BundleError(
            f"Bundle of plan '{bundle.plan.name}' has no block {unknown or 'of no name'}. Its blocks are "
            f"{list(every)}; name one of them."
        )
    rest = [name for name in every if name not in names]
    if not rest:
        raise BundleError(
            f"Without {sorted(names)} no block is left of {list(every)}, and there is no model without one. "
            "Leave fewer out, or delete the bundle."
        )
    plan = _plan_without(bundle.plan, names)
    schemas = {name: schema for name, schema in bundle.agreement.schemas.items() if name in rest}
    agreement = bundle.agreement.model_copy(update={"schemas": schemas})
    models = build_models(plan, agreement, rest, with_fused=False)
    state = {
        name: tensor for name, tensor in bundle.models.state_dict().items() if name in models.state_dict()
    }
    models.load_state_dict({**state, **_shared_again(bundle, models)})
    earlier = bundle.made_from.left_out if bundle.made_from else ()
    return replace(
        bundle,
        models=models.eval(),
        plan=plan,
        agreement=agreement,
        report=report_without(bundle, rest=rest, names=sorted(names)),
        made_from=MadeFrom(bundle_sha256=bundle.sha256, left_out=(*earlier, *sorted(names))),
        sha256="",
    )


def _plan_without(plan: RunPlan, names: Collection[str]) -> RunPlan:
    plain: dict[str, Any] = plan.to_plain()
    plain.pop("simulation", None)
    plain.pop("fuse", None)
    for name in names:
        plain["modalities"].pop(name)
        weights = plain.get("merging", {}).get("modality-weights")
        if isinstance(weights, dict):
            weights.pop(name)
    if "alone" in plain["privacy"]:
        plain["privacy"]["alone"] = [one for one in plain["privacy"]["alone"] if one not in names]
    return RunPlan.model_validate(plain)


def _shared_again(bundle: ModelBundle, models: ModelSet) -> dict[str, Tensor]:
    """The trunk of the blocks that stay, merged again; nothing where each keeps its own.

    A method that works on changes from the common start gets the start that the plan's seed gives, if
    the old trunk comes out of it; after a seed phase it does not.
    """
    merging = bundle.plan.merging
    if merging.trunk is None:
        return {}
    if merging.trunk.needs_grams:
        raise MergeError(
            f"The plan merges trunks by '{merging.trunk.kind}', which works with sums over the sites' "
            "patients, and a bundle does not hold those of trunks. Have the coordinator run the plan again "
            "without the block."
        )
    every = bundle.models.merged
    start = build_block(bundle.plan, bundle.agreement, every.modalities[0]).trunk.state_dict()
    again = _merged_trunk(bundle, list(every.modalities), start)
    if not all(torch.allclose(again[name], one, atol=1e-6) for name, one in every.shared.by_name().items()):
        raise MergeError(
            f"The plan merges trunks by '{merging.trunk.kind}' from a common start that is not in the "
            "bundle, and the plan's seed does not give it, as after seed rounds. Have the coordinator run "
            "the plan again without the block."
        )
    rest = _merged_trunk(bundle, list(models.merged.modalities), start)
    return {f"{SHARED}{name.replace('.', '/')}": tensor for name, tensor in rest.items()}


def _merged_trunk(bundle: ModelBundle, names: list[str], start: dict[str, Tensor]) -> dict[str, Tensor]:
    merged, merging = bundle.models.merged, bundle.plan.merging
    trunks = LegoMerge(
        [merged.blocks[name] for name in names],
        modality_weights={name: merged.modality_weights[name] for name in names},
        trunk=merging.trunk,
        apart=merging.apart,
        start=start,
    )
    return trunks.shared.by_name()
