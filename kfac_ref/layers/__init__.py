"""The layers, each with forward, jvp, vjp and its pair (a, g)."""

from kfac_ref.layers.activations import Identity, ReLU, Sigmoid, Softplus, Tanh
from kfac_ref.layers.base import Layer
from kfac_ref.layers.containers import Residual, Sequential
from kfac_ref.layers.dense import Dense

__all__ = [
    "Dense",
    "Identity",
    "Layer",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Tanh",
]
