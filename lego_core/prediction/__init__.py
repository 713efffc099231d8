"""The result at work: a site's own patients, with whatever was measured in them, and what a bundle says."""

from lego_core.prediction._choice import Choice, choose_model
from lego_core.prediction._found import open_patients
from lego_core.prediction._patients import Problem, SitePatients
from lego_core.prediction._predict import Predictions, predict, predict_in_batches
from lego_core.prediction._units import UnitWatch
from lego_core.prediction._writer import write_in_batches, write_problems

__all__ = [
    "Choice",
    "Predictions",
    "Problem",
    "SitePatients",
    "UnitWatch",
    "choose_model",
    "open_patients",
    "predict",
    "predict_in_batches",
    "write_in_batches",
    "write_problems",
]
