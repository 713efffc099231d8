"""Sites whose data do not fit: the run says what went wrong, where and what to do, and goes on."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rehearsal import Rehearsal, Run
from tiny_plans import clinics_only, group, patients_of, tiny_plan, with_survival

from lego_core.errors import PlanError, RunError
from simulations.in_process import FIRST_NODE_ID

Damage = Callable[[Path], None]


def in_table(change: Callable[[pd.DataFrame], pd.DataFrame], *, table: str = "clinical") -> Damage:
    def damage(site: Path) -> None:
        path = site / f"{table}.csv"
        change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)

    return damage


def in_settings(old: str, new: str) -> Damage:
    def damage(site: Path) -> None:
        path = site / "site.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return damage


def with_content(name: str, content: bytes) -> Damage:
    return lambda site: (site / name).write_bytes(content) and None  # type: ignore[return-value]


def without(name: str) -> Damage:
    return lambda site: (site / name).unlink()


def emptied(site: Path) -> None:
    for path in site.iterdir():
        path.unlink()


def one_patient(site: Path) -> None:
    in_table(lambda frame: frame.head(1), table="patients")(site)
    in_table(lambda frame: frame.head(1))(site)


def in_two_parts(frame: pd.DataFrame) -> pd.DataFrame:
    train = frame[frame["part"] == "train"].head(1)
    return pd.concat([frame, train.assign(part="test")])


def in_first_row(column: str, text: str, *, table: str = "clinical") -> Damage:
    return in_table(lambda frame: frame.assign(**{column: [text, *frame[column][1:]]}), table=table)


def damaged(damages: dict[int, Damage]) -> Callable[[Path], None]:
    """Damage sites by their number, once all are made."""

    def prepare(sites: Path) -> None:
        for number, damage in damages.items():
            damage(sites / f"site-{number}")

    return prepare


# ---- what cannot be read -----------------------------------------------------------------------

UNREADABLE: dict[str, tuple[Damage, str]] = {
    "text in a number column": (
        in_first_row("feature-0", "high"),
        "The table of modality 'clinical' holds text in 1 of 26 rows of column 'feature-0'",
    ),
    "infinite number": (in_first_row("feature-0", "1e60"), "holds infinite or immense numbers"),
    "unreadable file": (with_content("clinical.csv", b"\xff\xfe\x00junk\x00"), "cannot be read"),
    "absent file": (without("clinical.csv"), "The table of modality 'clinical' is not there"),
    "no rows": (in_table(lambda frame: frame.head(0)), "has no rows"),
    "one row": (one_patient, "at least 2 are needed"),
    "empty folder": (emptied, "This site's description 'site.toml' cannot be read"),
    "patient twice": (
        in_table(lambda frame: pd.concat([frame, frame.head(1)]), table="patients"),
        "2 of 27 rows of the patients table share an identifier with another row, and 0 patients",
    ),
    "patient in train and test": (
        in_table(in_two_parts, table="patients"),
        "and 1 patients are in more than one part of the split",
    ),
    "two rows for a patient": (
        in_table(lambda frame: pd.concat([frame, frame.head(1)])),
        "holds 2 of 27 rows that share a patient with another",
    ),
    "unknown class": (
        in_first_row("class", "maybe", table="patients"),
        "holds none of the classes ['0', '1'] for 1 of 26 patients",
    ),
    "classes in another order": (
        in_settings('    "0",\n    "1",\n', '    "1",\n    "0",\n'),
        "lists the classes ['1', '0'] and the plan ['0', '1']",
    ),
    "a class too many": (
        in_settings('    "0",\n    "1",\n', '    "0",\n    "1",\n    "2",\n'),
        "lists the classes ['0', '1', '2'] and the plan ['0', '1']",
    ),
    "unknown patient": (
        in_first_row("patient_id", "nobody"),
        "holds 1 of 26 rows for patients who are not in the patients table",
    ),
    "no identifier": (
        in_first_row("patient_id", "", table="patients"),
        "The patients table has no identifier in 1 of 26 rows",
    ),
    "unknown setting": (in_settings("threads", "treads"), "'site.toml': key 'treads': there is no such key"),
    "settings that are none": (with_content("site.toml", b"= ="), "'site.toml' is not TOML. Mend the line."),
    "device that is none": (in_settings('"cpu"', '"abacus"'), "'site.toml': key 'device'"),
    "other modality": (
        in_settings("modalities.clinical", "modalities.scan"),
        "holds none of the plan's modalities ['clinical']",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def unreadable(run: Run) -> Rehearsal:
    num_sites = len(UNREADABLE) + 1
    prepare = damaged({number: damage for number, (damage, _) in enumerate(UNREADABLE.values(), start=1)})
    plan = clinics_only("[rounds]\nrounds = 1", hospitals=num_sites, patients=26 * num_sites)
    return run(plan, prepare=prepare)


@pytest.mark.parametrize("name", UNREADABLE)
def test_site_that_cannot_be_read_is_left_out_with_its_public_sentence(
    unreadable: Rehearsal, name: str
) -> None:
    number = list(UNREADABLE).index(name) + 1
    names = {f"node-{FIRST_NODE_ID + number}", f"clinic-{number + 1}"}  # without a name, its number

    (left,) = [one for one in unreadable.report.left_out if one.site in names]

    assert UNREADABLE[name][1] in left.reason
    assert (left.phase, left.declined) == ("offer", False)
    assert str(unreadable.sites) not in left.reason


def test_site_whose_data_cannot_be_read_says_its_name(unreadable: Rehearsal) -> None:
    reasons = [one.reason for one in unreadable.report.left_out]

    assert any(reason.startswith("Site 'clinic-2': The table of modality 'clinical'") for reason in reasons)


def test_run_goes_on_with_the_site_that_can_be_read(unreadable: Rehearsal) -> None:
    assert unreadable.error is None
    assert [one.site for one in unreadable.report.sites] == ["clinic-1"]
    assert unreadable.report.status == "complete-with-absences"


def test_the_details_stay_in_the_log_of_the_site(unreadable: Rehearsal) -> None:
    number = list(UNREADABLE).index("unknown patient") + 1

    log = unreadable.local_log(number)

    assert "nobody" in log
    assert str(unreadable.sites) in log


# ---- what does not fit the others ----------------------------------------------------------------


def test_site_that_lacks_a_feature_is_left_out_of_that_modality(misfitting: Rehearsal) -> None:
    (left,) = misfitting.left_out("clinic-1")

    assert left.reason.startswith(
        "Site 'clinic-1': modality 'clinical' has 2 features, this run expects 3; 1 are missing, the "
        "first is 'feature-1'. Rebuild"
    )
    assert (left.phase, left.modality) == ("agree", "clinical")


def test_site_with_a_surplus_feature_is_left_out_of_that_modality(misfitting: Rehearsal) -> None:
    (left,) = misfitting.left_out("clinic-2")

    assert left.reason.startswith(
        "Site 'clinic-2': modality 'clinical' has 4 features, this run expects 3; 1 are too many, the "
        "first is 'surplus'."
    )


def test_order_of_columns_does_not_matter(misfitting: Rehearsal) -> None:
    assert not misfitting.left_out("clinic-3")
    assert {one.asked for one in misfitting.report.rounds if one.modality == "clinical"} == {
        ("clinic-3", "clinic-4", "clinic-5")
    }


def test_site_with_one_unfit_modality_takes_part_with_the_other(misfitting: Rehearsal) -> None:
    (left,) = misfitting.left_out("teaching")

    assert (left.phase, left.modality) == ("agree", "blood")
    assert {score.modalities for score in misfitting.scores() if "teaching" in score.sites} == {("clinical",)}


@pytest.fixture(scope="module")
def misfitting(run: Run) -> Rehearsal:
    hospitals = patients_of(
        group("clinic", "clinical", hospitals=5),
        group("lab", "blood", split=(0.5, 0.1, 0.4)),
        group("teaching", "clinical", "blood", split=(0.3, 0.2, 0.5)),
        patients=240,
    )
    columns = ["patient_id", "feature-2", "feature-0", "feature-1"]
    damages = {
        0: in_table(lambda frame: frame.drop(columns="feature-1")),
        1: in_table(lambda frame: frame.assign(surplus="1")),
        2: in_table(lambda frame: frame[columns]),
        6: in_table(lambda frame: frame.drop(columns="feature-0"), table="blood"),
    }
    return run(tiny_plan(f"[rounds]\nrounds = 1\n{hospitals}"), prepare=damaged(damages))


def test_site_that_only_evaluates_has_a_say_in_what_most_sites_have(run: Run) -> None:
    surplus = in_table(lambda frame: frame.assign(surplus="1"))

    ended = run(tiny_plan("[rounds]\nrounds = 1"), prepare=damaged({0: surplus}))

    assert [left.site for left in ended.report.left_out] == ["clinic-1"]


def test_unfit_modality_is_left_out_of_fuse_rounds_too(run: Run) -> None:
    teaching = group("teaching", "clinical", "blood", "scan", hospitals=3, split=(0.4, 0.1, 0.5))
    plan = tiny_plan(f"""
        [rounds]
        rounds = 1
        paired-sites-train-blocks = true
        [fuse]
        rounds = 1
        [modalities.scan.encoder]
        kind = "tabular"
        token-dim = 4
        [simulation.data.modalities.scan]
        layout = "table"
        features = 2
        {patients_of(teaching, patients=90)}
    """)
    unfit = in_table(lambda frame: frame.drop(columns="feature-0"), table="scan")

    ended = run(plan, prepare=damaged({0: unfit}))

    assert ended.error is None
    assert [left.modality for left in ended.report.left_out] == ["scan"]
    (fused,) = [one for one in ended.report.rounds if one.phase == "fuse"]
    assert fused.answered == ("teaching-1", "teaching-2", "teaching-3")


def test_common_features_are_those_that_all_sites_have(run: Run) -> None:
    plan = clinics_only('[modalities.clinical]\nfeatures = "common"\n[rounds]\nrounds = 1', hospitals=3)
    damages = {
        0: in_table(lambda frame: frame.drop(columns="feature-1")),
        1: in_table(lambda frame: frame.assign(surplus="1")),
    }

    ended = run(plan, prepare=damaged(damages))

    assert ended.bundle.agreement.schemas["clinical"].features == ("feature-0", "feature-2")
    assert not ended.report.left_out


def test_sites_without_a_common_feature_are_told(run: Run) -> None:
    plan = clinics_only('[modalities.clinical]\nfeatures = "common"', hospitals=2, patients=60)
    renamed = in_table(lambda frame: frame.rename(columns={f"feature-{i}": f"other-{i}" for i in range(3)}))

    ended = run(plan, prepare=damaged({0: renamed}))

    assert isinstance(ended.error, RunError)
    assert "The 2 sites of modality 'clinical' have no feature in common" in ended.error.public


# ---- few patients, and outcomes of one kind --------------------------------------------------------


def of_class(index: str) -> Damage:
    return in_table(lambda frame: frame.assign(**{"class": index}), table="patients")


def of_part(part: str) -> Damage:
    return in_table(lambda frame: frame.assign(part=part), table="patients")


def two_patients(site: Path) -> None:
    in_table(lambda frame: frame.head(2).assign(part=["train", "validation"]), table="patients")(site)
    kept = set(pd.read_csv(site / "patients.csv")["patient_id"])
    in_table(lambda frame: frame[frame["patient_id"].isin(kept)])(site)


@pytest.fixture(scope="module")
def one_sided(run: Run) -> Rehearsal:
    damages = {0: of_class("0"), 1: of_class("1"), 2: of_part("test"), 3: of_part("train"), 4: two_patients}
    return run(clinics_only("[rounds]\nrounds = 1", hospitals=6, patients=240), prepare=damaged(damages))


def test_site_that_lacks_a_class_takes_part(one_sided: Rehearsal) -> None:
    assert one_sided.error is None
    assert {left.site for left in one_sided.report.left_out} == {"clinic-5"}
    assert {"clinic-1", "clinic-2"} <= set(one_sided.report.rounds[0].answered)


def test_site_that_lacks_a_class_adds_no_pairs(one_sided: Rehearsal) -> None:
    assert all("clinic-1" in score.sites for score in one_sided.scores())
    assert all(0 < score.pairs < score.count**2 for score in one_sided.scores())


def test_site_of_test_patients_only_evaluates_and_does_not_train(one_sided: Rehearsal) -> None:
    assert "clinic-3" not in one_sided.report.rounds[0].asked
    assert any("clinic-3" in score.sites for score in one_sided.scores())


def test_site_of_training_patients_only_trains_and_has_nothing_to_score(one_sided: Rehearsal) -> None:
    assert "clinic-4" in one_sided.report.rounds[0].answered
    assert not any("clinic-4" in score.sites for score in one_sided.scores())


def test_site_of_one_training_patient_sends_no_sums_which_would_be_this_patient(one_sided: Rehearsal) -> None:
    (left,) = one_sided.left_out("clinic-5")

    assert "has too few training patients with modality 'clinical', and sums over fewer than 2" in left.reason
    assert "clinic-5" not in one_sided.report.rounds[0].asked


def test_class_that_no_site_has_ends_the_run_with_its_name(run: Run) -> None:
    ended = run(clinics_only(hospitals=2, patients=60), prepare=damaged({0: of_class("0"), 1: of_class("0")}))

    assert isinstance(ended.error, PlanError)
    assert "No training patient of any site has class '1'" in ended.report.reason


def without_events(site: Path) -> None:
    in_table(lambda frame: frame.assign(event="0"), table="patients")(site)


def test_site_without_events_takes_part(run: Run) -> None:
    ended = run(with_survival(clinics_only(hospitals=2, patients=80)), prepare=damaged({0: without_events}))

    assert ended.error is None
    assert not ended.report.left_out
    assert ended.report.rounds[0].answered == ("clinic-1", "clinic-2")


def test_group_without_events_is_told(run: Run) -> None:
    plan = with_survival(clinics_only(hospitals=2, patients=60))

    ended = run(plan, prepare=damaged({0: without_events, 1: without_events}))

    assert isinstance(ended.error, PlanError)
    assert "The group saw 0 events, and 2 time bins need at least 2" in ended.report.reason


def test_constant_and_empty_columns_do_no_harm(run: Run) -> None:
    def dull(site: Path) -> None:
        in_table(lambda frame: frame.assign(**{"feature-0": "7", "feature-1": None}))(site)

    ended = run(clinics_only("[rounds]\nrounds = 1", hospitals=1, patients=60), prepare=damaged({0: dull}))

    block = ended.merged.blocks["clinical"]
    assert block.feature_mean[:2].tolist() == [7.0, 0.0]
    assert block.feature_stddev[:2].tolist() == [1.0, 1.0]
