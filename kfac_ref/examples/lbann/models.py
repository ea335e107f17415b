"""The networks of LBANN's MNIST example.

    mlp   h w - 1000 - 1000 - 10, ReLU between
    cnn   convolution with 20 channels - ReLU - max-pooling 2 - convolution with 50 -
          ReLU - max-pooling 2 - 500 - ReLU - 10

No layer has a bias. Dense layers begin with LeCun's normal weights (variance 1/fan_in),
convolutions, which are not padded, with He's (2/fan_in). Softmax and cross entropy.

The kernels are 5 x 5 for images of 28 x 28, as LBANN's (28-24-12-8-4 pixels a side). On
the digits, 8 x 8, they are 3 x 3 and 2 x 2 (8-6-3-2-1 pixels), so that the poolings
leave no pixel over.
"""

from __future__ import annotations

from functools import partial

from kfac_ref.distributions import Categorical
from kfac_ref.errors import ShapeError, choose
from kfac_ref.examples.images import CLASSES
from kfac_ref.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from kfac_ref.layers.initializers import he, lecun
from kfac_ref.network import Network

KERNELS = {(28, 28): (5, 5), (8, 8): (3, 2)}  # of the cnn's two convolutions
dense = partial(Dense, bias=False, initializer=lecun)
convolution = partial(Conv2d, padding="VALID", bias=False, initializer=he)


def mlp(height: int, width: int) -> Network:
    """1,794,000 parameters for MNIST, 1,074,000 for the digits."""
    hidden = [dense(height * width, 1000), ReLU(), dense(1000, 1000), ReLU()]
    return Network([Flatten(), *hidden, dense(1000, CLASSES)], Categorical())


def cnn(height: int, width: int) -> Network:
    """430,500 parameters for MNIST, 34,180 for the digits. ShapeError for others."""
    if (height, width) not in KERNELS:
        raise ShapeError(
            "cnn: expected images of 28 x 28 or of 8 x 8 pixels, found "
            f"{height} x {width}; the mlp takes images of any size"
        )
    first, second = KERNELS[height, width]
    left = ((height - first + 1) // 2 - second + 1) // 2  # pixels a side
    return Network(
        [
            *(convolution(1, 20, first), ReLU(), MaxPool2d(2)),
            *(convolution(20, 50, second), ReLU(), MaxPool2d(2)),
            *(Flatten(), dense(50 * left**2, 500), ReLU(), dense(500, CLASSES)),
        ],
        Categorical(),
    )


MODELS = {"mlp": mlp, "cnn": cnn}


def make_network(model: str, size: tuple[int, int]) -> Network:
    """Make one of MODELS for images of this size. Raises UnknownName, ShapeError."""
    return MODELS[choose("model", model, MODELS)](*size)
