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


def difference(gain: Gain) -> str:
    """`+0.012, +0.003 to +0.020`; as many digits as the numbers need."""
    digits = 3 if max(abs(gain.ci95[0]), abs(gain.ci95[1])) < 10 else 0
    low, high = gain.ci95
    return f"{gain.mean:+.{digits}f}, {low:+.{digits}f} to {high:+.{digits}f}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _one(group: list[Compared]) -> str:
    what, than = group[0].what, group[0].than
    if len(group) == 1 and not group[0].where:
        return _plain(what, than, group[0].gain)
    parts = [_under(verdict, group) for verdict in VERDICTS]
    unjudged = [one.where for one in group if one.gain is None]
    parts.append(f"not judged {listed(unjudged)}" if unjudged else "")
    return f"{what} against {than}: {'; '.join(filter(None, parts))}"


def _plain(what: str, than: str, gain: Gain | None) -> str:
    if gain is None:
        return f"{what} against {than} could not be judged"
    if gain.verdict == "no difference":
        return f"no difference between {what} and {than} ({difference(gain)})"
    return f"{what} is {gain.verdict} {than} ({difference(gain)})"


def _under(verdict: Verdict, group: list[Compared]) -> str:
    found = [(one.where, one.gain) for one in group if one.gain is not None and one.gain.verdict == verdict]
    if not found:
        return ""
    return f"{verdict} {listed([f'{where} ({difference(gain)})' for where, gain in found])}"
