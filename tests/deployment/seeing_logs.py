"""Diaries of runs that never were, written with the chain that the coordinator writes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lego_core.chained_log import ChainedLog

Fields = Mapping[str, Any]
ROUNDS = 3
SITES = {"clinic-1": {"clinical": 40}, "clinic-2": {"clinical": 30}, "lab": {"laboratory": 50}}


def whole_run(*, epsilon: float | None = 8.0, status: str = "complete") -> list[tuple[str, Fields]]:
    """A run of three sites and two modalities, from its first line to its last."""
    return [*begun(epsilon=epsilon), *trained(), *ended(status=status)]


def begun(*, epsilon: float | None = 8.0) -> list[tuple[str, Fields]]:
    """Until the sites have agreed."""
    nodes = ["node-1", "node-2", "node-3"]
    offer = {"phase": "offer", "round": 0}
    return [
        (
            "run-started",
            {
                "plan": "liver", "task": "survival", "modalities": ["clinical", "laboratory"],
                "privacy": "patient-dp", "claim": "Patient-level privacy.", "epsilon": epsilon,
                "rounds": ROUNDS, "fuse_rounds": 0, "expected_sites": 3, "wait_seconds": 60.0,
                "round_seconds": 100.0,
            },
        ),
        ("phase-started", {"phase": "offer"}),
        ("asked", {**offer, "sites": nodes, "limit_seconds": 100.0}),
        ("waiting", {**offer, "for": nodes, "seconds": 5, "limit_seconds": 100.0}),
        ("heard", {**offer, "sites": nodes, "for": [], "seconds": 6.0}),
        *(("offer", {"site": site, "modalities": SITES[site], "paired_patients": 0}) for site in SITES),
        ("phase-started", {"phase": "agree"}),
        ("agreed", {"modality": "clinical", "features": 10, "sites": ["clinic-1", "clinic-2"]}),
        ("agreed", {"modality": "laboratory", "features": 7, "sites": ["lab"]}),
        ("phase-started", {"phase": "blocks"}),
    ]  # fmt: skip


def asked_of_round(number: int) -> list[tuple[str, Fields]]:
    """A round begins, and everybody is asked."""
    doing = {"phase": "blocks", "round": number}
    pairs = [["clinic-1", "clinical"], ["clinic-2", "clinical"], ["lab", "laboratory"]]
    return [
        ("round-started", {**doing, "rounds": ROUNDS, "asked": pairs}),
        ("asked", {**doing, "sites": sorted(SITES), "limit_seconds": 100.0}),
    ]


def one_round(number: int) -> list[tuple[str, Fields]]:
    """A round in which clinic-2 lets the others wait and declines in the end."""
    doing = {"phase": "blocks", "round": number}
    answers = [("clinic-1", "clinical"), ("lab", "laboratory")]
    return [
        *asked_of_round(number),
        ("heard", {**doing, "sites": ["clinic-1", "lab"], "for": ["clinic-2"], "seconds": 1.5}),
        ("waiting", {**doing, "for": ["clinic-2"], "seconds": 5, "limit_seconds": 100.0}),
        ("heard", {**doing, "sites": ["clinic-2"], "for": [], "seconds": 7.25}),
        *(
            (
                "answered",
                {
                    **doing, "site": site, "modality": modality, "train_loss": 1.0 / number,
                    "validation_loss": 1.2 / number, "seconds": 0.5,
                },
            )
            for site, modality in answers
        ),
        (
            "left-out",
            {
                **doing, "site": "clinic-2", "modality": "clinical", "declined": True,
                "reason": "Site 'clinic-2' takes no part on Tuesdays.", "budget_spent": False,
            },
        ),
        ("privacy-spent", {"site": "lab", "epsilon": number * 1.5, "delta": 1e-5, "ledger_head": "0" * 64}),
        *(
            (
                "round-finished",
                {
                    **doing, "modality": modality, "asked": asked, "answered": answered,
                    "validation_loss": 1.1 / number, "best_round": number - 1,
                    "validation_score": 0.5 + number / 10 if modality == "clinical" else None,
                },
            )
            for modality, asked, answered in (
                ("clinical", ["clinic-1", "clinic-2"], ["clinic-1"]),
                ("laboratory", ["lab"], ["lab"]),
            )
        ),
    ]  # fmt: skip


def trained() -> list[tuple[str, Fields]]:
    """All rounds."""
    ends = [
        ("block-finished", {"phase": "blocks", "modality": name, "rounds": ROUNDS, "kept_round": 2})
        for name in ("clinical", "laboratory")
    ]
    return [*(event for number in range(1, ROUNDS + 1) for event in one_round(number)), *ends]


def ended(*, status: str = "complete") -> list[tuple[str, Fields]]:
    """From the merge to the last line."""
    score = {"patients": "complete", "value": 0.71, "low": 0.6, "high": 0.8, "count": 40, "pairs": 300.0}
    scores = [
        {**score, "method": "block", "modalities": ["clinical"]},
        {**score, "method": "merge", "modalities": ["clinical", "laboratory"], "value": 0.75},
    ]
    sites = sorted(SITES)
    pairs = [[site, ""] for site in sites]
    told = {"metric": "C-index", "best_block": "clinical", "scores": scores, "withheld": 2}
    weights = {"clinical": 1.0, "laboratory": 1.0}
    return [
        ("phase-started", {"phase": "merge"}),
        ("merged", {"modalities": ["clinical", "laboratory"], "weights": weights}),
        ("phase-started", {"phase": "evaluate"}),
        ("round-started", {"phase": "evaluate", "round": 1, "rounds": 1, "asked": pairs}),
        ("evaluated", {"sites": sites, **told}),
        ("recommended", {"sentence": "Recommended: the merged model.", "afterwards": "It gains +0.04."}),
        ("finished", {"status": status, "reason": "A reason." if status == "failed" else "", "bundle": ""}),
    ]  # fmt: skip


def write_log(folder: Path, events: Iterable[tuple[str, Fields]]) -> Path:
    """Write events as the coordinator does; more may be written later."""
    path = folder / "run.jsonl"
    log = ChainedLog(path)
    for name, fields in events:
        log.append(name, fields)
    return path
