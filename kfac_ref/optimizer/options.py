"""The options of K-FAC: the defaults are those of Martens & Grosse 2015, but for tau.

Each option changes the stage under whose comment it stands. Letters are the paper's.
What happens every T steps happens in step k if T divides k; in the first one k is
`first_step`: 1 in the paper, 0 in the libraries. T = 0 means never. `lambda_rule` has
its own period, counted in steps done.

The paper's lambda_ = 150 is meant for its autoencoders: on a small problem it makes a
slow SGD for hundreds of steps; start at 0.1 or below. With numbers that stay, as in
most libraries, switch off what would move them: `KFAC(net, learning_rate=0.1,
momentum=0.9, lambda_=0.03, lambda_rule=None, gamma_every=0)`.

Words are those of structures.py, estimates.py, damping/ and averages.py, or other
libraries' for the same (words.py). By default each layer's block is damped by its kind:
Kronecker products by the paper's rule, all others exactly (`by_kind`). A rule that is
named is applied to every block, and refused where it has no meaning.

What is passed is used, or refused before the first step, with one exception: options
of a stage that others have switched off may stay, so that one may vary one option at a
time. These are `gamma_factor` where gamma_every is 0, `clip` where norm_constraint is
None, `tau_2` and `matrix` where no quadratic model is made (both coefficients fixed, no
lambda_rule, no gamma_every), and `position_share` where no positions are shared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from kfac_ref.damping import (
    by_kind,
    factored_tikhonov,
    make_rule,
    same_on_each_factor,
    tikhonov,
)
from kfac_ref.errors import (
    Unsupported,
    ValueRangeError,
    choose,
    require,
)
from kfac_ref.exact.products import PRODUCTS
from kfac_ref.network import Network, check_network
from kfac_ref.optimizer.arguments import check_lambda_rule
from kfac_ref.optimizer.averages import MovingAverage, make_average
from kfac_ref.optimizer.levenberg_marquardt import OMEGA_2, LevenbergMarquardt
from kfac_ref.optimizer.stages import CLIPS
from kfac_ref.optimizer.statistics import Estimates, Structures, choices
from kfac_ref.values import Value
from kfac_ref.words import translate

Average = Any  # a MovingAverage, or the name of one, which becomes it
Rule = Any  # a function of matrix and lambda, or the name of one, which becomes it
MOMENTA = ("update", "gradient")
FOR_FACTORS = (factored_tikhonov, same_on_each_factor)
WITH_FACTORS = ("kronecker", "best_kronecker", "block_tridiagonal")
SIZES = ("lambda_", "l2", "weight_decay")
SHARES = ("tau_1", "tau_2", "position_share")


@dataclass(frozen=True, eq=False)
class Options(Value):
    """The options of K-FAC."""

    may_change = (  # while it is resumed; see origin.py
        "statistics_every", "tau_1", "position_share", "inverse_every",
        "inverse_early", "gamma_every", "gamma_factor", "norm_constraint", "clip",
        "learning_rate", "momentum", "matrix", "tau_2", "lambda_rule",
        "damping_in_ratio", "weight_decay", "reject",
    )  # fmt: skip

    network: Network
    # statistics: questions 1 and 2
    structure: Structures = "kronecker"  # one, or one for each layer
    estimate: Estimates = "sampled"  # the same
    samples: int | None = None  # for each example, where an estimate draws; None: 1
    statistics_every: int = 1
    tau_1: float = 1.0  # share of the batch that they are taken from; paper: 1/8
    position_share: float = 1.0  # of shared positions; TensorFlow's sub_sample_patches
    average: Average = field(default_factory=MovingAverage)
    # proposal: question 3
    damping_rule: Rule = by_kind
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
    iterates: Average = field(default_factory=lambda: MovingAverage("latest"))
    first_step: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "momentum", "norm_constraint"):
            value = getattr(self, name)
            require(not callable(value), name, "None or a number, no schedule", value)
        check_network(self.network)
        super().__post_init__()
        choose("momentum_of", self.momentum_of, MOMENTA)
        self._translate()
        check_lambda_rule(self)
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

    def _translate(self) -> None:
        """Words, of other libraries too, become what they stand for."""
        for name, value in (
            ("clip", translate("clip", self.clip, CLIPS)),
            ("matrix", translate("matrix", self.matrix, (*PRODUCTS, "approximation"))),
            ("average", make_average("average", self.average)),
            ("iterates", make_average("iterates", self.iterates)),
            ("damping_rule", make_rule(self.damping_rule, "damping_rule")),
        ):
            object.__setattr__(self, name, value)

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
        self._check_rule()
        if self.gamma_every and self.lambda_ + self.l2 == 0:
            raise ValueRangeError(
                "gamma_every: the search for gamma starts at sqrt(lambda_ + l2), which "
                "is 0; expected gamma_every=0 with it"
            )

    def _check_rule(self) -> None:
        """A rule that is meant for blocks of another kind than there are."""
        wrong = [one for one in self.structures if one not in WITH_FACTORS]
        if self.damping_rule in FOR_FACTORS and wrong:
            raise Unsupported(
                f"damping_rule {self.damping_rule.__name__}: structure {wrong[0]!r} "
                "has no two factors; expected 'by_kind', which damps factors by "
                "factored_tikhonov and all other blocks exactly, or 'tikhonov'"
            )
        if self.damping_rule is tikhonov and self.structure == "block_tridiagonal":
            raise Unsupported(
                "damping_rule tikhonov: block_tridiagonal needs one that keeps a "
                "Kronecker product, such as 'factored_tikhonov'"
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
