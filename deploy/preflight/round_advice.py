"""What rounds a plan should have on a given link, in lines to read and keys to copy."""

from collections.abc import Iterator, Mapping
from math import ceil

from lego_core._wording import count_of
from lego_core.payload import payloads
from lego_core.plan import RunPlan
from lego_core.protocol import AskBlockUpdate, AskFuseUpdate
from lego_core.records import ModalitySchema
from lego_core.round_planner import Round, RoundAdvice, advise

MEGABYTE = 1e6
HOUR = 3600.0


def advice_on_rounds(
    plan: RunPlan,
    schemas: Mapping[str, ModalitySchema],
    *,
    mbit: float,
    seconds_per_step: float,
    patients: int,
    wait_seconds: float,
    latency_seconds: float,
    margin: float,
) -> list[str]:
    """Lines to read: what a round costs, how long it may be, and the keys that say so.

    Args:
        plan: The run.
        schemas: Layout and features of the modalities of the site that holds most.
        mbit: Speed of its link.
        seconds_per_step: One step of one model there.
        patients: Its training patients, in every modality.
        wait_seconds: How long a round is waited for.
        latency_seconds: There and back.
        margin: Share of the wait that stays free.

    Raises:
        PlanError: If no round fits, with what would help.
    """
    asked = [one for one in payloads(plan, schemas) if one.trains]
    blocks = [one for one in asked if one.question == AskBlockUpdate.kind]
    fused = [one for one in asked if one.question == AskFuseUpdate.kind]
    costs = {
        phase: Round(
            bytes_down=sum(one.down for one in some),
            bytes_up=sum(one.up for one in some),
            messages=len(some),
            mbit=mbit,
            latency_seconds=latency_seconds,
            seconds_per_step=seconds_per_step * len(some),
            wait_seconds=wait_seconds,
            margin=margin,
        )
        for phase, some in (("rounds", blocks), ("fuse", fused))
        if some
    }
    lines = [f"participation.round-seconds = {wait_seconds:g} is kept with {margin:.0%} to spare:"]
    noise = plan.privacy.noise_terms
    longest = min([noise.steps, *(one.most_steps for one in costs.values())]) if noise else None
    keys: dict[str, list[str]] = {"participation": [f"round-seconds = {wait_seconds:g}"]}
    total = 0.0
    for phase, cost in costs.items():
        steps_each, rounds = _steps(plan, phase, patients)
        once = plan.rounds.mode == "one-shot" and phase == "rounds"
        local = plan.training.epochs if once else _local_epochs(plan, phase)
        whole = 1 if noise else steps_each * (local if once else 1)
        per_round = noise.steps if noise else steps_each * local
        advice = advise(cost, wanted_steps=per_round * rounds, whole=whole, longest=longest or per_round)
        lines += _told(phase, cost, advice, before=(per_round, rounds))
        total += advice.total_seconds
        if once:
            continue
        keys[phase] = [f"rounds = {advice.rounds}"]
        if noise:
            keys["privacy"] = [f"steps = {advice.steps}"]
        else:
            keys[phase].append(f"local-epochs = {advice.steps // steps_each}")
    lines += ["", f"All training takes {_hours(total)} at the slowest site. In the plan:", ""]
    for table, written in keys.items():
        lines += [f"[{table}]", *written, ""]
    return lines[:-1]


def _steps(plan: RunPlan, phase: str, patients: int) -> tuple[int, int]:
    """Steps of an epoch, and rounds of the plan."""
    if phase == "fuse" and plan.fuse is not None:
        return ceil(patients / plan.fuse.batch_size), plan.fuse.rounds
    size = plan.training.batch_size * plan.training.gradient_accumulation
    return ceil(patients / size), plan.rounds.rounds if plan.rounds.mode == "rounds" else 1


def _local_epochs(plan: RunPlan, phase: str) -> int:
    return plan.fuse.local_epochs if phase == "fuse" and plan.fuse is not None else plan.rounds.local_epochs


def _told(phase: str, cost: Round, advice: RoundAdvice, *, before: tuple[int, int]) -> Iterator[str]:
    what = "blocks" if phase == "rounds" else "the fused model"
    steps, rounds = before
    yield (
        f"  {what}: {cost.bytes_down / MEGABYTE:.3g} MB down and {cost.bytes_up / MEGABYTE:.3g} MB up a "
        "round; "
        f"travel and Flower's polls take {cost.fixed_seconds:.3g} s, and {cost.most_steps} steps would fit"
    )
    same = (advice.steps, advice.rounds) == before
    kept = "as the plan has them" if same else f"in place of the plan's {rounds} of {steps}"
    yield (
        f"  {count_of(advice.rounds, 'round')} of {count_of(advice.steps, 'step')}, {kept}: "
        f"{advice.round_seconds:.3g} "
        f"s each, {_hours(advice.total_seconds)} in all"
    )


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR:.3g} hours" if seconds >= HOUR else f"{seconds / 60:.3g} minutes"
