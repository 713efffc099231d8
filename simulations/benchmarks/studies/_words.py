"""From intervals to a sentence that says no more than they do."""

from collections.abc import Sequence
from itertools import groupby

from simulations.benchmarks.results import Gain, Verdict
from simulations.benchmarks.studies._results import Compared

VERDICTS: tuple[Verdict, ...] = ("above", "below", "no difference")


def sentences(comparisons: Sequence[Compared]) -> str:
    """One sentence for every question; the same question under several conditions is one."""
    groups = groupby(comparisons, key=lambda one: (one.what, one.than))
    said = [_one(list(group)) for _, group in groups]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in said) or "Nothing could be compared."


def difference(gain: Gain, *, margin: float | None = None) -> str:
    """`+0.012, +0.003 to +0.020`, as many digits as the numbers need; and whether it is within a margin."""
    digits = 3 if max(abs(gain.ci95[0]), abs(gain.ci95[1])) < 10 else 0
    low, high = gain.ci95
    said = f"{gain.mean:+.{digits}f}, {low:+.{digits}f} to {high:+.{digits}f}"
    if margin is None:
        return said
    return f"{said}, {'within' if -margin <= low and high <= margin else 'not shown to be within'} {margin:g}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _one(group: list[Compared]) -> str:
    what, than = group[0].what, group[0].than
    if len(group) == 1 and not group[0].where:
        return _plain(group[0])
    parts = [_under(verdict, group) for verdict in VERDICTS]
    unjudged = [one.where for one in group if one.gain is None]
    parts.append(f"not judged {listed(unjudged)}" if unjudged else "")
    return f"{what} against {than}: {'; '.join(filter(None, parts))}"


def _plain(one: Compared) -> str:
    if one.gain is None:
        return f"{one.what} against {one.than} could not be judged"
    by = difference(one.gain, margin=one.margin)
    if one.gain.verdict == "no difference":
        return f"no difference between {one.what} and {one.than} ({by})"
    return f"{one.what} is {one.gain.verdict} {one.than} ({by})"


def _under(verdict: Verdict, group: list[Compared]) -> str:
    found = [
        f"{one.where} ({difference(one.gain, margin=one.margin)})"
        for one in group
        if one.gain is not None and one.gain.verdict == verdict
    ]
    return f"{verdict} {listed(found)}" if found else ""
