"""What a dry run found, for the people who agree on a plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.preflight.dry_run import DryRun
from lego_core.accounting import NoisySteps, epsilon_of
from lego_core.plan import RunPlan
from lego_core.protocol import AskBlockUpdate, AskFuseUpdate
from lego_core.round_planner import MESSAGE_SECONDS, link_seconds

MEGABYTE = 1e6
USUAL_PATIENTS = 100
MOST_TENSORS = 8  # of a letter; a model of two hundred is not read line by line


@final
@dataclass(frozen=True)
class Assumed:
    """What no dry run can know.

    Args:
        patients: Training patients of a site, in every modality.
        mbit: Speed of a site's link.
        seconds_per_step: One step of one model.
    """

    patients: int
    mbit: float | None = None
    seconds_per_step: float | None = None

    @classmethod
    def of(
        cls, plan: RunPlan, patients: int | None, mbit: float | None, seconds_per_step: float | None
    ) -> "Assumed":
        """The same, with a number of patients that lets the plan train where none was given."""
        noise = plan.privacy.noise_terms
        return cls(
            patients or max(USUAL_PATIENTS, 2 * noise.batch_size if noise else 0), mbit, seconds_per_step
        )


def problems_of(played: DryRun, assumed: Assumed) -> Sequence[str]:
    """What must be mended before anybody is invited."""
    problems = [*([played.problem] if played.problem else []), *dict.fromkeys(played.refused)]
    noise = played.plan.privacy.noise_terms
    if noise and assumed.patients < noise.batch_size:
        problems.append(
            f"A step of private training expects {noise.batch_size} patients (key batch-size of the plan's "
            f"privacy), and a site has {assumed.patients} training patients. Plan smaller batches."
        )
    return problems


def show_dry_run(played: DryRun, console: Console, *, assumed: Assumed) -> None:
    """Show who is asked what, what leaves, what it weighs, how long it takes, and whether it can be."""
    name, kind = played.plan.name, played.plan.privacy.kind
    _say(console, f"Plan '{name}', {len(played.hospitals)} sites, privacy '{kind}'")
    console.print(_asked(played))
    console.print(_leaving(played))
    console.print(_totals(played))
    for line in (*_time(played, assumed), *_epsilon(played.plan, assumed)):
        _say(console, line)
    problems = problems_of(played, assumed)
    for problem in problems:
        _say(console, f"FIX   {problem}")
    if not problems:
        _say(console, "PASS  Every question of the plan was asked and answered; nothing was refused.")


def _asked(played: DryRun) -> Table:
    """Sites that are asked alike share their lines."""
    table = Table(
        "question", "about", "sites", "times", "messages", "MB down", "MB up", box=None, padding=(0, 2)
    )
    rows: dict[tuple[str, str], list[tuple[int, int, float, float]]] = {}
    for entries in played.traffic.sites.values():
        for key, one in entries.items():
            row = (one.times, one.messages, one.down / MEGABYTE, one.up / MEGABYTE)
            rows.setdefault(key, []).append(row)
    for (kind, about), found in rows.items():
        times, messages, down, up = (max(column) for column in zip(*found, strict=True))
        table.add_row(kind, about, f"{len(found)}", f"{times}", f"{messages}", f"{down:.3f}", f"{up:.3f}")
    return table


def _leaving(played: DryRun) -> Table:
    table = Table("leaves a site", "for", "tensor", "shape", "type", box=None, padding=(0, 2))
    every: dict[tuple[str, str], set[tuple[str, tuple[int, ...], str]]] = {}
    for letters in played.traffic.leaving.values():
        for about, tensors in letters.items():
            for letter, name, shape, dtype in tensors:
                every.setdefault((letter, about), set()).add((name, shape, dtype))
    for (letter, about), tensors in sorted(every.items()):
        for name, shape, dtype in sorted(tensors)[:MOST_TENSORS]:
            table.add_row(letter, about, Text(name), str(shape), dtype)
        if len(tensors) > MOST_TENSORS:
            rest = len(tensors) - MOST_TENSORS
            table.add_row(letter, about, f"and {rest} more (python -m simulations egress)", "", "")
    return table


def _totals(played: DryRun) -> Table:
    table = Table("site", "holds", "messages", "MB down", "MB up", box=None, padding=(0, 2))
    traffic = played.traffic
    for number, made in enumerate(played.hospitals):
        down, up = traffic.bytes_down(number) / MEGABYTE, traffic.bytes_up(number) / MEGABYTE
        table.add_row(
            made.site, ", ".join(made.modalities), f"{traffic.messages(number)}", f"{down:.2f}", f"{up:.2f}"
        )
    numbers = range(len(played.hospitals))
    down = sum(traffic.bytes_down(number) for number in numbers) / MEGABYTE
    up = sum(traffic.bytes_up(number) for number in numbers) / MEGABYTE
    table.add_row("all", "", f"{sum(map(traffic.messages, numbers))}", f"{down:.2f}", f"{up:.2f}")
    return table


def _time(played: DryRun, assumed: Assumed) -> list[str]:
    traffic, numbers = played.traffic, range(len(played.hospitals))
    if assumed.mbit is None or assumed.seconds_per_step is None:
        return ["How long it takes is told with --mbit and --seconds-per-step."]
    step = assumed.seconds_per_step
    seconds = max(
        link_seconds(
            traffic.bytes_down(number) + traffic.bytes_up(number), mbit=assumed.mbit, latency_seconds=0.0
        )
        + traffic.messages(number) * MESSAGE_SECONDS
        + step * _steps_at(played, number, assumed.patients)
        for number in numbers
    )
    return [
        f"About {seconds / 60:.3g} minutes, at {assumed.mbit:g} Mbit/s, {step:g} s a step, "
        f"{assumed.patients} "
        f"training patients at each site, and {MESSAGE_SECONDS:g} s for Flower to carry a message."
    ]


def _steps_at(played: DryRun, number: int, patients: int) -> int:
    plan, steps = played.plan, 0
    noise = plan.privacy.noise_terms
    for (kind, about), one in played.traffic.sites[number].items():
        if about.endswith("scored") or kind not in (AskBlockUpdate.kind, AskFuseUpdate.kind):
            continue
        is_fuse = kind == AskFuseUpdate.kind and plan.fuse is not None
        batch = plan.fuse.batch_size if is_fuse and plan.fuse else plan.training.batch_size
        epochs = plan.fuse.local_epochs if is_fuse and plan.fuse else _block_epochs(plan)
        steps += one.times * (noise.steps if noise else ceil(patients / batch) * epochs)
    return steps


def _block_epochs(plan: RunPlan) -> int:
    return plan.rounds.local_epochs if plan.rounds.mode == "rounds" else plan.training.epochs


def _epsilon(plan: RunPlan, assumed: Assumed) -> list[str]:
    noise = plan.privacy.noise_terms
    if noise is None or assumed.patients < noise.batch_size:
        return []
    rounds = plan.rounds.rounds if plan.rounds.mode == "rounds" else 1
    times = rounds * len(plan.modalities) + (plan.fuse.rounds if plan.fuse else 0)
    delta = noise.delta_for(assumed.patients)
    steps = NoisySteps(noise.noise_multiplier, noise.sampling_rate(assumed.patients), noise.steps * times)
    spent = epsilon_of([steps], delta=delta).value
    told = (
        f"A site with every modality and {assumed.patients} training patients would spend epsilon "
        f"{spent:.3g} of "
        f"{noise.epsilon:g} (delta {delta:.2g}) in {times} trainings."
    )
    if spent > noise.epsilon:
        told += " It would stop before the run ends; 'fedlego plan-privacy' tells what would last."
    return [told]


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
