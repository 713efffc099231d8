"""What a site and a server refuse. Each test takes one check of theirs to task: without it, it fails."""

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from sessions import MemoryLedger, describe, expect, open_session

from lego_core.errors import LogError, SecureSumError
from lego_core.privacy.fsa1 import sharing
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.fixed_point import fraction_bits, to_fixed_point
from lego_core.privacy.fsa1.keys import Bundle, seal, unseal
from lego_core.privacy.fsa1.limits import SiteLimits
from lego_core.privacy.fsa1.neighbours import RoundTable, circle_size
from lego_core.privacy.fsa1.site import SiteSession, signed_sets
from lego_core.privacy.fsa1.vectors import Wide
from lego_core.privacy.fsa1.wire import read_set, set_bytes

OTHER_HASH = "1" * 64


def at_shares(num_sites=5, **changed):
    session = open_session(num_sites, **changed)
    session.keys()
    return session


def at_masked(num_sites=5, **changed):
    session = at_shares(num_sites, **changed)
    session.shares()
    return session


def at_confirm(num_sites=5, lost=frozenset(), **changed):
    session = at_masked(num_sites, **changed)
    session.masked(lost=lost)
    return session


def at_open(num_sites=5, **changed):
    session = at_confirm(num_sites, **changed)
    session.confirm()
    return session


# ---- the session itself --------------------------------------------------------------------


PARTICIPANTS = tuple(f"site-{place:02d}" for place in range(1, 71))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"participants": ("site-02", "site-01", "site-03", "site-04", "site-05")}, "not sorted"),
        ({"participants": ("site-01", "site-01", "site-02", "site-03", "site-04")}, "one is there twice"),
        ({"participants": ("site-02", "site-03", "site-04", "site-05", "site-06")}, "'site-01' is not among"),
        ({"participants": ("site-01", "site-02", "site-03", "site-04", "stranger")}, "not on the roster"),
        (
            {"participants": ("site-01", "site-02"), "neighbours": 1, "threshold": 2},
            "2 sites are fewer than 3",
        ),
        ({"max_corrupt": 0}, "withstands 0 corrupt sites and this site asks for 1"),
        ({"threshold": 6}, "a threshold of 6 among 5 sites is none"),
        ({"threshold": 3}, "with a threshold of 3 among 5 sites, 1 corrupt ones could open two sums"),
        ({"neighbours": 2, "threshold": 3}, "5 sites are not too many to share with all others"),
        ({"neighbours": 99}, "5 sites are not too many to share with all others"),
        (
            {"participants": PARTICIPANTS, "neighbours": 14, "threshold": 9, "frac_bits": 20},
            "14 neighbours and a threshold of 9 are not those of 70 sites",
        ),
        (
            {"participants": PARTICIPANTS, "neighbours": 14, "max_corrupt": 4, "min_survivors": 6},
            "withstand 3 corrupt sites of 70, and it says 4",
        ),
        ({"min_survivors": 2}, "a sum of 2 sites could be opened"),
        ({"max_corrupt": 2, "threshold": 4, "min_survivors": 3}, "a sum of 3 sites could be opened"),
        ({"frac_bits": 29}, "with 29 bits could wrap"),
        ({"deadline": 999}, "it ended 1 s ago"),
    ],
)
def test_a_site_refuses_a_session_in_which_it_would_not_be_safe(changed, sentence):
    plain = {"max_corrupt": 1, "threshold": 4}
    limits = SiteLimits(most_corrupt=1, semi_honest_server=True)
    fair = describe(5, **plain)
    known = {"site": "site-01", "roster": frozenset(PARTICIPANTS), "now": 1000}
    limits.check(fair, **known)
    other = describe(5, **(plain | changed))

    with pytest.raises(SecureSumError, match=sentence):
        limits.check(other, **known)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"run": "another"}, "its run is not what this site's plan and question say"),
        ({"round": 2}, "its round is not what"),
        ({"group": "blood "}, "its group is not what"),
        ({"dim": 7}, "its dim is not what"),
        ({"clipped_dim": 5}, "its clipped-dim is not what"),
        ({"clip": (2.0).hex(), "frac_bits": 10}, "its clip is not what"),
        ({"weight_cap": 1}, "its weight-cap is not what"),
        ({"schema_sha256": OTHER_HASH}, "its schema-sha256 is not what"),
        ({"task_sha256": OTHER_HASH}, "its task-sha256 is not what"),
        ({"roster_sha256": OTHER_HASH}, "its roster-sha256 is not what"),
    ],
)
def test_a_site_refuses_a_session_about_something_else(changed, sentence):
    fair = describe(5)
    expect(fair).check(fair)

    with pytest.raises(SecureSumError, match=sentence):
        expect(fair).check(describe(5, **changed))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"clip": (-1.0).hex()}, "its clip is -1"),
        ({"clip": "inf"}, "its clip is inf"),
        ({"clipped_dim": 7}, "its parts do not fill its vector"),
        ({"dim": 9}, "its parts do not fill its vector"),
    ],
)
def test_what_no_plan_should_ask_for_is_refused_too(changed, sentence):
    described = describe(5).model_copy(update=changed)

    with pytest.raises(SecureSumError, match=sentence):
        SiteLimits().check(described, site="site-01", roster=frozenset(PARTICIPANTS), now=1000)


def test_a_site_that_does_not_rely_on_the_server_shares_with_all_others_or_not_at_all():
    degree, needed = circle_size(70)
    described = describe(70, neighbours=degree, threshold=needed)
    known = {"site": "site-01", "roster": frozenset(PARTICIPANTS), "now": 1000}
    SiteLimits(semi_honest_server=True).check(described, **known)

    with pytest.raises(SecureSumError, match="does not rely on an honest server"):
        SiteLimits().check(described, **known)


@pytest.mark.parametrize(
    ("packed", "sentence"),
    [
        (b"{}", "it is missing"),
        (b"\xff", "The session of a secure sum"),
        (describe(3).packed() + b" ", "not written in its one form"),
        (describe(3).packed().replace(b'"0x1.0000000000000p+0"', b'"0x1.0p+0"'), "hexadecimal text"),
        (describe(3).packed().replace(b'"0x1.0000000000000p+0"', b'"one"'), "hexadecimal"),
        (describe(3).packed().replace(b'"0x1.0000000000000p+0"', f'"{(0.1).hex()}"'.encode()), "hexadecimal"),
        (describe(3).packed().replace(b'"0x1.0000000000000p+0"', b'"0x1p99999"'), "clip"),
        (describe(3).packed().replace(b'"frac_bits":29', b'"frac_bits":2000'), "frac-bits|frac_bits"),
        (describe(3).packed().replace(b"FSA1", b"FSA0"), "suite"),
    ],
)
def test_a_session_is_read_in_its_one_form_only(packed, sentence):
    assert SessionDescriptor.read(describe(3).packed()).sid

    with pytest.raises(SecureSumError, match=sentence):
        SessionDescriptor.read(packed)


# ---- keys and shares -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda bundles: bundles | {1: bundles[2]}, "other keys in this site's name"),
        (lambda bundles: bundles | {9: bundles[2]}, "places where nobody is"),
        (lambda bundles: {1: bundles[1], 2: bundles[2]}, "2 sites showed keys and 3 are needed"),
    ],
)
def test_a_site_ends_when_the_keys_shown_cannot_be_those_of_the_session(change, sentence):
    session = at_shares()

    with pytest.raises(SecureSumError, match=sentence):
        session.sites[1].shares(change(session.server.bundles))


@pytest.mark.parametrize("way", ["forged", "of another session", "of another place"])
def test_a_site_ends_when_keys_are_not_signed_by_their_site(way):
    session, another = at_shares(), at_shares()
    bundles = session.server.bundles
    drawn, sid = session.sites[2].memory.drawn, session.described.sid
    bundles[2] = {
        "forged": Bundle.of(drawn, sid=sid, place=2, identity=Ed25519PrivateKey.generate()).packed(),
        "of another session": another.server.bundles[2],
        "of another place": Bundle.of(drawn, sid=sid, place=3, identity=session.sites[2].identity).packed(),
    }[way]

    with pytest.raises(SecureSumError, match="'site-02' did not sign"):
        session.sites[1].shares(bundles)


def test_a_site_ends_when_two_sites_show_the_same_key():
    session = at_shares()
    bundles = session.server.bundles
    twin = Bundle.of(
        session.sites[2].memory.drawn, sid=session.described.sid, place=3, identity=session.sites[3].identity
    )
    bundles[3] = twin.packed()

    with pytest.raises(SecureSumError, match="show the same key"):
        session.sites[1].shares(bundles)


def test_a_bundle_of_another_length_is_refused():
    with pytest.raises(SecureSumError, match="159 bytes, and 160 were expected"):
        Bundle.read(bytes(159))


def test_a_key_with_which_no_secret_can_be_agreed_is_refused():
    with pytest.raises(SecureSumError, match="no secret can be agreed"):
        seal(b"shares", b"\x01" * 32, bytes(32), sender=1, receiver=2, th=bytes(32))


# ---- the vector ----------------------------------------------------------------------------


def clipped(values):
    return describe(5).clipped(np.array(values, np.float32), patients=10)


@pytest.mark.parametrize("patients", [0, 1001])
def test_patients_that_may_not_count_are_refused_and_not_counted_less(patients):
    with pytest.raises(SecureSumError, match="not within 1 and 1000") as caught:
        describe(5).clipped(np.zeros(5, np.float32), patients=patients)
    assert str(patients) not in caught.value.public.replace("1000", "").replace(" 1 ", "")
    assert caught.value.local == f"{patients} patients"


@pytest.mark.parametrize("value", [2.0**63, -(2.0**63), np.inf, np.nan])
def test_a_statistic_that_no_words_hold_is_refused(value):
    with pytest.raises(SecureSumError, match="not a finite number below"):
        Wide(np.array([value])).write(np.empty(4, np.uint32), 0)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"model_sha256": OTHER_HASH}, "the weights that came are not those"),
        ({"sharing_sites": frozenset({1, 2, 3, 4, 5, 6})}, "not those that showed keys"),
        ({"sharing_sites": frozenset({2, 3, 4, 5})}, "not those that showed keys"),
        ({"sharing_sites": frozenset({1, 2, 3, 4})}, "the shares that came are not those"),
        ({"parts": [Wide(np.zeros(1))]}, "the vector has 4 words and the session is for 6"),
        ({"parts": [clipped([1, 2, np.nan, 4, 5])]}, "not finite"),
        ({"parts": [clipped([1, 2, np.inf, 4, 5])]}, "not finite"),
        ({"parts": [clipped([1, 2]), Wide(np.array([]))]}, "the vector has 3 words"),
    ],
)
def test_a_site_ends_rather_than_hide_the_wrong_vector(changed, sentence):
    session = at_masked()

    with pytest.raises(SecureSumError, match=sentence):
        session.mask(1, **changed)
    assert session.sites[1].memory.drawn is None


def test_a_site_ends_when_too_few_share():
    session = at_masked()
    sealed = {2: session.server.sealed_for(1)[2]}

    with pytest.raises(SecureSumError, match="2 sites share, which is too few"):
        session.mask(1, sealed=sealed, sharing_sites=frozenset({1, 2}))


def test_a_site_ends_when_a_share_was_changed_or_swapped():
    for change in (lambda pieces: bytes([pieces[2][0] ^ 1]) + pieces[2][1:], lambda pieces: pieces[3]):
        session = at_masked()
        sealed = session.server.sealed_for(1)
        sealed[2] = change(sealed)

        with pytest.raises(SecureSumError, match="in the name of site 2 were changed"):
            session.mask(1, sealed=sealed)


def test_shares_of_another_session_do_not_open():
    one, other = at_masked(), at_masked()
    sealed = one.server.sealed_for(1)
    sealed[2] = other.server.sealed_for(1)[2]

    with pytest.raises(SecureSumError, match="belong to another session"):
        one.mask(1, sealed=sealed)


def test_shares_of_another_length_are_refused():
    session = at_masked()
    first, second = session.sites[1], session.sites[2]
    sealed = session.server.sealed_for(1)
    keys = Bundle.read(session.server.bundles[1])
    sealed[2] = seal(
        bytes(65), second.memory.drawn.channel, keys.channel, sender=2, receiver=1, th=first.memory.th
    )

    with pytest.raises(SecureSumError, match="the shares of place 2 have 65 bytes"):
        session.mask(1, sealed=sealed)


def test_what_was_sealed_for_one_site_opens_for_no_other():
    private, public = bytes([7]) * 32, Bundle.read(at_shares().server.bundles[1]).channel
    sealed = seal(b"shares", private, public, sender=1, receiver=2, th=bytes(32))

    with pytest.raises(SecureSumError, match="were changed"):
        unseal(sealed, private, public, sender=2, receiver=1, th=bytes(32))


# ---- the survivors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sharing_sites", "survivors", "sentence"),
    [
        ({1, 2, 3, 4}, {1, 2, 3, 4}, "other sharing sites than before"),
        ({1, 2, 3, 4, 5}, {1, 2, 3, 6}, "not among those who share"),
        ({1, 2, 3, 4, 5}, {2, 3, 4, 5}, "this site is not among them"),
        ({1, 2, 3, 4, 5}, {1, 2}, "the sum of 2 sites was to be opened, and 3 are needed"),
    ],
)
def test_a_site_ends_when_the_server_lies_about_survivors(sharing_sites, survivors, sentence):
    session = at_confirm()
    site = session.sites[1]

    with pytest.raises(SecureSumError, match=sentence):
        site.confirm(frozenset(sharing_sites), frozenset(survivors))
    assert not site.ledger.noted
    assert site.memory.drawn is None


def test_a_site_ends_when_too_few_neighbours_are_left():
    session = at_confirm(7, neighbours=4, threshold=4)
    site = session.sites[1]
    survivors = frozenset({1}) | (frozenset(range(1, 8)) - site._neighbours)

    with pytest.raises(SecureSumError, match="of this site's neighbours too few are left"):
        site.confirm(session.server.sharing_sites, survivors)


def test_fewer_survivors_than_the_session_asks_for_are_refused():
    session = at_confirm(5, min_survivors=5)

    with pytest.raises(SecureSumError, match="the sum of 4 sites was to be opened, and 5 are needed"):
        session.sites[1].confirm(frozenset(range(1, 6)), frozenset(range(1, 5)))


def test_no_second_set_of_survivors_is_confirmed_for_the_same_weights():
    ledgers = {place: MemoryLedger() for place in range(1, 6)}
    at_open(ledgers=ledgers)
    again = at_confirm(ledgers=ledgers, lost=frozenset({5}))

    with pytest.raises(SecureSumError, match="another sum of these weights"):
        again.confirm()


def test_no_part_of_the_survivors_can_be_opened_alone():
    """Twelve at a round table, each bound to two on either side; four lost ones leave two groups apart."""
    session = at_masked(12, neighbours=4, threshold=3, min_survivors=8)
    table = session.server._table._order
    survivors = frozenset(table) - {table[seat] for seat in (0, 1, 5, 6)}
    site = session.sites[table[3]]
    session.mask(table[3])

    with pytest.raises(SecureSumError, match="not all bound to one another"):
        site.confirm(session.server.sharing_sites, survivors)


@given(st.integers(6, 30), st.integers(1, 4), st.randoms(use_true_random=False))
def test_survivors_are_bound_if_scipy_finds_them_connected(num_sites, half, random):
    table = RoundTable(range(1, num_sites + 1), degree=2 * half, th=bytes(32))
    survivors = sorted(random.sample(range(1, num_sites + 1), random.randint(1, num_sites)))
    bound = [[other in table.neighbours(place) for other in survivors] for place in survivors]

    groups, _ = connected_components(np.array(bound, dtype=int), directed=False)

    assert table.binds(frozenset(survivors)) == (groups == 1)


# ---- opening -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["too few", "forged", "of no survivor", "of other sets"])
def test_a_site_opens_nothing_that_no_threshold_of_survivors_signed(way):
    session = at_confirm(5, lost=frozenset({5}))
    session.confirm()
    signatures = session.server.confirmations
    t = session.described.threshold
    kept = {place: signatures[place] for place in sorted(signatures)[: t - 1]}
    wrong = {
        "too few": {},
        "forged": {4: bytes(64)},
        "of no survivor": {5: signatures[4]},
        "of other sets": {4: at_confirm_signature(session, 4)},
    }[way]

    with pytest.raises(SecureSumError, match=f"{t - 1} survivors signed these sets and {t} are needed"):
        session.sites[1].unmask(kept | wrong)
    assert session.sites[1].memory.drawn is None


def at_confirm_signature(session, place):
    """The same site's signature, under a smaller set of survivors."""
    sets = signed_sets(session.sites[1].memory.th, session.server.sharing_sites, frozenset({1, 2, 3}))
    return session.sites[place].identity.sign(sets)


# ---- order and repetition ------------------------------------------------------------------


def test_a_question_that_comes_again_gets_the_same_bytes():
    session = at_confirm()
    site, server = session.sites[1], session.server

    assert site.keys() == server.bundles[1]
    assert site.shares(server.bundles) == site.shares(server.bundles)
    assert session.mask(1).residues is session.mask(1).residues
    assert session.sign(1) == session.sign(1)
    session.confirm()
    assert site.unmask(server.confirmations) == site.unmask(server.confirmations)


def test_another_question_in_the_same_place_ends_the_session():
    session = at_masked()
    bundles = {place: session.server.bundles[place] for place in (1, 2, 3, 4)}

    with pytest.raises(SecureSumError, match="asked twice for 'shares', and for different things"):
        session.sites[1].shares(bundles)
    with pytest.raises(SecureSumError, match="it was over before"):
        session.mask(1)


def test_questions_out_of_order_end_the_session():
    session = open_session(5)

    with pytest.raises(SecureSumError, match="'unmask' was asked out of order"):
        session.sites[1].unmask({})
    with pytest.raises(SecureSumError, match="it was over before"):
        session.sites[1].keys()


# ---- the server ----------------------------------------------------------------------------


def test_the_server_names_whoever_sends_what_cannot_be_right():
    session = open_session(7)
    shown = {place: site.keys() for place, site in session.sites.items()}
    session.server.take_keys(shown | {1: bytes(160), 2: b"short"})

    assert session.server.left_out == dict.fromkeys(("site-01", "site-02"), "its keys are not signed by it")
    dealt = {place: session.sites[place].shares(session.server.bundles) for place in range(3, 8)}
    dealt[3] = {}
    session.server.take_shares(dealt)

    assert "did not deal" in session.server.left_out["site-03"]
    assert session.server.sharing_sites == {4, 5, 6, 7}


def test_a_false_share_is_found_and_its_sender_named():
    session = at_open(5)
    handed = {place: session.sites[place].unmask(session.server.confirmations) for place in session.sites}
    false = dict(handed[2])
    false[4] = (int.from_bytes(false[4], "big") ^ 1).to_bytes(33, "big")

    total, _ = session.read(session.server.open(handed | {2: false}))

    assert np.array_equal(total, session.expected())
    assert session.server.left_out == {"site-02": "it handed out a false share of site 'site-04'"}


def test_a_false_share_that_nobody_can_correct_ends_the_session():
    session = at_open(3)
    t = session.described.threshold
    handed = {place: session.sites[place].unmask(session.server.confirmations) for place in (1, 2)}
    handed[2] = dict.fromkeys(handed[2], (5).to_bytes(33, "big"))

    assert len(handed) == t
    with pytest.raises(SecureSumError, match="do not give its secret"):
        session.server.open(handed)


@pytest.mark.parametrize("way", ["not signed", "another length", "not asked"])
def test_a_vector_that_does_not_belong_is_left_out(way):
    session = at_masked(5)
    masked = session.mask(1)
    if way == "not signed":
        masked = type(masked)(masked.residues, bytes(64))
    if way == "another length":
        masked = type(masked)(masked.residues[:-1], masked.signature)
    if way == "not asked":
        session.server._sealed.pop(1)

    session.server.take_masked(1, masked)

    assert "site-01" in session.server.left_out
    assert not session.server.survivors


def test_a_vector_that_comes_twice_is_added_once():
    session = at_masked(3)
    session.server.take_masked(1, session.mask(1))

    session.masked()
    session.confirm()
    total, _ = session.open()

    assert np.array_equal(total, session.expected())
    assert not session.server.left_out


def test_a_sum_that_no_clipped_vectors_could_have_is_not_given_out():
    session = at_masked(5)
    honest = session.sites[1]._hidden
    session.sites[1]._hidden = lambda *args: honest(*args) + np.uint32(2**30)
    session.masked()
    session.confirm()

    with pytest.raises(SecureSumError, match="no sum of clipped numbers of 5 sites"):
        session.open()


def test_nothing_is_opened_of_nobody():
    with pytest.raises(SecureSumError, match="no site sent a vector"):
        open_session(3).server.open({})


# ---- bytes and numbers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "packed",
    [b"", b"\x01", set_bytes([1, 2])[:-1], b"\x02\x00\x00\x00\x02\x00\x01\x00", b"\x01\x00\x00\x00\x00\x00"],
)
def test_a_set_is_read_in_its_one_form_only(packed):
    assert read_set(set_bytes([3, 1, 2])) == {1, 2, 3}

    with pytest.raises(SecureSumError, match="cannot be read"):
        read_set(packed)


@pytest.mark.parametrize(
    ("secret", "threshold", "places", "sentence"),
    [
        (bytes(31), 2, [1, 2, 3], "A secret of 31 bytes"),
        (bytes(32), 1, [1, 2, 3], "threshold of 1"),
        (bytes(32), 4, [1, 2, 3], "threshold of 4"),
        (bytes(32), 2, [1, 1, 2], "different numbers"),
        (bytes(32), 2, [0, 1, 2], "numbers from 1"),
    ],
)
def test_a_secret_is_only_dealt_so_that_a_threshold_can_find_it(secret, threshold, places, sentence):
    with pytest.raises(SecureSumError, match=sentence):
        sharing.split(secret, threshold=threshold, places=places)


@pytest.mark.parametrize("share", [bytes(32), b"\xff" * 33])
def test_what_is_no_share_is_refused(share):
    good = sharing.split(bytes(range(32)), threshold=2, places=[1, 2])

    with pytest.raises(SecureSumError, match="do not belong to one secret"):
        sharing.combine({1: good[1], 2: share})


def test_what_comes_together_to_more_than_a_secret_is_refused():
    too_much = (2**256).to_bytes(33, "big")

    with pytest.raises(SecureSumError, match="do not belong to one secret"):
        sharing.combine({1: too_much, 2: too_much})


def test_a_sum_that_could_wrap_has_no_encoding():
    with pytest.raises(SecureSumError, match="does not fit 32 bits"):
        fraction_bits(1000, 1e7)


def test_numbers_beyond_the_clip_are_taken_for_it():
    out = np.empty(2, dtype=np.uint32)

    to_fixed_point(np.array([9.0, -9.0], np.float32), weight=0.5, clip=1.0, bits=4, out=out)

    assert out.view(np.int32).tolist() == [8, -8]


@given(st.integers(3, 1000), st.floats(2.0**-10, 2.0**10, width=32), st.floats(0, 1, exclude_min=True))
def test_sums_of_the_largest_numbers_do_not_wrap(num_sites, clip, weight):
    bits = fraction_bits(num_sites, clip)
    out = np.empty(2, dtype=np.uint32)

    to_fixed_point(np.array([clip, -clip], np.float32), weight=weight, clip=clip, bits=bits, out=out)

    largest, least = (num_sites * int(quantum) for quantum in out.view(np.int32))
    assert 0 <= largest < 2**31
    assert -(2**31) < least <= 0
    assert largest / 2.0**bits == pytest.approx(
        num_sites * clip * weight, rel=1e-6, abs=num_sites * 2.0**-bits
    )


# ---- state put back ------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["keys", "shares", "masked", "confirm", "unmask"])
def test_a_state_from_before_a_stage_does_not_answer_it_anew(stage):
    """Two masked vectors under the same masks would show, by subtraction, how they differ."""
    session = open_session(5)
    before = {}
    for name, step in (("keys", session.keys), ("shares", session.shares), ("masked", session.masked),
                       ("confirm", session.confirm), ("unmask", session.open)):  # fmt: skip
        before[name] = session.sites[1].memory.save()
        step()
    session.put_back(1, before[stage])
    again = {
        "keys": session.sites[1].keys,
        "shares": lambda: session.sites[1].shares(session.server.bundles),
        "masked": lambda: session.mask(1),
        "confirm": lambda: session.sign(1),
        "unmask": lambda: session.sites[1].unmask(session.server.confirmations),
    }[stage]

    with pytest.raises(SecureSumError, match=f"'{stage}' was answered"):
        again()
    assert session.sites[1].memory.drawn is None


def test_a_session_is_not_begun_twice():
    session = open_session(3)
    session.keys()
    site = session.sites[1]
    again = SiteSession(
        site.described, site=site.site, identity=site.identity, roster=site.roster, ledger=site.ledger
    )

    with pytest.raises(SecureSumError, match="'keys' was answered"):
        again.keys()


def test_whatever_fails_ends_the_session():
    class Full(MemoryLedger):
        def confirm(self, key, *, sid, sites):
            raise LogError("The disk under the ledger is full.")

    session = at_confirm(5, ledgers={1: Full()})

    with pytest.raises(LogError):
        session.sign(1)
    with pytest.raises(SecureSumError, match="it was over before"):
        session.sign(1)


@pytest.mark.parametrize("place", [0, -1, 6, 70_000])
def test_places_where_nobody_is_are_nobody(place):
    session = open_session(5)
    shown = {number: site.keys() for number, site in session.sites.items()}
    session.server.take_keys(shown | {place: shown[5]})

    assert set(session.server.bundles) == {1, 2, 3, 4, 5}
    with pytest.raises(SecureSumError):
        session.sites[1].shares(session.server.bundles | {place: shown[5]})
    assert session.sites[1].memory.drawn is None


def test_a_sum_is_opened_once():
    session = at_open(3)
    handed = {place: session.sites[place].unmask(session.server.confirmations) for place in (1, 2, 3)}
    session.server.open(handed)

    with pytest.raises(SecureSumError, match="opened before"):
        session.server.open(handed)


def test_of_a_survivor_the_share_of_its_seed_and_of_a_lost_site_that_of_its_key():
    session = at_confirm(5, lost=frozenset({5}))
    held = dict(session.sites[1].memory.held)
    session.confirm()

    handed = session.sites[1].unmask(session.server.confirmations)

    assert handed == {place: of_seed if place != 5 else of_key for place, (of_seed, of_key) in held.items()}


def test_nothing_that_is_held_stands_in_a_log():
    session = at_confirm(3)
    site = session.sites[1]

    for share in (share for both in site.memory.held.values() for share in both):
        assert repr(share) not in repr(site)


@pytest.mark.parametrize(("num_sites", "expected"), [(100, (16, 12)), (200, (28, 20)), (1000, (50, 36))])
def test_circles_are_about_as_large_as_the_specification_has_them(num_sites, expected):
    """Computed apart from this code, with shares rounded down where ours are rounded up."""
    degree, needed = circle_size(num_sites)

    assert abs(degree - expected[0]) <= 4
    assert 2 * needed > degree + 1
    bad = -(-num_sites // 20)
    unsafe = sum(
        math.comb(bad, c) * math.comb(num_sites - 1 - bad, degree - c)
        for c in range(2 * needed - degree - 1, min(bad, degree) + 1)
    ) / math.comb(num_sites - 1, degree)
    assert num_sites * unsafe < 2.0**-40
