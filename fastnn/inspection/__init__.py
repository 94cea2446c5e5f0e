"""Looking inside a network: what its decisions are due to, and what its neurons do."""

from .attributions import attribute, jacobian
from .neurons import Neuron, importance, lesion, neuron, terms

__all__ = ["Neuron", "attribute", "importance", "jacobian", "lesion", "neuron", "terms"]
