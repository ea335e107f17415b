"""Twenty steps of every optimizer and of K-FAC with every structure, six per option.

Rounding errors grow from step to step, and would jump at a close decision (which gamma,
whether lambda rises, which label is drawn). So the steps are well damped. On the chain
mu is fixed, because the system for alpha and mu is nearly singular if a direction is
close to the last one; on the other nets both are solved for. A stand-in that rounds in
its own way shows how much rounding alone changes (tests/test_gpu.py): less than a tenth
of the bound in float64, less than half of it in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kfac_ref.damping import factored_tikhonov, tikhonov
from kfac_ref.exact.products import PRODUCTS
from kfac_ref.gpu.comparing import Case, Results
from kfac_ref.gpu.nets import NETS, Place, generator, problem
from kfac_ref.network import Network
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    HessianFree,
    MovingAverage,
    NaturalGradient,
)
from kfac_ref.optimizer.averages import AVERAGES
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.option_groups import MOMENTA
from kfac_ref.optimizer.stages import CLIPS
from kfac_ref.structures import STRUCTURES

STEPS, FEW = 20, 6  # of every optimizer and structure; with other options
FACTORED = ("kronecker", "best_kronecker", "block_tridiagonal")  # damped by factors
FIXED = {"learning_rate": 0.3, "momentum": 0.5}

Make = Callable[[Network], Any]
OPTIMIZERS: dict[str, Make] = {
    "SGD": partial(SGD, learning_rate=0.1, momentum=0.5, nesterov=True),
    "Adam": partial(Adam, learning_rate=0.02),
    "NaturalGradient": partial(NaturalGradient, learning_rate=0.5, damping=1.0),
    "HessianFree": partial(
        HessianFree,
        learning_rate=0.5,
        adapt_damping=LevenbergMarquardt(period=2),
        iterations=5,
    ),
}


def step_cases() -> Iterator[Case]:
    """Every optimizer on the chain, K-FAC on every net, and K-FAC's options."""
    for name, make in OPTIMIZERS.items():
        yield _case(f"{STEPS} steps, {name}", "chain", "chain", make)
    for structure in STRUCTURES:
        make = partial(kfac, **with_structure(structure), momentum=0.3)
        yield _case(f"{STEPS} steps, KFAC", f"chain, {structure}", "chain", make)
    for net in list(NETS)[1:]:
        yield _case(f"{STEPS} steps, KFAC", net, net, kfac)
    for net, options in variants():
        words = ", ".join(f"{name}={_show(value)}" for name, value in options.items())
        held = {"momentum": 0.3} if net == "chain" else {}
        make = partial(kfac, **(held | options))
        group = f"{FEW} steps, KFAC's options"
        yield _case(group, f"{net}, {words}", net, make, FEW)


def kfac(network: Network, **options: Any) -> KFAC:
    """K-FAC with every stage in use; lambda changes after every other step."""
    common: dict[str, Any] = {
        "damping": 1.0,
        "l2": 0.01,
        "inverse_every": 3,
        "gamma_every": 4,
        "adapt_damping": LevenbergMarquardt(period=2),
    }
    return KFAC(network, **(common | options))


def with_structure(structure: str) -> dict[str, Any]:
    """The options that go with a structure: its damping rule and its average."""
    rule = factored_tikhonov if structure in FACTORED else tikhonov
    latest = structure == "eigenvalue_corrected"
    average = MovingAverage("latest" if latest else "paper")
    return {"structure": structure, "damping_rule": rule, "average": average}


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a net, and options of K-FAC that lead to other code."""
    for variant in AVERAGES:
        yield "words", {"average": MovingAverage(variant, 0.8)}
    for matrix in (*PRODUCTS, "approximation"):
        yield "chain", {"matrix": matrix}
    for momentum in MOMENTA:
        yield "chain", {"momentum_of": momentum, **FIXED}
    for clip in CLIPS:
        yield "chain", {"norm_constraint": 1e-4, "clip": clip, **FIXED}
    yield "chain", {"tau_1": 0.5, "tau_2": 0.4, "samples": 3}
    yield "chain", {"weight_decay": 0.1, "iterates": MovingAverage("plain")}
    yield "chain", {"reject": True, "damping_in_ratio": False}
    yield "images", {"position_share": 0.5}
    yield (
        "chain",
        {
            "structure": ["kronecker", "diagonal", "block_diagonal", "best_kronecker"],
            "estimate": ["sampled", "empirical", "expectation", "random_signs"],
            "damping_rule": tikhonov,
        },
    )


def _show(value: Any) -> str:
    """An option's value, in a few words."""
    return str(getattr(value, "variant", getattr(value, "__name__", value)))


def _case(group: str, name: str, net: str, make: Make, steps: int = STEPS) -> Case:
    return Case(group, name, partial(_steps, net, make, steps))


def _steps(net: str, make: Make, steps: int, place: Place) -> Results:
    p = problem(net, place)
    optimizer, rng = make(p.network), generator()
    state, losses, lambdas = optimizer.init(p.params), [], []
    for _ in range(steps):
        state, trace = optimizer.step(state, p.x, p.y, rng)
        losses.append(trace.loss)
        lambdas.append(float(getattr(state, "damping", 0.0)))
    moved = state.theta - p.network.flatten(p.params)
    return {"theta moved by": moved, "losses": losses, "lambda": lambdas}
