"""The race of the secure sum: what is raced is the real thing, and what is measured is written down."""

import json

import numpy as np
from typer.testing import CliRunner

from lego_core.privacy.fsa1.fixed_point import fraction_bits, from_fixed_point
from lego_core.privacy.fsa1.masks import Masks
from simulations.benchmarks.secure_sum import CLIP, hide, open_sum
from simulations.cli import app

KEYS = [bytes([place]) * 32 for place in range(6)]


def test_what_is_raced_hides_the_vector():
    values = np.random.default_rng(0).normal(0, 1, 100_000).astype(np.float32)
    out = np.empty(100_001, dtype=np.uint32)
    bits = fraction_bits(len(KEYS), CLIP)

    hide(values, KEYS, out)
    hidden = from_fixed_point(out, bits=bits)
    Masks({key: -1 if place % 2 else 1 for place, key in enumerate(KEYS)}, narrow=len(out)).apply(out)

    assert abs(np.corrcoef(hidden[:-1], values)[0, 1]) < 0.02
    np.testing.assert_allclose(
        from_fixed_point(out, bits=bits)[:-1], np.clip(values, -CLIP, CLIP) / 2, atol=2.0**-bits
    )


def test_opening_takes_away_what_was_added():
    before, masked = np.arange(70_000, dtype=np.uint32), np.arange(70_000, dtype=np.uint32)
    Masks(dict.fromkeys(KEYS, 1), narrow=len(masked)).apply(masked)

    open_sum(masked, KEYS)

    assert np.array_equal(masked, before)


def test_the_command_prints_and_writes_what_it_measured(tmp_path):
    arguments = [
        "bench",
        "secure-sum",
        "--elements",
        "20000",
        "--pairs",
        "1",
        "--neighbours",
        "2,3",
        "--sites",
        "70",
    ]

    told = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)])

    assert told.exit_code == 0, told.output
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [(race["what"], race["masks"]) for race in written["speed"]["races"]] == [
        ("hide", 3),
        ("hide", 4),
        ("open", 20),
    ]
    assert all(race["ours"] > 0 and race["theirs"] > 0 for race in written["speed"]["races"])
    assert written["many-sites"]["exact"]
    assert (written["many-sites"]["absent"], written["many-sites"]["neighbours"]) == (4, 14)
    assert "Flower's SecAgg+" in (tmp_path / "table.md").read_text(encoding="utf-8")
