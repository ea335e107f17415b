"""The options of K-FAC: the defaults are those of Martens & Grosse 2015, but for tau.

Each option changes the stage under whose comment it stands. Letters are the paper's.
What happens every T steps happens in step k if T divides k; in the first one k is
`first_step`: 1 in the paper, 0 in the libraries. T = 0 means never. `lambda_rule` has
its own period, counted in steps done.

The paper's lambda_ = 150 is meant for its autoencoders: on a small problem it makes a
slow SGD for hundreds of steps; start at 0.1 or below. With numbers that stay, as in
most libraries, switch off what would move them: `KFAC(net, learning_rate=0.1,
momentum=0.9, lambda_=0.03, lambda_rule=None, gamma_every=0)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kfac_ref.damping import factored_tikhonov
from kfac_ref.errors import Unsupported, ValueRangeError, choose
from kfac_ref.levenberg_marquardt import OMEGA_2, LevenbergMarquardt
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer.averages import MovingAverage
from kfac_ref.optimizer.stages import CLIPS
from kfac_ref.optimizer.statistics import Estimates, Structures, choices
from kfac_ref.products import MATRICES
from kfac_ref.schedules import require
from kfac_ref.values import Value

MOMENTA = ("update", "gradient")
SIZES = ("lambda_", "l2", "weight_decay")
SHARES = ("tau_1", "tau_2", "position_share")


@dataclass(frozen=True, eq=False)
class Options(Value):
    """The options of K-FAC."""

    network: Network
    # statistics: questions 1 and 2
    structure: Structures = "kronecker"  # one, or one for each layer
    estimate: Estimates = "sampled"  # the same
    samples: int = 1  # for each example, where an estimate draws
    statistics_every: int = 1
    tau_1: float = 1.0  # share of the batch that they are taken from; paper: 1/8
    position_share: float = 1.0  # of shared positions; TensorFlow's sub_sample_patches
    average: MovingAverage = field(default_factory=MovingAverage)
    # proposal: question 3
    damping_rule: Callable[[Any, float], SymmetricMatrix] = factored_tikhonov
    inverse_every: int = 20  # T_3
    inverse_early: int = 3  # and in so many steps at the beginning
    gamma_every: int = 20  # T_2: three candidates; 0: gamma^2 = lambda + eta
    gamma_factor: float = OMEGA_2
    # norm constraint
    norm_constraint: float | None = None
    clip: str = "fisher"
    # coefficients; None: from the quadratic model
    learning_rate: float | None = None  # alpha
    momentum: float | None = None  # mu
    momentum_of: str = "update"
    matrix: str = "fisher"  # of the model: exact, or "approximation", the average
    tau_2: float = 1.0  # share of the batch for exact products; paper: 1/4
    # lambda
    lambda_: float = 150.0
    lambda_rule: LevenbergMarquardt | None = field(  # None: lambda stays
        default_factory=LevenbergMarquardt
    )
    damping_in_ratio: bool = True  # does the predicted change contain lambda?
    # and besides
    l2: float = 1e-5  # eta, in the loss and in the curvature
    weight_decay: float = 0.0  # decoupled: theta shrinks by this, times learning_rate
    reject: bool = False  # stay where the step would raise the loss of its batch
    iterates: MovingAverage = field(default_factory=lambda: MovingAverage("latest"))
    first_step: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "momentum", "norm_constraint"):
            value = getattr(self, name)
            require(not callable(value), name, "None or a number, no schedule", value)
        super().__post_init__()
        choose("momentum_of", self.momentum_of, MOMENTA)
        choose("clip", self.clip, CLIPS)
        choose("matrix", self.matrix, (*MATRICES, "approximation"))
        self._check_statistics()
        for name in SIZES:
            value = getattr(self, name)
            require(0 <= value < math.inf, name, "a finite number >= 0", value)
        for name in SHARES:
            value = getattr(self, name)
            require(0 < value <= 1, name, "a share in (0, 1]", value)
        factor = self.gamma_factor
        require(0 < factor < 1, "gamma_factor", "a number in (0, 1)", factor)
        self._check_fixed()
        self._check_together()

    def _check_fixed(self) -> None:
        """Numbers that may be None."""
        for name, fits, expected in (
            ("learning_rate", lambda n: 0 <= n < math.inf, "a finite number >= 0"),
            ("momentum", lambda n: 0 <= n < 1, "a number in [0, 1)"),
            ("norm_constraint", lambda n: 0 < n < math.inf, "a finite number > 0"),
        ):
            value = getattr(self, name)
            require(value is None or fits(value), name, f"None or {expected}", value)

    def _check_together(self) -> None:
        """Options that need or exclude one another."""
        fixed = self.learning_rate is not None and self.momentum is not None
        if self.momentum_of == "gradient" and not fixed:
            raise ValueRangeError(
                "momentum_of 'gradient': expected a fixed learning_rate and momentum; "
                "the quadratic model solves for those of 'update'"
            )
        if self.norm_constraint is not None and self.learning_rate is None:
            raise ValueRangeError(
                "norm_constraint: expected a fixed learning_rate with it; the "
                "quadratic model chooses the length of the step by itself"
            )
        if self.gamma_every and self.lambda_ + self.l2 == 0:
            raise ValueRangeError(
                "gamma_every: the search for gamma starts at sqrt(lambda_ + l2), which "
                "is 0; expected gamma_every=0 with it"
            )

    def _check_statistics(self) -> None:
        averaged = self.average.variant != "latest"
        if averaged and "eigenvalue_corrected" in self.structures:
            raise Unsupported(
                "structure 'eigenvalue_corrected': its basis turns from step to step, "
                "so its numbers have no mean; expected average=MovingAverage('latest')"
            )
        if (self.structure, self.matrix) == ("block_tridiagonal", "approximation"):
            raise Unsupported(
                "matrix 'approximation': block_tridiagonal cannot be multiplied before "
                "it is damped; use 'fisher'"
            )

    @property
    def structures(self) -> list[str]:
        """The structure of each layer."""
        return choices(self.network, self.structure, self.estimate, self.samples)[0]

    @property
    def rate(self) -> float:
        """What a fixed norm or decay is counted in; 1 where the model chooses alpha."""
        return 1.0 if self.learning_rate is None else self.learning_rate

    def gamma_of(self, lambda_: float) -> float:
        """gamma = sqrt(lambda + eta), where no search has changed it. Section 6.6."""
        return math.sqrt(lambda_ + self.l2)

    def due(self, step: int, every: int) -> bool:
        """Does `every` divide k, the number of the step after `step` others?"""
        return every > 0 and (step + self.first_step) % every == 0

    def adapts(self, step: int) -> bool:
        """Is lambda up for a change after this step?"""
        return self.lambda_rule is not None and self.lambda_rule.due(step)
