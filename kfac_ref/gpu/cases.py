"""What is compared: every structure with every estimate, every rule, exact products.

The names come from the package's tables (STRUCTURES, ESTIMATES, RULES, PRODUCTS), so
whatever is added there is compared, too. Pairs that mathematics forbids are also tried:
host and device must refuse them in the same words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

from kfac_ref.damping import RULES, factored_tikhonov
from kfac_ref.damping.pi import SIZES
from kfac_ref.estimates import ESTIMATES
from kfac_ref.exact.dense import empirical_fisher_matrix, fisher_matrix, ggn_matrix
from kfac_ref.exact.products import PRODUCTS, curvature_product
from kfac_ref.gpu.comparing import Case, Results
from kfac_ref.gpu.nets import NETS, Place, Problem, generator, problem
from kfac_ref.gpu.steps import step_cases
from kfac_ref.matrices import ChainFactors, SymmetricMatrix
from kfac_ref.quadratic_model import QuadraticModel, quadratic_model
from kfac_ref.structures import STRUCTURES, curvature

DAMPING = 1.0
NUMBERS = {"damping": DAMPING, "activations": 0.2, "errors": 0.5}  # of the rules
KINDS = ("kronecker", "block_diagonal", "diagonal")  # with blocks A (x) G, or others
CHAIN_DAMPING = 0.7  # of block_tridiagonal, which is a matrix only once damped
DENSE = {
    "fisher": lambda p, block: fisher_matrix(p.network, p.params, p.x, block),
    "ggn": lambda p, block: ggn_matrix(p.network, p.params, p.x, p.y, block),
    "empirical": lambda p, block: empirical_fisher_matrix(
        p.network, p.params, p.x, p.y, block
    ),
}


def all_cases() -> list[Case]:
    """All cases, group by group."""
    return [case for group in GROUPS for case in group()]


def network_cases() -> Iterator[Case]:
    """Outputs, loss and gradient of every net."""
    for net in NETS:
        yield _case("loss and gradient", net, net, _network)


def structure_cases() -> Iterator[Case]:
    """Every structure of every net from every estimate."""
    for structure, net, estimate in product(STRUCTURES, NETS, ESTIMATES):
        compute = partial(_structure, structure, estimate)
        yield _case(f"structure {structure}", f"{net}, {estimate}", net, compute)


def rule_cases() -> Iterator[Case]:
    """Every rule on every structure, with all options for KINDS on the chain."""
    for rule, structure, net in product(RULES, STRUCTURES, ("chain", "images")):
        all_options = net == "chain" and structure in KINDS
        for options in rule_options(rule)[: None if all_options else 1]:
            words = ", ".join(
                f"{k}={getattr(v, '__name__', v)}" for k, v in options.items()
            )
            name = ", ".join(filter(None, [net, structure, words]))
            compute = partial(_rule, rule, structure, options)
            yield _case(f"rule {rule}", name, net, compute)


def exact_cases() -> Iterator[Case]:
    """The exact matrices, dense and as products: the whole, and every block."""
    for matrix, kind, net in product(PRODUCTS, EXACT, NETS):
        for block in [None, *range(len(NETS[net](generator())[0].shapes))]:
            name = net if block is None else f"{net}, block {block}"
            compute = partial(EXACT[kind], matrix, block)
            yield _case(f"{matrix}, {kind}", name, net, compute)


def model_cases() -> Iterator[Case]:
    """The quadratic model, from exact products and from every structure."""
    for matrix, net in product(PRODUCTS, NETS):
        compute = partial(_exact_model, matrix)
        yield _case("quadratic model", f"{net}, {matrix} products", net, compute)
    for structure in STRUCTURES:
        compute = partial(_approximate_model, structure)
        yield _case("quadratic model", f"chain, {structure}", "chain", compute)


GROUPS: tuple[Callable[[], Iterator[Case]], ...] = (
    network_cases, structure_cases, rule_cases, exact_cases, model_cases, step_cases,
)  # fmt: skip


def _case(
    group: str, name: str, net: str, compute: Callable[[Problem], Results]
) -> Case:
    """A case that starts from a net, made at its place."""
    return Case(group, name, partial(_at, net, compute))


def _at(net: str, compute: Callable[[Problem], Results], place: Place) -> Results:
    return compute(problem(net, place))


def rule_options(rule: str) -> list[dict[str, Any]]:
    """The options with which a rule is tried: none, then each of its own."""
    takes = inspect.signature(RULES[rule]).parameters
    options: list[dict[str, Any]] = [{}]
    if "pi" in takes:
        options += [{"pi": pi} for pi in [*SIZES, "off", 1.7]]
    if "exact_scalars" in takes:
        options.append({"exact_scalars": True})
    if {"scale", "shift"} <= set(takes):
        options.append({"scale": 0.4, "shift": 0.6})
    if {"kronecker", "other"} <= set(takes):
        options.append({"kronecker": RULES["tikhonov"], "other": RULES["tikhonov"]})
    return options


def make(structure: str, p: Problem, estimate: str = "expectation") -> SymmetricMatrix:
    """The structure for the problem; labels and a generator are there if needed."""
    samples = 2 if ESTIMATES[estimate].is_random else 1
    return curvature(
        p.network, p.params, p.x, structure, estimate,
        y=p.y, rng=generator(), samples=samples,
    )  # fmt: skip


def make_damped_chain(
    structure: str, p: Problem, estimate: str = "expectation"
) -> SymmetricMatrix:
    """What `make` returns; for block_tridiagonal, the damped matrix."""
    M = make(structure, p, estimate)
    return factored_tikhonov(M, CHAIN_DAMPING) if isinstance(M, ChainFactors) else M


def _network(p: Problem) -> Results:
    loss, gradient = p.network.linearize(p.params, p.x).loss_and_gradient(p.y)
    z = p.network.predict(p.params, p.x)
    return {"z": z, "loss": loss, "gradient": gradient}


def _structure(structure: str, estimate: str, p: Problem) -> Results:
    M = make_damped_chain(structure, p, estimate)
    blocks = enumerate(getattr(M, "blocks", []))  # one by one: sizes differ
    return {
        "matrix": M.to_dense(),
        "M v": M @ p.v,
        "solve": M.solve(p.v, DAMPING),
        "inverse v": M.inverse(DAMPING) @ p.v,
        "inverse root v": M.power(-0.5, DAMPING) @ p.v,
        "trace": M.trace(),
        "logdet": _logdet(M, DAMPING),
        "norm": M.frobenius_norm(),
        "eigenvalues": M.eigenvalues(),
    } | {f"block {i}": block.to_dense() for i, block in blocks}


def _rule(rule: str, structure: str, options: dict[str, Any], p: Problem) -> Results:
    takes = inspect.signature(RULES[rule]).parameters
    numbers = {name: value for name, value in NUMBERS.items() if name in takes}
    damped = RULES[rule](make(structure, p), **numbers, **options)
    return {
        "matrix": damped.to_dense(),
        "solve": damped.solve(p.v),
        "inverse v": damped.inverse() @ p.v,
        "logdet": _logdet(damped, 0.0),
    }


def _logdet(M: SymmetricMatrix, damping: float) -> list[float]:
    """[logdet, P]: the P logarithms may cancel, so the error is relative to P, too."""
    return [M.logdet(damping), float(M.size)]


def _dense(matrix: str, block: int | None, p: Problem) -> Results:
    F = DENSE[matrix](p, block)
    return {"matrix": F.to_dense(), "norm": F.frobenius_norm()}


def _products(matrix: str, block: int | None, p: Problem) -> Results:
    C = curvature_product(matrix, p.network.linearize(p.params, p.x), p.y, block=block)
    V = p.normal(C.size, 2)
    return {
        "C v": C @ V[:, 0],
        "C V": C @ V,
        "form": C.form([V[:, 0], V[:, 1]]),
        "operator": C.operator() @ V,
    }


def _factors(matrix: str, block: int | None, p: Problem) -> Results:
    C = curvature_product(matrix, p.network.linearize(p.params, p.x), p.y, block=block)
    v, u = p.normal(C.size), p.normal(C.columns, 2)
    return {"B u": C.factor(u), "B^T v": C.factor_transpose(v)}


EXACT = {"dense": _dense, "products": _products, "factor B": _factors}


def _exact_model(matrix: str, p: Problem) -> Results:
    C = curvature_product(matrix, p.network.linearize(p.params, p.x), p.y)
    return _model(C, p)


def _approximate_model(structure: str, p: Problem) -> Results:
    return _model(make_damped_chain(structure, p), p)


def _model(C: Any, p: Problem) -> Results:
    """The model along two directions, with one L2 for all parameters, then one each."""
    gradient = p.network.flatten(p.network.gradient(p.params, p.x, p.y))
    directions, each = [p.v[:, 0], p.v[:, 1]], p.normal(p.network.size) ** 2
    found: Results = {}
    for name, l2 in (("one eta", 0.1), ("every eta", each)):
        model: QuadraticModel = quadratic_model(directions, gradient, C, l2)
        c = [float(number) for number in model.solve(DAMPING)]
        found[f"matrix, {name}"] = model.matrix(DAMPING)
        found[f"minimum, {name}"] = [*c, model.value(c, DAMPING)]
    return found
