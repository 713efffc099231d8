"""The whole of `bench privacy`: what is there is kept, what is missing is done, all is shown."""

from functools import partial
from pathlib import Path

from simulations.benchmarks.command import WRITTEN, command, run_missing, say, write_down
from simulations.benchmarks.privacy.examination import QUICK, Examination, Extent
from simulations.benchmarks.privacy.federation import SITES
from simulations.benchmarks.privacy.findings import PrivacyResults, conclusions
from simulations.benchmarks.privacy.noised import NoisedAtTheSite
from simulations.benchmarks.privacy.outcome import rows_of, utility_of
from simulations.benchmarks.privacy.pieces import run_piece
from simulations.benchmarks.privacy.shown import draw, markdown, terminal
from simulations.benchmarks.store import Store
from simulations.benchmarks.subject import Source

EPSILONS = (8.0, 3.0)
NOTES = (
    "A value at chance means that these attacks found nothing; it does not prove that there is nothing.",
    "Of forty attacks at chance one is expected to look better than chance: intervals hold 95 %.",
    "Intervals speak of other patients, not of other trainings: with few models, as in a quick look, the "
    "likelihood ratio varies more than they say.",
    "A secure sum hides the update of each site. It does not change the model, so whoever holds the model "
    "finds as many members as without it.",
    "Updates are read with dropout off, which a plan may wish; with dropout some values stay hidden. What is "
    "read is best guessed: of all guesses the one most like the patient counts, and for strangers likewise.",
    "Under patient-dp a site with a single patient does not train at all; where others read one patient, two "
    "are read there.",
    "Noise and sampling of patient-dp come from the seed here, so that the figures can be repeated; at a "
    "site they come from the operating system.",
)


def run_privacy(
    source: Source, folder: Path, *, processes: int, seed: int, quick: bool, extent: Extent | None = None
) -> None:
    """Attack our own models, as a command.

    Args:
        source: Where the patients come from.
        folder: Where everything is kept.
        processes: How many trainings run at once.
        seed: Another seed deals otherwise.
        quick: Whether to do little, for a first look.
        extent: How much is done; by `quick` if not given.
    """
    with command() as console:
        chosen = extent or (QUICK if quick else Extent())
        examination = Examination(source, chosen, seed, EPSILONS, folder)
        Store(folder).claim(examination.settings())
        say(console, [describe(examination)])
        run_missing(
            partial(run_piece, examination), examination.pieces(), processes=processes, console=console
        )
        results = results_of(examination, quick=quick)
        write_down(results, folder, table=markdown(results))
        draw(results, folder / "figure.svg")
        console.print(terminal(results))
        say(console, ("", *results.findings, *(str(folder / name) for name in WRITTEN)))


def results_of(examination: Examination, *, quick: bool) -> PrivacyResults:
    """All that was found, as one document."""
    rows, extent = rows_of(examination), examination.extent
    return PrivacyResults(
        dataset=examination.source.dataset,
        metric=examination.patients.task.metric,
        protocol=describe(examination),
        notes=NOTES,
        quick=quick,
        settings={
            "patients": len(examination.patients.pool), "public": len(examination.patients.public),
            "sites": SITES, "models": 2 * extent.pairs, "trials": extent.trials, "rounds": extent.rounds,
            "canaries": extent.canaries, "runs": extent.runs, "seed": examination.seed,
        },
        utility=utility_of(examination),
        rows=tuple(rows),
        findings=tuple(conclusions(rows)),
    )  # fmt: skip


def describe(examination: Examination) -> str:
    """How it is done, in words."""
    extent, patients = examination.extent, examination.patients
    noise = ", ".join(
        f"{one.noise_multiplier:.2f} for {name}"
        for name, one in examination.protections.items()
        if isinstance(one, NoisedAtTheSite)
    )
    return (
        f"{len(patients.pool)} patients of {examination.source.dataset}; {2 * extent.pairs} models of each "
        f"kind, each trained by a random half over {SITES} sites in {patients.plan.rounds.rounds} rounds, "
        f"and each attacked with {2 * extent.pairs - 2} shadow models; means, spreads and base rates from "
        f"{len(patients.public)} patients who do nothing else. {extent.trials} times {SITES} updates are "
        f"read. {extent.runs} trainings have {extent.canaries} canaries each, of whom half take part. "
        f"Noise multipliers: {noise}."
    )
