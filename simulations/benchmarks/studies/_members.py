"""How well the patients who trained a model are told from others, in one trial."""

import numpy as np
from sklearn.metrics import roc_auc_score

from lego_core.records import Cohort
from simulations.benchmarks.models import Model
from simulations.benchmarks.privacy.membership import losses_of
from simulations.benchmarks.studies._lab import Lab


def members_told(model: Model, members: Cohort, *, lab: Lab) -> float | None:
    """Tell members from test patients by a threshold on the loss, all of them shown with every modality.

    Args:
        model: What is attacked.
        members: Who trained it.
        lab: The trial.

    Returns:
        The area under the ROC curve, .5 by chance; None if nobody on one side holds every modality.

    Source:
        Yeom, Giacomelli, Fredrikson, Jha. "Privacy Risk in Machine Learning: Analyzing the
        Connection to Overfitting." CSF 2018. arXiv:1709.01604.
    """
    ids = {record.patient_id for record in members.records}
    complete, strangers = (part.holding(*lab.modalities) for part in (lab.trial.train, lab.trial.test))
    inside = complete.keep(record for record in complete.records if record.patient_id in ids)
    if not len(inside) or not len(strangers):
        return None
    losses = [losses_of(model, cohort, task=lab.task) for cohort in (inside, strangers)]
    return float(roc_auc_score(np.repeat([1, 0], [len(each) for each in losses]), -np.concatenate(losses)))
