"""Every public function, fed the wrong kind of thing in every argument.

What comes out is an error of the package that names the argument: never a message of
NumPy's about something inside. The list is made from what the modules export, so that a
new function cannot be forgotten, and from the signatures, so that no argument can.
"""

from __future__ import annotations

import inspect
import os
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

import kfac_ref
from kfac_ref import comparison, damping, matrices, optimizer, plotting
from kfac_ref.damping import factored_tikhonov, tikhonov
from kfac_ref.datasets import mnist, read_idx
from kfac_ref.distributions import Categorical, Joint
from kfac_ref.errors import KfacError
from kfac_ref.estimates import make_estimate
from kfac_ref.files import make_folder, write_whole
from kfac_ref.layers import Dense, Tanh
from kfac_ref.optimizer.subsampling import subsample_positions
from kfac_ref.quadratic_model import quadratic_model
from kfac_ref.structures import make_structure

rng = np.random.default_rng(3)
NET = kfac_ref.Network([Dense(5, 4), Tanh(), Dense(4, 3)], Categorical())
PARAMS = NET.init(rng)
X, Y = rng.normal(size=(7, 5)), rng.integers(0, 3, 7)
BATCH = dict(network=NET, params=PARAMS, x=X)
F, K = kfac_ref.fisher_matrix(**BATCH), kfac_ref.curvature(**BATCH)
AT = NET.linearize(PARAMS, X)
PAIRS = kfac_ref.propagate(AT)
GRADIENT, THETA = NET.gradient(PARAMS, X, Y), NET.flatten(PARAMS)
PRODUCT = kfac_ref.FisherProduct(AT)
HESSIAN = kfac_ref.HessianProduct(AT, Y)
A, G = 2 * np.eye(3), 3 * np.eye(2)
DRAWN = dict(estimate="sampled", y=Y, rng=rng, samples=2, memory=10**6)
BOTH = dict(approximation=K, exact=F)
NUMBERS = np.ones(1)
HISTORY = optimizer.History(*[NUMBERS] * 9)
FIGURE = Figure()
AX = FIGURE.subplots()
OPTIMIZERS = {
    make.__name__: make(NET, **options)
    for make, options in (
        (optimizer.KFAC, dict(damping=0.1)),
        (optimizer.SGD, dict(learning_rate=0.1)),
        (optimizer.Adam, dict(learning_rate=0.1)),
        (optimizer.NaturalGradient, dict(damping=0.1)),
        (optimizer.HessianFree, {}),
    )
}

WRONG = {
    "a list": [[1.0, 2.0], [3.0]],
    "None": None,
    "words": "nonsense",
    "a number": -3.7,
    "NaN": float("nan"),
    "an object": object(),
    "a class": dict,
    "a dict": {"a": 1},
    "a matrix": K,
    "a network": NET,
    "parameters": PARAMS,
    "an array": np.ones((2, 3)),
    "a view of other rules": np.ones((7, 5)).view(np.ma.MaskedArray),
    "complex numbers": np.ones((7, 5), complex),
    "objects": np.array([[None, 1]]),
    "records": np.zeros(7, [("a", "f8")]),
    "halves": np.ones((7, 5), np.float16),
    "nothing": np.zeros((0, 5)),
}

GOOD = {  # function: arguments that it takes
    kfac_ref.Network: dict(layers=[Dense(5, 4)], distribution=Categorical()),
    NET.init: dict(rng=rng),
    NET.predict: dict(params=PARAMS, x=X),
    NET.linearize: dict(params=PARAMS, x=X),
    NET.loss: dict(params=PARAMS, x=X, y=Y),
    NET.gradient: dict(params=PARAMS, x=X, y=Y),
    NET.flatten: dict(matrices=PARAMS),
    NET.unflatten: dict(vector=THETA),
    kfac_ref.fisher_matrix: dict(BATCH, block=0, memory=10**6),
    kfac_ref.ggn_matrix: dict(BATCH, y=Y, block=0, memory=10**6),
    kfac_ref.empirical_fisher_matrix: dict(BATCH, y=Y, block=0, memory=10**6),
    kfac_ref.hessian_matrix: dict(BATCH, y=Y, block=0),
    kfac_ref.HessianProduct: dict(at=AT, y=Y, block=0),
    kfac_ref.FisherProduct: dict(at=AT, block=0),
    kfac_ref.GGNProduct: dict(at=AT, y=Y, block=0),
    kfac_ref.EmpiricalFisherProduct: dict(at=AT, y=Y, block=0),
    kfac_ref.curvature: dict(BATCH, structure="kronecker", **DRAWN),
    kfac_ref.propagate: dict(at=AT, **DRAWN),
    kfac_ref.given_pairs: dict(
        a=[np.ones((5, 1, 3))], g=[np.ones((2, 5, 1, 7))], names=["a"], memory=10**6
    ),
    kfac_ref.compare: dict(
        exact=F, approximations={"K": K}, gradient=GRADIENT, damping=0.1,
        names=["a", "b"], progress=iter, rule=tikhonov,
    ),
    PRODUCT.__matmul__: dict(v=THETA),
    PRODUCT.form: dict(vectors=[THETA]),
    PRODUCT.factor: dict(u=np.ones(PRODUCT.columns)),
    PRODUCT.factor_transpose: dict(v=THETA),
    HESSIAN.__matmul__: dict(v=THETA),
    make_structure: dict(name="kronecker", pairs=PAIRS),
    make_estimate: dict(name="sampled", samples=2),
    subsample_positions: dict(pairs=PAIRS, share=0.5, rng=rng),
    damping.tikhonov: dict(matrix=K, damping=0.1),
    damping.factored_tikhonov: dict(
        matrix=K, damping=0.1, pi="trace", exact_scalars=False
    ),
    damping.same_on_each_factor: dict(matrix=K, damping=0.1),
    damping.separate: dict(
        matrix=K, activations=0.1, errors=0.1, pi="off", scale=1.0, shift=1.0
    ),
    damping.by_kind: dict(
        matrix=K, damping=0.1, kronecker=factored_tikhonov, other=tikhonov
    ),
    damping.by_eigendecomposition: dict(matrix=tikhonov(K, 0.1)),
    damping.make_rule: dict(rule="tikhonov", what="rule"),
    damping.find_pi: dict(matrix=K.blocks[0], pi="trace"),
    comparison.relative_frobenius_error: BOTH,
    comparison.relative_spectral_error: BOTH,
    comparison.inverse_error: dict(BOTH, damping=0.1),
    comparison.angle: dict(BOTH, gradient=THETA, damping=0.1),
    comparison.damped_norm_ratio: dict(BOTH, gradient=THETA, damping=0.1),
    comparison.timed: dict(build=lambda: F),
    matrices.DenseMatrix: dict(matrix=A, name="m", damped=False),
    matrices.DiagonalMatrix: dict(values=np.ones(3), name="m", damped=False),
    matrices.KroneckerProduct: dict(A=A, G=G, name="m", damped=False),
    matrices.EigenKronecker: dict(
        U_A=np.eye(3), U_G=np.eye(2), values=np.ones((3, 2)), name="m", rounding=0.0,
        damped=False,
    ),
    matrices.KroneckerDifference: dict(A=A, G=G, C=0.1 * A, D=0.1 * G, name="m"),
    matrices.BlockDiagonalMatrix: dict(blocks=[K.blocks[0]], name="m"),
    matrices.BlockTridiagonalInverse: dict(
        A=[A, G], G=[G, A], A_next=[np.zeros((3, 2))], G_next=[np.zeros((2, 3))],
        names=["a", "b"],
    ),
    matrices.ChainFactors: dict(
        A=[A, G], G=[G, A], A_next=[np.zeros((3, 2))], G_next=[np.zeros((2, 3))],
        names=["a", "b"],
    ),
    F.__matmul__: dict(v=THETA),
    F.solve: dict(v=THETA, damping=0.1),
    F.power: dict(exponent=-1, damping=0.1, name="m"),
    F.inverse: dict(damping=0.1),
    F.logdet: dict(damping=0.1),
    quadratic_model: dict(
        directions=[THETA], gradient=THETA, matrix=PRODUCT, l2=0.0
    ),
    Joint: dict(parts=[(Categorical(), 3, 1.0)]),
    optimizer.train: dict(
        optimizer=OPTIMIZERS["SGD"], start=PARAMS, data=(X, Y), batch_size=3, rng=rng,
        updates=2, epochs=None, evaluation=(X, Y), evaluate_every=1, progress=False,
    ),
    **{made.init: dict(params=PARAMS) for made in OPTIMIZERS.values()},
    **{
        made.step: dict(state=made.init(PARAMS), x=X, y=Y, rng=rng)
        for made in OPTIMIZERS.values()
    },
    **{
        made.params: dict(state=made.init(PARAMS)) for made in OPTIMIZERS.values()
    },
    OPTIMIZERS["KFAC"].burn_in: dict(
        state=OPTIMIZERS["KFAC"].init(PARAMS), batches=[(X, Y)], rng=rng
    ),
    plotting.heat_maps: dict(BOTH, name="m", sizes=[24, 15]),
    plotting.histories_figure: dict(histories={"a": HISTORY}, what="loss"),
    plotting.race_figure: dict(
        histories={"a": [HISTORY]}, titles=("a", "b"), floor=0.5, what="loss"
    ),
    plotting.comparison_figure: dict(
        comparison=kfac_ref.compare(F, {"K": K}, GRADIENT, 0.1)
    ),
    plotting.sampling_figure: dict(
        samples=[1, 2, 4], errors=[0.5, 0.4, 0.3], others={"m": [0.5, 0.4, 0.3]},
        title="m",
    ),
    plotting.fit_power_law: dict(x=[1, 2, 4], y=[0.5, 0.4, 0.3]),
    plotting.spectra_figure: dict(
        exact={"F": NUMBERS}, approximations={"K": NUMBERS}, damping=0.1
    ),
    plotting.training_figure: dict(losses=[2, 1], errors={"a": [0.2, 0.1]}, name="m"),
    plotting.legend_beside: dict(ax=AX, curves=AX.plot([1, 2])),
    plotting.look: dict(i=3),
    plotting.shades: dict(count=3),
    plotting.styled: dict(draw=Figure),
    plotting.save: dict(figure=FIGURE, path=os.devnull),
    optimizer.save_state: dict(
        path=os.devnull, optimizer=OPTIMIZERS["SGD"],
        state=OPTIMIZERS["SGD"].init(PARAMS), rng=rng,
    ),
}  # fmt: skip

# What is right although it stands in WRONG, by the name of the argument or with that of
# the function; "a class" can be called, and fails on its own.
RIGHT = {
    "network": {"a network"},
    **{key: {"parameters"} for key in ("params", "matrices", "start")},
    "compare.gradient": {"parameters"},
    **{key: {"a matrix"} for key in ("matrix", "exact", "approximation")},
    **{key: {"None"} for key in ("block", "names", "samples")},
    **{key: {"None"} for key in ("updates", "epochs", "subsample_positions.rng")},
    **{f"{key}.y": {"None"} for key in ("ggn_matrix", "curvature", "propagate")},
    "GGNProduct.y": {"None"},
    "Network.linearize.x": {"an array"},  # its width is looked at in the pass
    "evaluation": {"None"},
    "progress": {"a class"},
    "compare.rule": {"None"},
    "DenseMatrix.power.name": {"words"},
    "batches": {"nothing", "a dict"},
    **{f"{key}.what": {"words"} for key in ("race_figure",)},
    **{f"{key}.name": {"words"} for key in ("heat_maps", "training_figure")},
    "title": {"words"},
    "floor": {"a number"},
    "others": {"None"},
    "draw": {"a class"},
    "path": {"words"},
    **{f"{key}.name": {"words"} for key in matrices.__all__},
}
ANYTHING = {
    "timed.build": "a function of the caller's",
    "make_rule.what": "words for its error, of the package's own",
    "SGD.step.rng": "SGD draws nothing, and takes what the others take",
    "Adam.step.rng": "the same",
    "NaturalGradient.step.rng": "the same",
    "HessianFree.step.rng": "the same",
}
CALLED = {  # in messages, beside its own name
    "y": ["labels"],
    "v": ["vector"],
    "u": ["vector"],
    "vectors": ["vector"],
    "vector": ["parameter vector"],
    "name": ["structure", "estimate", "name"],
    "matrix": ["BlockDiagonalMatrix", "not positive definite", "m: expected"],
    "values": ["m: expected", "U_A"],
    "layers": ["layer 0"],
    "parts": ["part 0"],
    "approximations": ["approximation"],
    "directions": ["direction"],
    "batches": ["x:"],
    "evaluation": ["x:", "layer 0", "labels"],
    "exponent": ["power"],
    "start": ["params"],
    "pi": ["pi"],
    "what": ["column"],
}


def title(function):
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", str(function))
    return name if owner is None else f"{type(owner).__name__}.{name}"


CASES = [
    pytest.param(function, name, id=f"{title(function)}.{name}")
    for function, good in GOOD.items()
    for name in good
]


def test_every_function_and_every_argument_is_in_the_list():
    titles = {title(function) for function in GOOD}
    classes = {"KFAC", "SGD", "Adam", "NaturalGradient", "HessianFree"}  # options
    plain = {  # made by the package, or checked where numbers are
        "Pairs", "Place", "SymmetricMatrix", "RULES", "Comparison", "Row", "Built",
        "CheckpointError", "Diverged", "History", "Average", "MovingAverage",
        "Proposal", "Run", "State", "Trace", "TrainingDiverged", "Outcome",
        "growing_batches", "load_state", "APPROXIMATION", "ERROR", "EXACT", "STYLE",
        "angle_between", "damped_norm", "diagonal_blocks", "spectral_norm",  # of arrays
    }  # fmt: skip
    for module in (kfac_ref, damping, comparison, matrices, optimizer, plotting):
        for name in module.__all__:
            if not name.startswith("__"):
                assert name in titles | classes | plain, f"{module.__name__}.{name}"
    for function, good in GOOD.items():
        takes = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        optional = {"forward", "averaged", "dtype"} - set(good)
        assert set(takes) - optional == set(good), title(function)


@pytest.mark.parametrize(("function", "name"), CASES)
def test_the_wrong_kind_of_thing(function, name):
    good = GOOD[function]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(**good)
        if f"{title(function)}.{name}" in ANYTHING:
            return
        for what, wrong in WRONG.items():
            here = f"{title(function)}.{name}"
            if what in RIGHT.get(name, set()) | RIGHT.get(here, set()):
                continue
            with pytest.raises(KfacError) as caught:
                function(**{**good, name: wrong})
                pytest.fail(f"{title(function)} took {what} for {name}")
            words = [name, *CALLED.get(name, [])]
            said = str(caught.value)
            assert any(word.lower() in said.lower() for word in words), said


@pytest.mark.parametrize(
    ("function", "name"),
    [
        pytest.param(function, name, id=f"{title(function)}.{name}")
        for function, good in GOOD.items()
        for name, value in good.items()
        if function.__module__.startswith("kfac_ref.plotting")
        and isinstance(value, dict | list | tuple)
    ],
)
def test_the_wrong_kind_of_thing_inside(function, name):
    """The first entry of what a figure is drawn from."""
    good = GOOD[function]
    for what, wrong in WRONG.items():
        if what in {"titles": {"words"}, "losses": {"a number"}}.get(name, set()):
            continue
        value = good[name]
        if isinstance(value, dict):
            inside = {**value, next(iter(value)): wrong}
        else:
            inside = [wrong, *value[1:]]
        with pytest.raises(KfacError) as caught:
            function(**{**good, name: inside})
            pytest.fail(f"{title(function)} took {what} inside of {name}")
        assert name in str(caught.value)
        if isinstance(value, dict):
            assert repr(next(iter(value))) in str(caught.value)


def test_the_place_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sgd = OPTIMIZERS["SGD"]
    content = dict(optimizer=sgd, state=sgd.init(PARAMS), rng=rng)
    for function in (
        make_folder, mnist,
        lambda path: write_whole(path, b""),
        lambda path: read_idx(path, 1),
        lambda path: plotting.save(FIGURE, path),
        lambda path: optimizer.save_state(path, **content),
        lambda path: optimizer.load_state(path, sgd),
    ):  # fmt: skip
        for what, wrong in [*WRONG.items(), ("", ""), ("bytes", b"here")]:
            if what != "words":
                expected = "^(path|folder): expected a path, found "
                with pytest.raises(KfacError, match=expected):
                    function(wrong)
    assert not list(tmp_path.iterdir())
    optimizer.save_state("state", **content)
    for wrong in WRONG.values():
        with pytest.raises(KfacError, match="^optimizer: expected one with init"):
            optimizer.load_state("state", wrong)


def test_numpys_functions_do_not_make_one_object_of_a_matrix():
    for function in (
        np.asarray, np.array, np.linalg.norm, np.linalg.inv, np.trace, np.diag,
        lambda M: np.kron(M, np.eye(2)), lambda M: np.linalg.solve(M, THETA),
    ):  # fmt: skip
        for M in (F, K, tikhonov(K, 0.1)):
            with pytest.raises(KfacError, match=r"found .*\(39 x 39.*; to_dense\(\)"):
                function(M)
    assert np.asarray(F.to_dense()).shape == (39, 39)


def test_an_array_for_a_matrix_is_told_how_to_become_one():
    with pytest.raises(
        KfacError, match=r"^exact: .*DenseMatrix\(array\) of an array; found"
    ):
        kfac_ref.compare(F.to_dense(), {"K": K}, GRADIENT, 0.1)
    with pytest.raises(
        KfacError, match=r"^approximation 'K': .*DenseMatrix\(array\) of an"
    ):
        kfac_ref.compare(F, {"K": K.to_dense()}, GRADIENT, 0.1)
