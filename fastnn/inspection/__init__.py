"""Looking inside a network: what its decisions are due to, and what its neurons do."""

from .attributions import attribute, jacobian
from .counterfactuals import Counterfactual, counterfactual
from .neurons import Neuron, importance, lesion, neuron, terms
from .tables import PartialDependence, Shapley, partial_dependence, shapley

__all__ = [
    "Counterfactual",
    "Neuron",
    "PartialDependence",
    "Shapley",
    "attribute",
    "counterfactual",
    "importance",
    "jacobian",
    "lesion",
    "neuron",
    "partial_dependence",
    "shapley",
    "terms",
]
