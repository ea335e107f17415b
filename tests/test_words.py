"""Other libraries' words: each means what it says, or is refused with what it is."""

from __future__ import annotations

import numpy as np
import pytest

from damping_cases import LAMBDA, factors
from helpers import assert_exact, host, relative_error
from kfac_ref import curvature
from kfac_ref.damping import RULES, factored_tikhonov, make_rule
from kfac_ref.damping.pi import SIZES
from kfac_ref.errors import UnknownName
from kfac_ref.estimates import ESTIMATES, make_estimate
from kfac_ref.exact.products import (
    PRODUCTS,
    curvature_product,
)
from kfac_ref.matrices import KroneckerProduct
from kfac_ref.optimizer import KFAC, HessianFree, MovingAverage, NaturalGradient
from kfac_ref.optimizer.averages import AVERAGES
from kfac_ref.optimizer.stages import CLIPS, clip_stage
from kfac_ref.structures import STRUCTURES
from kfac_ref.words import ALIASES, OTHERS, translate
from networks import chain, classes, inputs, parameters

KNOWN = {
    "estimate": ESTIMATES,
    "structure": STRUCTURES,
    "damping rule": RULES,
    "pi": [*SIZES, "off"],
    "average": AVERAGES,
    "clip": CLIPS,
    "matrix": PRODUCTS,
}
WORDS = [(what, word) for what, words in ALIASES.items() for word in words]
REFUSED = [(what, word) for what, words in OTHERS.items() for word in words]


def test_a_word_is_an_alias_a_name_or_another_thing_but_not_two_of_them():
    assert ALIASES.keys() == KNOWN.keys() >= OTHERS.keys()
    for what, known in KNOWN.items():
        assert set(ALIASES[what].values()) <= set(known)
        words = [*known, *ALIASES[what], *OTHERS.get(what, {})]
        assert len(set(words)) == len(words)


@pytest.mark.parametrize(("what", "word"), WORDS)
def test_an_alias_is_translated(what, word):
    name = translate(what, word, KNOWN[what])
    assert name == ALIASES[what][word]
    assert translate(what, name, KNOWN[what]) == name


@pytest.mark.parametrize(("what", "word"), REFUSED)
def test_a_word_for_another_thing_is_refused_with_what_it_is(what, word):
    with pytest.raises(UnknownName) as caught:
        translate(what, word, KNOWN[what])
    message = str(caught.value)
    assert message.startswith(f"{what} {word!r} means something else: ")
    assert OTHERS[what][word] in message and ", ".join(KNOWN[what]) in message


def test_suggestions_look_at_the_words_of_others_too():
    with pytest.raises(UnknownName, match="'DenseTwoKronecker': did you mean 'DenseTw"):
        translate("structure", "DenseTwoKronecker", STRUCTURES)
    with pytest.raises(UnknownName, match="'Kronecker': did you mean 'kronecker'"):
        translate("structure", "Kronecker", STRUCTURES)


# The doors: a word gives what the name gives.


@pytest.fixture
def problem(xp, rng):
    net = chain()
    return net, parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)


@pytest.mark.parametrize("word", ALIASES["structure"])
def test_other_words_for_structures_mean_the_same(problem, word):
    net, params, x, _ = problem
    name = ALIASES["structure"][word]
    found, same = curvature(net, params, x, word), curvature(net, params, x, name)
    assert type(found) is type(same)
    assert_exact(found.to_dense(), host(same.to_dense()))
    other = next(other for other in ("kronecker", "diagonal") if other != name)
    different = host(curvature(net, params, x, other).to_dense())
    assert relative_error(found.to_dense(), different) > 0.05
    assert KFAC(net, structure=[word] * 3 if name != "full" else word,
                average="latest").structures == [name] * 3  # fmt: skip


@pytest.mark.parametrize("word", ALIASES["damping rule"])
def test_other_words_for_damping_rules_mean_the_same(word, xp, rng):
    K = KroneckerProduct(*[xp.asarray(M) for M in factors(rng)], "layer 0")
    name = ALIASES["damping rule"][word]
    found = make_rule(word)(K, LAMBDA).to_dense()
    assert_exact(found, host(RULES[name](K, LAMBDA).to_dense()))
    assert (
        KFAC(chain(), damping_rule=word).options.inversion.damping_rule is RULES[name]
    )


@pytest.mark.parametrize("word", ALIASES["pi"])
def test_other_words_for_pi_mean_the_same(word, xp, rng):
    K = KroneckerProduct(*[xp.asarray(M) for M in factors(rng)], "layer 0")
    found = factored_tikhonov(K, LAMBDA, pi=word).to_dense()
    assert_exact(
        found, host(factored_tikhonov(K, LAMBDA, ALIASES["pi"][word]).to_dense())
    )


@pytest.mark.parametrize("word", [*ALIASES["average"], *AVERAGES])
def test_other_words_for_averages_mean_the_same(word):
    name = ALIASES["average"].get(word, word)
    assert MovingAverage(word, 0.7) == MovingAverage(name, 0.7)
    kfac = KFAC(chain(), average=word, iterates=word)
    own = kfac.options
    assert own.statistics.average == own.update.iterates == MovingAverage(name)


@pytest.mark.parametrize("word", ALIASES["clip"])
def test_other_words_for_norm_constraints_mean_the_same(word, xp, rng):
    u, v = xp.asarray(rng.normal(size=7)), xp.asarray(rng.normal(size=7))
    name = ALIASES["clip"][word]
    assert clip_stage(u, v, 1e-3, 0.3, word) == clip_stage(u, v, 1e-3, 0.3, name) < 1
    assert KFAC(chain(), clip=word).options.practice.clip == name


@pytest.mark.parametrize("word", ALIASES["matrix"])
def test_other_words_for_matrices_mean_the_same(problem, word):
    net, params, x, y = problem
    name = ALIASES["matrix"][word]
    for make in (KFAC, NaturalGradient, HessianFree):
        made = make(net, matrix=word)
        own = made.options.update if make is KFAC else made
        assert own.matrix == name
    v = net.flatten(params)
    found = curvature_product(word, net.linearize(params, x), y)
    same = curvature_product(name, net.linearize(params, x), y)
    assert type(found) is type(same)
    assert_exact(found @ v, host(same @ v))


@pytest.mark.parametrize("word", ALIASES["estimate"])
def test_other_words_for_estimates_mean_the_same(word):
    assert type(make_estimate(word)) is ESTIMATES[ALIASES["estimate"][word]]


def test_aliases_of_one_thing_are_that_thing_by_hand(rng):
    """KFOC's factors are the best: Van Loan's rearrangement, by loops, and an SVD."""
    net = chain(sizes=(3, 2))
    params, x = net.init(rng), rng.normal(size=(5, 3))
    F = host(curvature(net, params, x, "PMatDense", "exact").to_dense())
    d, o = net.shapes[0]
    R = F.reshape(d, o, d, o).transpose(0, 2, 1, 3).reshape(d * d, o * o)
    U, s, Vt = np.linalg.svd(R)
    best = np.kron((s[0] * U[:, 0]).reshape(d, d), Vt[0].reshape(o, o))
    assert_exact(curvature(net, params, x, "KFOC", "type-2").to_dense(), best, 1e-9)


@pytest.mark.parametrize(
    ("structure", "estimate", "says"),
    [
        ("sampled", "expectation", "structure 'sampled' .*: estimate='sampled'"),
        ("exact", "expectation", "structure 'exact' .*: estimate='exact'"),
        ("kronecker", "diagonal", "estimate 'diagonal' .*: structure='diagonal'"),
    ],
)
def test_an_estimate_for_a_structure_is_told_where_it_belongs(
    problem, structure, estimate, says
):
    net, params, x, _ = problem
    with pytest.raises(UnknownName, match=says):
        curvature(net, params, x, structure, estimate)
