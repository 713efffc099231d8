"""Sessions of honest sites, some of whom get lost: the exact sum, or nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import MemoryLedger, describe, open_session

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.masks import Masks, add
from lego_core.privacy.fsa1.site import SiteSession
from lego_core.privacy.fsa1.vectors import Wide, read_wide

NOBODY = frozenset()


def run(session, *, lost):
    """All five stages; whoever is lost at one stays lost."""
    gone = frozenset()
    for step, absent in zip(
        (session.keys, session.shares, session.masked, session.confirm, session.open), lost, strict=True
    ):
        gone |= absent
        result = step(gone)
    return result


def predicted(session, lost):
    """Whether the sum can be read, told from the sizes alone."""
    t = session.described.threshold
    left = set(session.sites)
    for stage, absent in enumerate(lost):
        left -= absent
        needed = max(t, 3) if stage < 3 else t
        if len(left) < needed:
            return False
    return True


CASES = {
    "num_sites": st.integers(3, 9),
    "dim": st.integers(1, 40),
    "seed": st.integers(0, 2**31),
    "chances": st.lists(st.floats(0, 0.25), min_size=5, max_size=5),
}


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_the_sum_is_exact_or_stays_closed(num_sites, dim, seed, chances):
    sum_up(num_sites, dim, seed, chances)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(**CASES)
def test_the_sum_is_exact_or_stays_closed_in_5000_cases(num_sites, dim, seed, chances):
    sum_up(num_sites, dim, seed, chances)


def sum_up(num_sites, dim, seed, chances):
    session = open_session(num_sites, dim, seed=seed)
    rng = np.random.default_rng(seed)
    lost = [frozenset(place for place in session.sites if rng.random() < chance) for chance in chances]

    if not predicted(session, lost):
        with pytest.raises(SecureSumError, match="stays closed"):
            run(session, lost=lost)
        return
    total, weight = run(session, lost=lost)

    assert np.array_equal(total, session.expected())
    patients = sum(session.patients[place] for place in session.server.survivors)
    assert weight == pytest.approx(patients, abs=1e-3)
    assert session.server.left_out == {}


def test_a_site_lost_after_it_sent_its_vector_stays_in_the_sum():
    session = open_session(5)

    total, _ = run(session, lost=[NOBODY, NOBODY, NOBODY, frozenset({2}), frozenset({4})])

    assert session.server.survivors == {1, 2, 3, 4, 5}
    assert np.array_equal(total, session.expected())


def test_masked_vectors_of_one_vector_look_alike_to_nobody():
    """Two sessions of the same vector: no residue is where it was, and bits are as good as tossed."""
    first, second = open_session(3, 20_000), open_session(3, 20_000)
    for session in (first, second):
        session.keys()
        session.shares()
    one, other = first.mask(1).residues, second.mask(1).residues

    assert np.mean(one == other) < 1e-3
    for residues in (one, other):
        assert abs(np.unpackbits(residues.view(np.uint8)).mean() - 0.5) < 0.005


def test_a_vector_that_comes_after_its_site_was_given_up_is_thrown_away():
    """Its masking key is being put together, and with both nothing would hide it."""
    session = open_session(5)
    session.keys()
    session.shares()
    late = session.mask(2)
    session.masked(lost=frozenset({2}))
    session.confirm()
    survivors = session.server.survivors

    session.server.take_masked(2, late)
    total, _ = session.open()

    assert session.server.survivors == survivors
    assert np.array_equal(total, session.expected())
    assert "came too late" in session.server.left_out["site-02"]


def test_a_site_shares_nothing_of_its_secrets_with_the_log():
    site = next(iter(open_session(3).sites.values()))

    for secret in (site.memory.drawn.channel, site.memory.drawn.masking, site.memory.drawn.own_seed):
        assert repr(secret) not in repr(site)


def test_the_ledger_is_asked_before_anything_is_signed():
    class Full(MemoryLedger):
        def confirm(self, key, *, sid, sites):
            raise SecureSumError("The disk under the ledger is full. Nothing was signed.")

    session = open_session(3, ledgers={place: Full() for place in range(1, 4)})
    session.keys()
    session.shares()
    session.masked()

    with pytest.raises(SecureSumError, match="disk under the ledger"):
        session.confirm()


def test_secrets_are_fresh_in_every_session():
    described = describe(3)
    roster = dict.fromkeys(described.participants, bytes(32))
    identity = next(iter(open_session(3).sites.values())).identity
    begun = [
        SiteSession(described, site="site-01", identity=identity, roster=roster, ledger=MemoryLedger()).keys()
        for _ in range(2)
    ]

    assert begun[0] != begun[1]


@pytest.mark.parametrize("until", range(5))
def test_a_session_goes_on_in_another_process(until):
    """Flower may answer every question from a new process."""
    session = open_session(4)
    for number, step in enumerate((session.keys, session.shares, session.masked, session.confirm)):
        if number >= until:
            move_elsewhere(session)
        step()
    move_elsewhere(session)

    total, _ = session.open()

    assert np.array_equal(total, session.expected())


def move_elsewhere(session):
    for place, site in session.sites.items():
        session.put_back(place, site.memory.save())


def test_what_was_answered_is_answered_alike_in_another_process():
    session = open_session(4)
    session.keys()
    session.shares()
    session.masked()
    before = session.mask(1)
    move_elsewhere(session)

    again = session.mask(1)

    assert np.array_equal(again.residues, before.residues)
    assert again.signature == before.signature
    assert session.sites[1].shares(session.server.bundles) == session.sites[1].shares(session.server.bundles)


def test_a_session_that_is_over_stays_over_in_another_process():
    session = open_session(4)
    session.keys()
    session.shares()
    session.masked()
    session.confirm()
    session.open()
    saved = session.sites[1].memory.save()

    assert b'"drawn": null' in saved["session"]
    assert b'"held": {}' in saved["session"]
    assert saved["residues"] == b""


def test_neighbours_share_among_themselves_where_sites_are_many():
    session = open_session(12, neighbours=6, threshold=5)

    total, _ = run(session, lost=[NOBODY, NOBODY, frozenset({3}), NOBODY, frozenset({8})])

    assert np.array_equal(total, session.expected())
    assert all(len(session.sites[place]._neighbours) == 6 for place in session.sites)


def test_statistics_of_any_size_are_summed_beside_an_update():
    """Platelets squared beside shares of a patient: each exact, in one vector."""
    sizes = np.array([3e11, -2.5e-7, 0.0, 1 / 3, -(2.0**50)])
    session = open_session(4, dim=5 + 1 + 4 * len(sizes) - 1, clipped_dim=6)
    session.keys()
    session.shares()
    for place in session.sites:
        clipped = session.described.clipped(session.values[place][:5], patients=session.patients[place])
        masked = session.mask(place, parts=[clipped, Wide(sizes * place)])
        session.server.take_masked(place, masked)
    session.server.close()
    session.confirm()
    shares = {place: site.unmask(session.server.confirmations) for place, site in session.sites.items()}

    residues = session.server.open(shares)

    np.testing.assert_allclose(read_wide(residues[6:]), sizes * 10, rtol=0, atol=2.0**-46)
    assert session.described.read_clipped(residues[:6], num_sites=4)[1] == pytest.approx(
        sum(session.patients.values()), abs=1e-3
    )


@given(
    st.lists(st.floats(-(2.0**62), 2.0**62), min_size=1, max_size=30), st.integers(1, 50), st.integers(0, 9)
)
def test_a_wide_number_is_the_same_in_whatever_pieces_it_is_written(values, step, start):
    part = Wide(np.array(values))
    whole, pieces = np.empty(len(part), np.uint32), np.empty(len(part), np.uint32)

    part.write(whole, 0)
    for begin in range(0, len(part), step):
        part.write(pieces[begin : begin + step], begin)

    assert np.array_equal(whole, pieces)
    np.testing.assert_allclose(read_wide(whole), values, rtol=0, atol=2.0**-48)


@given(
    st.lists(st.floats(-(2.0**40), 2.0**40), min_size=2, max_size=6),
    st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3, unique=True),
)
def test_a_sum_of_wide_numbers_shows_nothing_but_the_sum(values, keys):
    """Carries go from word to word, so equal sums have equal words, whatever they were made of."""
    total = np.zeros(4, np.uint32)
    for value in values:
        words = np.empty(4, np.uint32)
        Wide(np.array([value])).write(words, 0)
        add(total, words, narrow=0)
    masked = total.copy()
    Masks(dict.fromkeys(keys, 1), narrow=0).apply(masked)
    Masks(dict.fromkeys(keys, -1), narrow=0).apply(masked)

    assert np.array_equal(masked, total)
    exact = sum(round(value * 2**48) for value in values) % 2**128
    assert int.from_bytes(total.astype("<u4").tobytes(), "little") == exact
