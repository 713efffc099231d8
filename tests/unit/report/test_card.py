import pytest
import sample_reports

from lego_core.errors import BundleError
from lego_core.report import headline, render_card
from lego_core.run_report import Examined, LeftOut, RunReport

HASHES = {"clinical": "a1" * 32, "laboratory": "b2" * 32, "imaging": "c3" * 32}


def test_the_card_lists_the_hash_of_every_block(survival_report: RunReport) -> None:
    card = render_card(survival_report, manifest={"blocks": HASHES})
    assert all(f"| {name} | `{digest}` |" in card for name, digest in HASHES.items())


def test_the_card_has_headline_privacy_limits_and_how_to_load(survival_report: RunReport) -> None:
    card = render_card(survival_report, manifest={"blocks": HASHES})
    assert headline(survival_report) in card
    assert survival_report.privacy_claim in card
    assert "not a medical device" in card
    assert 'ModelBundle.load("PATH").model' in card


def test_the_card_says_what_it_is_for_and_how_to_predict(survival_report: RunReport) -> None:
    card = render_card(survival_report, manifest={"blocks": HASHES})
    intended = card.split("## Intended use")[1].split("## ")[0]
    assert "in research" in intended
    assert "Not for patients of another kind" in intended
    used = card.split("## Use")[1]
    assert all(f"fedlego {command} BUNDLE" in used for command in ("verify", "predict", "export"))


def test_the_card_has_every_part_that_a_reader_needs(survival_report: RunReport) -> None:
    card = render_card(survival_report, manifest={"blocks": HASHES})
    parts = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert parts == [
        "Intended use", "Recommendation", "Results", "This run was not private", "Data", "Recipe", "Limits",
        "Blocks", "Use",
    ]  # fmt: skip
    assert "95 % interval" in card
    assert "Made with lego-core 0.1.0" in card


def test_scores_without_a_recommendation_are_not_called_missing(survival_report: RunReport) -> None:
    report = survival_report.model_copy(update={"recommendation": None})
    assert "since nothing shows which model is best" in render_card(report, manifest={"blocks": HASHES})


def test_the_card_recommends(survival_report: RunReport) -> None:
    advice = survival_report.recommendation
    assert advice is not None
    card = render_card(survival_report, manifest={"blocks": HASHES})
    recommended = card.split("## Recommendation")[1].split("## Results")[0]
    assert advice.sentence in recommended
    assert f"Chosen on validation patients. {advice.afterwards}" in recommended


def test_the_card_marks_the_best_block(survival_report: RunReport) -> None:
    card = render_card(survival_report, manifest={"blocks": HASHES})
    assert "| **block laboratory** (best block) | 0." in card


def test_the_card_tells_how_much_each_modality_counts(survival_report: RunReport) -> None:
    weights = {"clinical": 0.35, "laboratory": 0.1, "imaging": 0.05}
    report = survival_report.model_copy(update={"modality_weights": weights})
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in render_card(report, manifest={"blocks": HASHES}).splitlines()
    ]
    assert ["Block", "Features", "Parameters", "Rounds", "Kept round", "Share in the merge"] in rows
    shares = {row[0]: row[-1] for row in rows if len(row) == 6 and row[0] in (*weights, "fused")}
    assert shares == {"clinical": "70%", "laboratory": "20%", "imaging": "10%", "fused": ""}


def test_every_row_of_a_table_has_as_many_cells_as_its_head(survival_report: RunReport) -> None:
    card = render_card(survival_report, manifest={"blocks": HASHES})
    for table in (part for part in card.split("\n\n") if part.startswith("|")):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_what_sites_wrote_is_not_markup(survival_report: RunReport) -> None:
    absence = LeftOut(site="a|b", phase="blocks", round=1, reason="<img src=x>\n# [late](http://x)")
    card = render_card(
        survival_report.model_copy(update={"left_out": (absence,)}), manifest={"blocks": HASHES}
    )
    assert r"- a\|b (training of blocks, round 1): \<img src=x\> \# \[late\](http://x)." in card


def test_a_run_without_results_has_a_card(survival_report: RunReport) -> None:
    report = sample_reports.with_scores(survival_report, None).model_copy(update={"recommendation": None})
    assert "Nothing is recommended, since there are no scores." in render_card(
        report, manifest={"blocks": HASHES}
    )
    assert "There are no scores." in render_card(report, manifest={"blocks": HASHES})


def test_a_failed_run_has_a_card(failed_report: RunReport) -> None:
    assert "No site joined." in render_card(failed_report, manifest={"blocks": {}})


def test_a_manifest_without_hashes_is_refused(survival_report: RunReport) -> None:
    with pytest.raises(BundleError, match=r"keys \['format'\], and a card needs key 'blocks' with one hash"):
        render_card(survival_report, manifest={"format": 1})


def test_the_card_tells_of_a_self_examination_only_if_there_was_one(survival_report: RunReport) -> None:
    found = Examined(
        attack="loss threshold", measure="AUC", model="the merge", plan="no-privacy", value=0.612,
        low=0.58, high=0.644, chance=0.5, leaks=True, sentence="It tells members from strangers.",
    )  # fmt: skip
    examined = survival_report.model_copy(update={"self_examination": (found,)})

    card = render_card(examined, manifest={"blocks": HASHES})

    assert "Self-examination" not in render_card(survival_report, manifest={"blocks": HASHES})
    assert "| loss threshold, AUC | the merge | 0.612 | 0.580 to 0.644 | 0.50 |" in card
    assert "- It tells members from strangers." in card
