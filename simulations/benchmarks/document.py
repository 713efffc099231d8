"""Finished benchmarks and studies as one document with figures, to be read and cited."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from lego_core.component import explain
from lego_core.errors import RunError
from simulations.benchmarks.across import MERGE, Finished, best_of, families, gain_over
from simulations.benchmarks.methods import BEST_BLOCK, ENSEMBLE, is_baseline
from simulations.benchmarks.results import Gain
from simulations.benchmarks.store import write_whole
from simulations.benchmarks.studies._results import StudyResults

FUSE = "fuse:stack"
FIGURES = "figures"
HEAD = """# Is merging worth it? What was measured

Written by `python -m simulations bench document` from finished benchmarks and studies, not by hand.
[README](README.md) says how everything is measured, [TRIED](TRIED.md) how the settings came about.
*Above* and *below* are said where the paired 95 % interval of a difference excludes zero; otherwise it
is *no difference*.
"""


def write_document(quality: Sequence[Finished], studies: Sequence[Path], *, folder: Path) -> None:
    """Write `RESULTS.md` and its figures.

    Args:
        quality: Finished benchmarks, in the order of the document.
        studies: Folders of finished studies.
        folder: Where to write.

    Raises:
        RunError: If the results of a study cannot be read.
    """
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    lines = [HEAD, *_commands(quality), *_means(quality)]
    end_to_end = _end_to_end(quality)
    lines += _against(
        MERGE, "LegoMerge, unpaired, the plan's own rule", [BEST_BLOCK, ENSEMBLE, *end_to_end], quality
    )
    lines += _against(FUSE, "LegoFuse, two epochs", [BEST_BLOCK, ENSEMBLE, MERGE, *end_to_end], quality)
    lines += ["## Studies", ""] if studies else []
    for each in studies:
        lines += _study(each, folder)
    lines += ["## Dataset by dataset", ""]
    for each in quality:
        shutil.copyfile(each.folder / "figure.svg", folder / FIGURES / f"{each.name}.svg")
        table = (each.folder / "table.md").read_text(encoding="utf-8")
        lines += [without_paths(table), f"![{each.name}]({FIGURES}/{each.name}.svg)", ""]
    write_whole(folder / "RESULTS.md", "\n".join(lines).rstrip() + "\n")


def _commands(quality: Sequence[Finished]) -> Iterator[str]:
    days = sorted({each.results.date for each in quality})
    yield f"Measured on {' to '.join(dict.fromkeys((days[0], days[-1])))} with:" if days else ""
    yield from ("", "```", *(without_paths(each.results.command) for each in quality), "```", "")
    if any(each.results.quick for each in quality):
        yield "**Some of it is a quick look: few trials, little training. Do not quote it.**\n"


def _means(quality: Sequence[Finished]) -> Iterator[str]:
    """The main methods on every dataset, and on average."""
    yield from ("## All datasets", "", "Mean of the metric; bold is the best of a column.", "")
    methods = [BEST_BLOCK, ENSEMBLE, MERGE, FUSE, "fuse:weave", *_end_to_end(quality)]
    table = {method: [each.mean(method) for each in quality] for method in methods}
    best = [max((row[i] or 0.0 for row in table.values()), default=0.0) for i in range(len(quality))]
    headings = [f"{each.name}, {each.results.metric}" for each in quality]
    yield from _head("method", *headings, "mean of all")
    for method, row in table.items():
        cells = [_mean(value, bold=value == top) for value, top in zip(row, best, strict=True)]
        known = [value for value in row if value is not None]
        yield _row(method, *cells, f"{sum(known) / len(known):.3f}" if len(known) == len(row) else "")
    yield ""


def _against(ours: str, title: str, rivals: Sequence[str], quality: Sequence[Finished]) -> Iterator[str]:
    """A row per rival: the difference on every dataset, in families of datasets, and in all."""
    groups: dict[str, Sequence[Finished]] = {each.name: [each] for each in quality}
    groups |= {f"the {len(them)} of {name}": them for name, them in families(quality).items()}
    groups["all"] = quality
    yield from (f"## {title}", "", f"`{ours}` minus each of the others.", "")
    yield from _head("minus", *groups)
    for rival in rivals:
        yield _row(rival, *(_gain(gain_over(ours, rival, them)) for them in groups.values()))
    yield ""
    baselines = [rival for rival in rivals if is_baseline(rival)]
    for group, them in groups.items():
        best = best_of(baselines, them)
        gain = best and gain_over(ours, best, them)
        if gain:
            yield f"- {group}: {_gain(gain)}, against `{best}`, the best end-to-end model there."
    yield ""


def _end_to_end(quality: Sequence[Finished]) -> list[str]:
    """Baselines that were tried anywhere, in the order of the tables."""
    return [
        name
        for name in dict.fromkeys(n for each in quality for n in each.results.methods)
        if is_baseline(name)
    ]


def _study(source: Path, folder: Path) -> Iterator[str]:
    try:
        results = StudyResults.model_validate_json((source / "results.json").read_bytes())
    except ValidationError as error:
        raise explain(error, where=f"'results.json' in '{source.name}'", kind=RunError) from error
    shutil.copyfile(source / "figure.svg", folder / FIGURES / f"study-{source.name}.svg")
    table = without_paths((source / "table.md").read_text(encoding="utf-8"))
    write_whole(folder / FIGURES / f"study-{source.name}.md", table)
    yield from (f"### {results.question}", "", f"{results.sentence}", "")
    yield from (f"![{results.study}]({FIGURES}/study-{source.name}.svg)", "")
    numbers = f"[all numbers]({FIGURES}/study-{source.name}.md)"
    yield f"`{without_paths(results.command)}`, {results.date}; {numbers}"
    yield ""


def without_paths(text: str) -> str:
    """Commands as anyone would give them: data in DIR, results where they go by default."""
    text = re.sub(r" --output [^\s`]+", "", text.removesuffix("\n") + "\n")
    return re.sub(r"--data [^\s`]+", "--data DIR", text).removesuffix("\n")


def _head(*headings: str) -> tuple[str, str]:
    return _row(*headings), _row("---", *("---:" for _ in headings[1:]))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(value: float | None, *, bold: bool) -> str:
    return "" if value is None else f"**{value:.3f}**" if bold else f"{value:.3f}"


def _gain(gain: Gain | None) -> str:
    return f"{_interval(gain)} {gain.verdict}" if gain else ""


def _interval(gain: Gain) -> str:
    return f"{gain.mean:+.3f} ({gain.ci95[0]:+.3f} to {gain.ci95[1]:+.3f})"
