"""The card that lies beside a model: what it is, how good it is, what it must not be used for."""

import re
from collections.abc import Iterable, Mapping, Sequence

from lego_core.errors import BundleError
from lego_core.report import words
from lego_core.report._tables import block_rows, examined_rows, modalities_of, result_rows, site_rows
from lego_core.run_report import RunReport

INTENDED = (
    "To predict, in research, for patients like those the sites trained on, from any subset of the "
    "modalities: measured in the same units and at the same point of the disease as there.",
    "Beforehand, try it on patients of your own whose outcome is known, apart from those it trained on.",
    "Not for patients of another kind, and not to decide how anybody is treated.",
)
COMMANDS = (
    "fedlego verify BUNDLE --key KEY                           # whole, and signed by whom you trust",
    "fedlego predict BUNDLE --input DIR --output out.csv       # your patients; no outcome is needed",
    "fedlego export BUNDLE --onnx DIR                          # for other programs",
)
LIMITS = (
    "For research. It is not a medical device, and gives no advice for the care of any patient.",
    "Cohorts are small: read the intervals, not the values alone, and expect other numbers elsewhere.",
    "Scores are pooled over sites. The mean of the sites' metrics, weighted by comparable pairs, is not "
    "the metric of all patients together, since no site sees pairs across sites.",
    "Scores come from patients that each site kept apart, of the same hospitals that trained the model. "
    "No hospital outside the run has tried it.",
    "A model may carry the habits of the hospitals it learned from: who was measured, how, and who was "
    "followed.",
)


def render_card(report: RunReport, *, manifest: Mapping[str, object]) -> str:
    """Write the model card, in Markdown.

    Args:
        report: The run the model came from.
        manifest: The bundle's manifest; its `blocks` give the SHA-256 of every block.

    Raises:
        BundleError: If the manifest lists no hashes of blocks.
    """
    sections = (
        _opening(report),
        ["## Intended use", "", *_bullets(INTENDED)],
        _recommendation(report),
        ["## Results", "", _plain(words.headline(report)), "", *_results(report)],
        ["## " + words.privacy_title(report), "", _plain(report.privacy_claim), "", *_spent(report)],
        *([["## Self-examination", "", *_examined(report)]] if report.self_examination else []),
        ["## Data", "", *_data(report)],
        ["## Recipe", "", *_recipe(report)],
        ["## Limits", "", *_bullets(LIMITS)],
        ["## Blocks", "", *_hashes(manifest)],
        ["## Use", "", "```sh", *COMMANDS, "```", "",
         "```python", "from lego_core.bundle import ModelBundle", "",
         'model = ModelBundle.load("PATH").model', "```"],
    )  # fmt: skip
    return "\n\n".join("\n".join(lines).strip() for lines in sections) + "\n"


def _spent(report: RunReport) -> list[str]:
    spent = words.privacy_spent(report)
    return [_plain(spent)] if spent else []


def _opening(report: RunReport) -> list[str]:
    names = ", ".join(_plain(name) for name in modalities_of(report)) or "none"
    sites = ", ".join(_plain(site.site) for site in report.sites) or "none"
    return [
        f"# {_plain(report.plan)}",
        "",
        _plain(report.description),
        "",
        "A multimodal model, put together from one block per modality. The blocks were trained at hospitals "
        "that kept their records.",
        "",
        *_table(
            ("", ""),
            [
                ("Task", _plain(report.task)),
                ("Modalities", names),
                ("Sites", f"{len(report.sites)}: {sites}"),
                ("Status", words.status_words(report)),
                ("Started", _plain(report.started)),
                ("Took", f"{words.duration(report.seconds)}. {words.resumed(report)}".rstrip(". ")),
                ("Privacy", _plain(report.privacy_kind)),
            ],
        ),
    ]


def _recommendation(report: RunReport) -> list[str]:
    advice = report.recommendation
    said = (
        ["Chosen on validation patients.", *([advice.afterwards] if advice.afterwards else [])]
        if advice
        else []
    )
    missing = "nothing shows which model is best" if report.results else "there are no scores"
    sentence = advice.sentence if advice else f"Nothing is recommended, since {missing}."
    return ["## Recommendation", "", _plain(sentence), "", _plain(" ".join(said))]


def _results(report: RunReport) -> list[str]:
    if report.results is None:
        return ["There are no scores."]
    head = (
        "Model",
        report.results.metric,
        "95 % interval",
        "Gain over best block",
        "Patients",
        "Pairs",
        "Sites",
    )
    rows = [
        (
            f"**{_plain(row.name)}** (best block)" if row.is_best_block else _plain(row.name),
            *(row.value, row.interval, row.gain, row.patients, row.pairs, row.sites),
        )
        for row in result_rows(report)
    ]
    return [*_table(head, rows), "", words.POOLED_NOTE]


def _examined(report: RunReport) -> list[str]:
    rows = examined_rows(report)
    table = _table(
        ("Attack", "Model", "Value", "95 % interval", "Chance"),
        [(_plain(row.attack), _plain(row.model), row.value, row.interval, row.chance) for row in rows],
    )
    return [words.EXAMINED_NOTE, "", *table, "", *_bullets(_plain(row.sentence) for row in rows)]


def _data(report: RunReport) -> list[str]:
    names = modalities_of(report)
    counts = [(_plain(row.site), *map(_plain, row.patients), _plain(row.paired)) for row in site_rows(report)]
    lines = _table(("Site", *map(_plain, names), "More than one"), counts) if counts else ["No site joined."]
    lines += ["", "Training patients, rounded down to tens by the site itself."]
    if report.left_out:
        lines += ["", "Left out:", ""]
        lines += _bullets(
            _plain(f"{one.site} ({words.left_out_when(one)}): {words.as_sentence(one.reason)}")
            for one in report.left_out
        )
    return lines


def _recipe(report: RunReport) -> list[str]:
    rows = [
        (_plain(row.name), row.features, row.parameters, row.rounds, row.kept, row.share)
        for row in block_rows(report)
    ]
    lines = [f"Plan: {_plain(report.plan)}.", ""]
    lines += _table(("Block", "Features", "Parameters", "Rounds", "Kept round", "Share in the merge"), rows)
    if report.bin_edges_days:
        lines += ["", f"Time bins end at day {', '.join(f'{edge:.0f}' for edge in report.bin_edges_days)}."]
    if report.versions:
        made_with = ", ".join(
            f"{_plain(name)} {_plain(version)}" for name, version in report.versions.items()
        )
        lines += ["", f"Made with {made_with}."]
    return lines


def _hashes(manifest: Mapping[str, object]) -> list[str]:
    blocks = manifest.get("blocks")
    if not isinstance(blocks, Mapping):
        raise BundleError(
            f"The manifest has the keys {sorted(manifest)}, and a card needs key 'blocks' with one hash per "
            "block. Save the bundle again with this version."
        )
    return _table(("Block", "SHA-256"), [(_plain(f"{name}"), f"`{hash_}`") for name, hash_ in blocks.items()])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _bullets(texts: Iterable[str]) -> list[str]:
    return [f"- {text}" for text in texts]


def _plain(text: str) -> str:
    """A text on one line, with nothing in it that Markdown or HTML would act on."""
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", " ".join(text.split()))
