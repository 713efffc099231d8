"""What a hospital that leaves takes with it, and what stays of it in the weights."""

from collections.abc import Sequence

from lego_core.bundle import ModelBundle
from lego_core.errors import BundleError
from lego_core.run_report import RunReport


def blocks_of_site(bundle: ModelBundle, site: str) -> tuple[str, ...]:
    """The blocks that only this site trained: leaving the site out is leaving these out.

    Raises:
        BundleError: If it trained none, or one together with other sites: then only training again
            without it takes it out.
    """
    trained = _trained_by(bundle.report)
    every = bundle.models.merged.modalities
    own = tuple(name for name in every if site in trained.get(name, set()))
    if not own and _fused_only(bundle.report, site):
        raise BundleError(
            f"Site '{site}' trained no block, only the fused model, and nothing takes it out of those "
            "weights. Predict with --model merge, where it has no part, or fuse again without it."
        )
    if not own:
        known = sorted({one for name in every for one in trained.get(name, set())})
        raise BundleError(
            f"Site '{site}' trained none of the blocks {list(every)}, by the rounds of the report. The sites "
            f"that did are {known}; name one of them, or a block (--block)."
        )
    shared = {name: sorted(trained[name] - {site}) for name in own if trained[name] != {site}}
    if shared:
        together = "; ".join(f"block '{name}' with {', '.join(others)}" for name, others in shared.items())
        raise BundleError(
            f"Site '{site}' trained {together}. What it taught is in the weights, and nothing that is done "
            "to finished weights takes it out: only a new run without the site does. Run the plan again "
            "without it, or leave the whole block out (--block)."
        )
    return own


def influence(bundle: ModelBundle, names: Sequence[str]) -> list[str]:
    """Say, in whole sentences, what of the sites behind these blocks is gone, and what stays.

    Args:
        bundle: As it was.
        names: The blocks that are left out.
    """
    trained = _trained_by(bundle.report)
    behind = sorted({site for name in names for site in trained.get(name, set())})
    blocks = ", ".join(f"'{name}'" for name in names)
    said = [
        f"Gone with block {blocks}: all that its training taught it"
        + (f" at {', '.join(behind)}." if behind else ".")
    ]
    stays = {
        name: sorted(set(behind) & sites)
        for name, sites in trained.items()
        if name not in names and set(behind) & sites
    }
    for name, sites in stays.items():
        said.append(f"Not gone: {', '.join(sites)} also trained block '{name}', which stays as it is.")
    if bundle.plan.rounds.seed_rounds:
        said.append(
            f"Not gone: in {bundle.plan.rounds.seed_rounds} seed rounds the trunks of all blocks were "
            "aggregated over all sites, so the trunks that stay learned from these sites too."
        )
    if bundle.models.fused is not None:
        said.append("The fused model was trained with all blocks, so it is left out.")
    said.append(
        "Not gone: time bins and base rates, which the sites agreed on together. To take a site out "
        "altogether, only a new run without it will do."
    )
    return said


def _fused_only(report: RunReport, site: str) -> bool:
    return any(one.phase == "fuse" and site in one.answered for one in report.rounds)


def _trained_by(report: RunReport) -> dict[str, set[str]]:
    """The sites whose answers went into every block."""
    found: dict[str, set[str]] = {}
    for one in report.rounds:
        if one.phase == "blocks":
            found.setdefault(one.modality, set()).update(one.answered)
    return found
