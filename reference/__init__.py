"""The mathematics: the document's formulas, evaluated in any numbers. Imports NumPy (and python-flint for exact values)."""

from reference.backprop import backprop, update
from reference.network import Gradients, Network, Problem, Trace

__all__ = ["Gradients", "Network", "Problem", "Trace", "backprop", "update"]
