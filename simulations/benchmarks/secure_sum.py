"""How fast the secure sum hides and opens a vector, next to Flower's SecAgg+ in the same process.

Only the work on the vector is measured: at 10 million numbers keys and shares are nothing beside
it. Ours and theirs take turns, so that whatever else the machine does slows both down.
"""

import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_bytes
from statistics import median

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    parameters_addition,
    parameters_mod,
    parameters_multiply,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

from lego_core.component import Component
from lego_core.privacy.fsa1.fixed_point import fraction_bits
from lego_core.privacy.fsa1.masks import CHUNK, Masks, pieces
from lego_core.privacy.fsa1.vectors import Clipped
from simulations.benchmarks.command import command, say
from simulations.benchmarks.many_sites import sum_many
from simulations.benchmarks.store import write_whole

CLIP = 3.0
THEIR_RANGE, THEIR_MODULUS = 4_194_304, 4_294_967_296  # the defaults of Flower's workflow


class Race(Component):
    """One comparison: ours and theirs, in turns.

    Args:
        what: What was done.
        masks: With how many masks.
        ours: Median milliseconds.
        theirs: Likewise.
        ratio: Median of theirs over ours, pair by pair.
        lowest: Its least.
        highest: Its greatest.
        of_bound: Our speed next to that of cipher, addition and encoding alone; hiding only.
    """

    what: str
    masks: int
    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float
    of_bound: float | None = None


class SecureSumSpeed(Component):
    """What `bench secure-sum` measured.

    Args:
        elements: Length of the vector.
        pairs: How many turns each had.
        races: The comparisons.
        bytes_per_number: What a site sends for each.
        extra_bytes_per_number: Peak memory beside the vector while it is hidden.
        cipher: Words per second of AES-256 in counter mode, from and to the cache.
        addition: Words per second of an addition in the cache.
        encoding: Numbers per second from float to residue.
    """

    elements: int
    pairs: int
    races: tuple[Race, ...]
    bytes_per_number: float
    extra_bytes_per_number: float
    cipher: float
    addition: float
    encoding: float


@dataclass(frozen=True)
class Rates:
    """Words per second of the three things that hiding is made of."""

    cipher: float
    addition: float
    encoding: float

    def bound(self, elements: int, masks: int) -> float:
        """Seconds that nobody can be faster than with these three."""
        return elements * (masks * (1 / self.cipher + 1 / self.addition) + 1 / self.encoding)


def run_secure_sum(
    folder: Path,
    *,
    elements: int,
    pairs: int,
    neighbours: Sequence[int],
    num_sites: int,
    absent: float,
) -> None:
    """Measure, print and write, as a command."""
    with command() as console:

        def said(line: str) -> None:
            say(console, [line])

        speed = measure(elements, pairs=pairs, neighbours=neighbours, said=said)
        many = sum_many(num_sites, elements=1000, absent=absent, said=said)
        measured = {"speed": speed.to_plain(), "many-sites": many.to_plain()}
        text = f"{table(speed)}\n{many.sentence()}\n"
        write_whole(folder / "results.json", json.dumps(measured, indent=1) + "\n")
        write_whole(folder / "table.md", text)
        say(console, ["", *text.splitlines(), str(folder / "table.md")])


def measure(
    elements: int, *, pairs: int, neighbours: Sequence[int], said: Callable[[str], None]
) -> SecureSumSpeed:
    """Race ours against theirs.

    Args:
        elements: Length of the vector.
        pairs: How many turns each gets.
        neighbours: With how many other sites a site shares masks: one race each.
        said: Where to say how far it is.
    """
    values = np.random.default_rng(0).normal(0, 0.01, elements).astype(np.float32)
    out = np.zeros(elements + 1, dtype=np.uint32)
    rates, races = measure_rates(values), []
    for count in neighbours:
        keys = [token_bytes(32) for _ in range(count + 1)]
        ours, theirs = partial(hide, values, keys, out), partial(hide_as_flower, values, keys)
        bound = rates.bound(elements, len(keys))
        races.append(_race("hide", len(keys), ours, theirs, pairs=pairs, bound=bound))
        said(f"hidden with {count} neighbours: {races[-1].ratio:.1f} times as fast")
    keys = [token_bytes(32) for _ in range(20)]
    their_sum = [np.zeros(elements, dtype=np.int64)]
    ours, theirs = partial(open_sum, out, keys), partial(open_as_flower, their_sum, keys)
    races.append(_race("open", len(keys), ours, theirs, pairs=pairs))
    said(f"opened with 20 masks: {races[-1].ratio:.1f} times as fast")
    return SecureSumSpeed(
        elements=elements,
        pairs=pairs,
        races=tuple(races),
        bytes_per_number=out.nbytes / elements,
        extra_bytes_per_number=_extra_memory(values, keys) / elements,
        cipher=rates.cipher,
        addition=rates.addition,
        encoding=rates.encoding,
    )


def hide(values: np.ndarray, keys: Sequence[bytes], out: np.ndarray) -> None:
    """What a site does with its vector: residues and masks, piece by piece."""
    part = Clipped(values, 0.5, CLIP, fraction_bits(len(keys), CLIP))
    masks = Masks({key: 1 if place % 2 else -1 for place, key in enumerate(keys)}, narrow=len(out))
    for start, end in pieces(len(out), narrow=len(out)):
        part.write(out[start:end], start)
        masks.apply_piece(out[start:end], wide=False)


def hide_as_flower(values: np.ndarray, keys: Sequence[bytes]) -> list[np.ndarray]:
    """The same steps as Flower's client, with its own functions, in its own order."""
    parameters = quantize(parameters_multiply([values], 0.5), CLIP, THEIR_RANGE)
    parameters = factor_combine(THEIR_RANGE // 2, parameters)
    shapes = [array.shape for array in parameters]
    parameters = parameters_addition(parameters, pseudo_rand_gen(keys[0], THEIR_MODULUS, shapes))
    for place, key in enumerate(keys[1:]):
        change = parameters_addition if place % 2 else parameters_subtraction
        parameters = change(parameters, pseudo_rand_gen(key, THEIR_MODULUS, shapes))
    return parameters_mod(parameters, THEIR_MODULUS)


def open_sum(residues: np.ndarray, keys: Sequence[bytes]) -> None:
    """What our server does: take all masks away, in one pass."""
    Masks(dict.fromkeys(keys, -1), narrow=len(residues)).apply(residues)


def open_as_flower(total: list[np.ndarray], keys: Sequence[bytes]) -> list[np.ndarray]:
    """The same with Flower's functions."""
    for key in keys:
        total = parameters_subtraction(total, pseudo_rand_gen(key, THEIR_MODULUS, [total[0].shape]))
    return parameters_mod(total, THEIR_MODULUS)


def measure_rates(values: np.ndarray) -> Rates:
    """How fast the parts are, each alone, in pieces that stay in the cache."""
    buffer, other = np.empty(CHUNK, dtype="<u4"), np.ones(CHUNK, dtype=np.uint32)
    zeros, room = bytes(4 * CHUNK), buffer.data.cast("B")
    stream = Cipher(AES256(token_bytes(32)), CTR(bytes(16))).encryptor()
    part = Clipped(values[:CHUNK], 0.5, CLIP, 20)

    def rate(do: Callable[[], object]) -> float:
        return CHUNK / min(_seconds(do) for _ in range(200))

    return Rates(
        cipher=rate(lambda: stream.update_into(zeros, room)),
        addition=rate(lambda: np.add(other, buffer, out=other)),
        encoding=rate(lambda: part.write(other[: len(part.values)], 0)),
    )


def table(speed: SecureSumSpeed) -> str:
    """The measurements as Markdown."""
    lines = [
        f"Vectors of {speed.elements:,} numbers, {speed.pairs} turns each; times and ratios are medians.",
        "",
        "| what | masks | ours, ms | Flower's SecAgg+, ms | ratio | lowest to highest | of the bound |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for race in speed.races:
        bound = "" if race.of_bound is None else f"{race.of_bound:.0%}"
        lines.append(
            f"| {race.what} | {race.masks} | {race.ours:,.0f} | {race.theirs:,.0f} | **{race.ratio:.1f}** "
            f"| {race.lowest:.1f} to {race.highest:.1f} | {bound} |"
        )
    lines += [
        "",
        f"{speed.bytes_per_number:.2f} bytes are sent per number; {speed.extra_bytes_per_number:.2f} are "
        "needed per number while it is hidden, those that are sent included.",
        f"Alone: cipher {speed.cipher / 1e9:.2f}, addition {speed.addition / 1e9:.2f}, encoding "
        f"{speed.encoding / 1e9:.2f} billion words per second; the bound is all three, one after the other.",
        "",
    ]
    return "\n".join(lines)


def _race(
    what: str,
    masks: int,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    pairs: int,
    bound: float | None = None,
) -> Race:
    ours()  # the first touch of memory is nobody's fault
    turns = [(_seconds(ours), _seconds(theirs)) for _ in range(pairs)]
    ratios = [their / our for our, their in turns]
    own = median(our for our, _ in turns)
    return Race(
        what=what,
        masks=masks,
        ours=1000 * own,
        theirs=1000 * median(their for _, their in turns),
        ratio=median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        of_bound=bound / own if bound else None,
    )


def _extra_memory(values: np.ndarray, keys: Sequence[bytes]) -> int:
    tracemalloc.start()
    hide(values, keys, np.empty(len(values) + 1, dtype=np.uint32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started
