"""Looking inside a network: what its decisions are due to, and what its neurons do."""

from .attributions import attribute, jacobian
from .counterfactuals import Counterfactual, counterfactual
from .judgements import (
    Calibration,
    Confusion,
    Separated,
    calibration,
    confusion,
    separability,
    temper,
)
from .neurons import Neuron, importance, lesion, neuron, terms
from .tables import PartialDependence, Shapley, partial_dependence, shapley

__all__ = [
    "Calibration",
    "Confusion",
    "Counterfactual",
    "Neuron",
    "PartialDependence",
    "Separated",
    "Shapley",
    "attribute",
    "calibration",
    "confusion",
    "counterfactual",
    "importance",
    "jacobian",
    "lesion",
    "neuron",
    "partial_dependence",
    "separability",
    "shapley",
    "temper",
    "terms",
]
