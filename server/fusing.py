"""Who fuses: the sites with paired patients, and which of their blocks a secure sum can hide."""

from collections.abc import Mapping, Sequence

from lego_core.errors import RunError
from lego_core.plan import RunPlan
from lego_core.run_report import LeftOut
from server.agreement import Agreed
from server.participants import Participant
from server.run_log import RunLog


def who_fuses(participants: Sequence[Participant], agreed: Agreed) -> list[Participant]:
    """The sites with paired patients, each asked about what it holds in the agreed form."""
    members = [one.with_only(agreed.held(one)) for one in participants]
    return [one for one in members if one.teaches("head")]


def check_who_fuses(
    participants: Sequence[Participant], agreed: Agreed, *, plan: RunPlan, log: RunLog
) -> None:
    """Refuse fuse rounds of nobody, or that a secure sum could not hide; say which blocks stay as they are.

    Args:
        participants: All sites of the run.
        agreed: What the sites agreed on.
        plan: The run's plan.
        log: Where it is said.

    Raises:
        RunError: If no site or too few fuse, or if too few hold a block and the plan does not go on so.
    """
    members, terms = who_fuses(participants, agreed), plan.privacy.sum_terms
    if not members:
        raise RunError(
            f"Plan '{plan.name}' asks for fuse rounds and no site has training patients with several "
            "modalities. Invite one that has, or take [fuse] out of the plan."
        )
    if terms is None:
        return
    held = {name: [one for one in members if one.teaches(name)] for name in agreed.agreement.schemas}
    few = {name: own for name, own in held.items() if 0 < len(own) < terms.fewest}
    if len(members) < terms.fewest or (few and plan.privacy.small_groups == "refuse"):
        counts = ", ".join(f"'{name}' {len(own)}" for name, own in few.items()) or "each block as many"
        raise RunError(
            f"Fuse rounds of plan '{plan.name}' have {len(members)} sites with paired patients "
            f"({counts}), and a secure sum needs {terms.fewest} for the head and for every block (keys "
            f"min-survivors and max-corrupt of [{plan.privacy.sums_table}]). Invite more such "
            f"sites, or take [fuse] out of the plan{_or_without(few, plan)}."
        )
    for name, own in few.items():
        for one in own:
            reason = (
                f"Block '{name}' is held by {len(own)} of the sites that fuse, and a secure sum needs "
                f"{terms.fewest}: what it learns there stays there, and the block stays as it is."
            )
            log.leave_out(LeftOut(site=one.site, phase="fuse", round=0, modality=name, reason=reason))


def _or_without(few: Mapping[str, object], plan: RunPlan) -> str:
    """What else to do about blocks that too few sites hold, where the plan can go on without them."""
    if not few or plan.privacy.small_groups != "refuse":
        return ""
    return ", or set privacy.too-few to 'keep-local' to leave these blocks as they are"
