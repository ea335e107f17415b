"""The layers: each has forward, jvp and vjp; one with parameters has a pair (a, g)."""

from kfac_ref.layers.activations import Identity, ReLU, Sigmoid, Softplus, Tanh
from kfac_ref.layers.base import Layer
from kfac_ref.layers.containers import Residual, Sequential
from kfac_ref.layers.convolution import Conv2d
from kfac_ref.layers.dense import Dense
from kfac_ref.layers.embedding import Embedding
from kfac_ref.layers.initializers import glorot, he, lecun, sparse
from kfac_ref.layers.pooling import AvgPool2d, MaxPool2d
from kfac_ref.layers.reshape import Flatten
from kfac_ref.layers.scale_shift import ScaleShift
from kfac_ref.layers.standardize import BatchStandardize, LayerStandardize

__all__ = [
    "AvgPool2d",
    "BatchStandardize",
    "Conv2d",
    "Dense",
    "Embedding",
    "Flatten",
    "Identity",
    "Layer",
    "LayerStandardize",
    "MaxPool2d",
    "ReLU",
    "Residual",
    "ScaleShift",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "glorot",
    "he",
    "lecun",
    "sparse",
]
