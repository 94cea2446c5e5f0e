"""Looking inside a network: what its decisions are due to, and what its neurons do."""

from .attributions import attribute, jacobian

__all__ = ["attribute", "jacobian"]
