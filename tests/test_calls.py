"""A word that a call does not take: the error names the call, the word, and all.

The calls are found by introspection: what is new and public cannot be forgotten.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace

import pytest

import kfac_ref
from kfac_ref.calls import OPTIONS, UNDAMPED
from kfac_ref.damping import by_kind, factored_tikhonov
from kfac_ref.errors import KfacTypeError
from kfac_ref.layers import ReLU, Tanh
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    HessianFree,
    MovingAverage,
    NaturalGradient,
    train,
)
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.structures import make_structure
from kfac_ref.values import Value
from networks import chain, inputs, parameters
from value_cases import classes

OPTIMIZERS = (KFAC, SGD, Adam, NaturalGradient, HessianFree)
PUBLIC = "comparison damping distributions layers matrices optimizer plotting".split()
PASS_ON = {  # functions that take any word
    "timed": "to a function of the caller's",
    "legend_beside": "to matplotlib",
}
VALUES = [kind for kind in classes() if issubclass(kind, Value)]


def functions():
    modules = [kfac_ref, *(importlib.import_module(f"kfac_ref.{m}") for m in PUBLIC)]
    found = [getattr(module, name) for module in modules for name in module.__all__]
    return {f.__name__: f for f in found if inspect.isfunction(f)}


FUNCTIONS = functions()


def takes(call):
    """Its parameters, or those of its constructor."""
    if inspect.isclass(call):
        if call.__init__ is object.__init__:
            return []
        return list(inspect.signature(call.__init__).parameters)[1:]
    return list(inspect.signature(call).parameters)


def said(call, *args, **options):
    with pytest.raises(KfacTypeError) as caught:
        call(*args, **options)
    assert isinstance(caught.value, TypeError)
    return str(caught.value)


def test_there_are_calls():
    assert len(VALUES) > 60 and len(FUNCTIONS) > 30
    assert {"train", "compare", "save_state", "heat_maps"} < set(FUNCTIONS)


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__qualname__)
def test_every_constructor_names_an_unknown_argument(kind):
    known = ", ".join(takes(kind)) or "none"
    expected = f"{kind.__name__}: unknown argument 'qqq': known: {known}"
    assert said(kind, qqq=1) == said(kind, 1, qqq=1) == expected


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in PASS_ON])
def test_every_public_function(name):
    function = FUNCTIONS[name]
    known = ", ".join(takes(function)) or "none"
    expected = f"{name}: unknown argument 'qqq': known: {known}"
    assert said(function, qqq=1) == said(function, 1, qqq=1) == expected


@pytest.mark.parametrize("name", PASS_ON)
def test_functions_that_pass_words_on(name):
    kinds = [
        each.kind for each in inspect.signature(FUNCTIONS[name]).parameters.values()
    ]
    assert inspect.Parameter.VAR_KEYWORD in kinds


CALLS = [*OPTIMIZERS, train, LevenbergMarquardt, MovingAverage]


@pytest.mark.parametrize(
    ("call", "option"),
    [(call, name) for call in CALLS for name in takes(call) if len(name) > 3],
    ids=lambda case: getattr(case, "__name__", case),
)
def test_a_letter_less_suggests_the_option(call, option):
    for i in (1, len(option) - 2):
        word = option[:i] + option[i + 1 :]
        if word not in takes(call):
            assert f"argument {word!r}: did you mean {option!r}? known: " in said(
                call, **{word: 1}
            )


@pytest.mark.parametrize(
    ("call", "word", "option"),
    [
        (KFAC, "lambda_", "damping"),
        (KFAC, "lambda_rule", "adapt_damping"),
        (KFAC, "dampin", "damping"),
        (KFAC, "lr", "learning_rate"),
        (KFAC, "l2_reg", "l2"),
        (KFAC, "kl_clip", "norm_constraint"),
        (KFAC, "factor_decay", "average"),
        (KFAC, "TInv", "inverse_every"),
        (KFAC, "fisher_type", "estimate"),
        (KFAC, "use_adaptive_damping", "adapt_damping"),
        (SGD, "lr", "learning_rate"),
        (SGD, "weight_decay", "l2"),
        (Adam, "eps", "epsilon"),
        (Adam, "momentum", "beta_1"),
        (Adam, "b2", "beta_2"),
        (Adam, "weight_decay", "l2"),
        (NaturalGradient, "lambda_", "damping"),
        (HessianFree, "max_iter", "iterations"),
        (HessianFree, "lambda_", "damping"),
        (LevenbergMarquardt, "min_damping", "minimum"),
        (MovingAverage, "cov_ema_decay", "decay"),
        (train, "update", "updates"),
        (train, "num_epochs", "epochs"),
        (train, "steps", "updates"),
        (train, "seed", "rng"),
        (train, "validation_data", "evaluation"),
        (kfac_ref.factored_tikhonov, "lambda_", "damping"),
    ],
)
def test_other_libraries_words(call, word, option):
    assert f"unknown argument {word!r}: did you mean {option!r}? known: " in said(
        call, **{word: 1}
    )
    assert option in takes(call) and word not in takes(call)


def test_two_for_one():
    assert "'betas': did you mean 'beta_1' and 'beta_2'? known" in said(Adam, betas=1)


def test_no_bad_guess():
    assert ": unknown argument 'damping': known: network, " in said(SGD, damping=1)
    assert ": unknown argument 'momentum': known: " in said(HessianFree, momentum=1)


def test_what_is_suggested_for_words_of_others_is_there():
    known = {name for call in [*VALUES, *FUNCTIONS.values()] for name in takes(call)}
    for names in OPTIONS.values():
        assert {part for name in names for part in name.split(" and ")} <= known
    assert set(UNDAMPED) - {"make_structure"} <= set(FUNCTIONS)


def test_copies_with_a_wrong_word_and_constructors_without_arguments():
    assert said(replace, KFAC(chain()), lamda=1).startswith("KFAC: unknown argument")
    assert said(Tanh, 5) == "Tanh: takes no arguments, found (5,)"
    assert Tanh() == Tanh() != ReLU()
    with pytest.raises(TypeError, match=r"^KFAC.__init__\(\) missing .* 'network'"):
        KFAC()


def test_a_class_of_a_user_may_take_any_word():
    class Own(Value):
        def __init__(self, **options):
            self.options = options

    assert Own(lr=1).options == {"lr": 1}


@pytest.mark.parametrize("name", UNDAMPED)
def test_damping_is_the_next_step(name, xp, rng):
    net = chain()
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    call = make_structure if name == "make_structure" else FUNCTIONS[name]
    given = ["kronecker", kfac_ref.propagate(net.linearize(params, x))]
    given = given if name == "make_structure" else [net, params, x]
    for word in ("damping", "lambda_", "pi"):
        message = said(call, *given, **{word: 1e-3})
        assert "by_kind(matrix, damping) of kfac_ref.damping" in message
        assert message.startswith(name) and "did you mean" not in message
    K = kfac_ref.curvature(net, params, x)  # what is advised
    v = net.flatten(params)
    assert by_kind(K, damping=1e-3).solve(v).shape == v.shape
    assert K.solve(v, 1e-3).shape == v.shape
    chain_factors = kfac_ref.curvature(net, params, x, "block_tridiagonal")
    chained = factored_tikhonov(chain_factors, 1e-3)
    assert chained.solve(v).shape == v.shape
