"""The settings of LBANN's MNIST example, and the optimizers made from them.

LBANN's K-FAC is the K-FAC of this package with these options:

    statistics      Kronecker factors of the empirical Fisher (the training labels)
    average         `first`: 0.99 of the old value, 0.01 of the new; starts at the new
    damping         `separate`: A + pi act I, G + err / pi I, pi = 1 unless use_pi
    refreshed       factors and inverses in step k = 0, 1, ... if compute_interval and
                    the update interval, which moves along a line, both divide k
    step            alpha fixed, mu 0 (sgd) or 0.9 (momentum); no quadratic model

A damping of two numbers moves from the first towards the second by LBANN's rule
(`ApproachTarget`), once in every step that compute_interval divides. Since 2023 LBANN
also shortens every update to lr ||P|| <= 0.0316 for each weight. Its example has no
option for that, and its published figures are older, so it is not done here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.checks import check_count
from kfac_ref.damping import by_eigendecomposition, separate
from kfac_ref.errors import Unsupported, ValueRangeError, choose, located
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.matrices.definite import check_damping
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, Adam, MovingAverage, State, Trace
from kfac_ref.optimizer.baselines import check_rate
from kfac_ref.optimizer.schedules import ApproachTarget, Constant, Schedule
from kfac_ref.optimizer.training import Optimizer
from kfac_ref.values import Value

MOMENTUM = {"sgd": 0.0, "momentum": 0.9}
OPTIMIZERS = ("adam", *MOMENTUM)
BETA_2 = 0.99  # of Adam in LBANN's example


@dataclass(frozen=True)
class KfacSettings(Value):
    """LBANN's K-FAC options and their defaults."""

    damping_act: tuple[float, ...] = (0.03,)  # or (initial, target)
    damping_err: tuple[float, ...] = (0.03,)
    damping_warmup_steps: int = 100
    use_pi: bool = False
    update_interval_init: int = 1
    update_interval_target: int = 1
    update_interval_steps: int = 1
    compute_interval: int = 1
    kronecker_decay: float = 0.99
    use_eigen: bool = False  # instead of Cholesky

    def __post_init__(self) -> None:
        for name in ("init", "target", "steps"):
            check_count(
                f"update_interval_{name}", getattr(self, f"update_interval_{name}")
            )
        check_count("compute_interval", self.compute_interval)
        check_count("damping_warmup_steps", self.damping_warmup_steps)
        super().__post_init__()
        with located("kronecker_decay"):
            self.average  # noqa: B018 - its errors now, not in the first step
        for name in ("damping_act", "damping_err"):
            with located(name):
                numbers = tuple(check_damping(number) for number in getattr(self, name))
            object.__setattr__(self, name, numbers)
        self.dampings  # noqa: B018 - the same

    @property
    def average(self) -> MovingAverage:
        """The moving average of the factors."""
        return MovingAverage("first", self.kronecker_decay)

    @property
    def dampings(self) -> tuple[Schedule, Schedule]:
        """Dampings of activations and errors, by the number of the computing step."""
        steps = self.damping_warmup_steps
        act, err = (
            _schedule(name, getattr(self, name), steps)
            for name in ("damping_act", "damping_err")
        )
        return act, err

    def refreshes(self, step: int) -> bool:
        """Whether factors and inverses are computed in this step, counted from 0."""
        step = check_count("step", step, least=0)
        first, last = self.update_interval_init, self.update_interval_target
        S = self.update_interval_steps
        interval = first + (last - first) * min(step, S) // S  # rounded down
        return step % self.compute_interval == 0 and step % interval == 0


@dataclass(frozen=True)
class Settings(Value):
    """The options of LBANN's example and their defaults; K-FAC if `kfac` is given."""

    model: str = "mlp"
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    num_epochs: int = 20
    mini_batch_size: int = 100
    kfac: KfacSettings | None = None
    data: str = "digits"  # or a folder with the files of MNIST
    seed: int = 0

    def __post_init__(self) -> None:
        choose("optimizer", self.optimizer, OPTIMIZERS)
        check_count("num_epochs", self.num_epochs)
        check_count("mini_batch_size", self.mini_batch_size)
        check_count("seed", self.seed, least=0)
        super().__post_init__()
        check_rate("learning_rate", self.learning_rate)
        if self.kfac and self.optimizer not in MOMENTUM:
            raise Unsupported(
                "kfac with optimizer 'adam': LBANN hands Adam the preconditioned "
                "gradient, which Adam scales again, entry by entry; here K-FAC makes "
                "its own step: expected optimizer 'sgd' or 'momentum'"
            )

    @property
    def name(self) -> str:
        """For file names: mlp_sgd_kfac."""
        return f"{self.model}_{self.optimizer}{'_kfac' if self.kfac else ''}"


def _schedule(name: str, numbers: tuple[float, ...], steps: int) -> Schedule:
    with located(name):
        if len(numbers) == 2:
            return ApproachTarget(*numbers, steps)
        if len(numbers) != 1:
            raise ValueRangeError(f"expected one or two numbers, found {numbers}")
        return Constant(numbers[0])


def make_optimizer(settings: Settings, network: Network) -> Optimizer:
    """Make Adam, SGD, or LBANN's K-FAC. Raises ValueRangeError."""
    rate = settings.learning_rate
    if settings.optimizer == "adam":
        return Adam(network, rate, beta_2=BETA_2)
    mu = MOMENTUM[settings.optimizer]
    plain = SGD(network, rate, momentum=mu)
    if settings.kfac is None:
        return plain
    kfac = KFAC(
        network,
        estimate="empirical",
        average=settings.kfac.average,
        inverse_early=0,
        gamma_every=0,
        learning_rate=rate,
        momentum=mu,
        damping=0.0,
        adapt_damping=None,
        l2=0.0,
        first_step=0,
    )
    return Scheduled(kfac, settings.kfac)


@dataclass(frozen=True, eq=False)
class Scheduled(Value):
    """K-FAC with damping and periods that depend on the step."""

    kfac: KFAC
    settings: KfacSettings

    @property
    def network(self) -> Network:
        return self.kfac.network

    def init(self, params: list[Array]) -> State:
        return self.kfac.init(params)

    def params(self, state: State) -> list[Array]:
        return self.kfac.params(state)

    def step(
        self, state: State, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[State, Trace]:
        return self.at(state.step).step(state, x, y, rng)

    def at(self, step: int) -> KFAC:
        """K-FAC as it is in this step; the damping moves before the first one, too."""
        now = self.settings
        act, err = (each(step // now.compute_interval) for each in now.dampings)
        rule = partial(
            _damped,
            activations=act,
            errors=err,
            pi="trace" if now.use_pi else "off",
            eigen=now.use_eigen,
        )
        due = int(now.refreshes(step))  # every step, or never
        return KFAC(
            self.kfac.network,
            self.kfac.options,
            damping_rule=rule,
            statistics_every=due,
            inverse_every=due,
        )


def _damped(
    matrix: Any, damping: float, eigen: bool, **numbers: Any
) -> SymmetricMatrix:
    """`separate` with its own numbers: `damping`, gamma^2, is zero here."""
    damped = separate(matrix, **numbers)
    return by_eigendecomposition(damped) if eigen else damped
