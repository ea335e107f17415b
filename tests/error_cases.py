"""What a user types, and what he is told: one table of refusals, room by room.

A case is `call -> error: fact | fact`; a line that goes on is indented. The message has
the facts in this order, each a whole word or number: which argument or layer, what was
expected, what was found, what to do. How it says so is its own affair. error_calls.py
has the names that the calls use, and reads the table.
"""

from __future__ import annotations

ROOMS = {}

ROOMS["layers"] = """
fed(Dense(5, 3), 7, 4) -> ShapeError: layer 1 | Dense(5, 3) | (N, 5) | (7, 4)
fed(Dense(5, 3), 7, 2, 4) -> ShapeError: Dense(5, 3) | (N, any, 5) | (7, 2, 4)
fed(Dense(5, 3), 5) -> ShapeError: Dense(5, 3) | (N, 5) | (5,)
fed(ScaleShift(5), 7, 2, 4) -> ShapeError: ScaleShift(5) | (N, any, 5) | (7, 2, 4)
fed(Conv2d(2, 3, 2), 7, 5, 4, 3) -> ShapeError: layer 1 | Conv2d(2, 3, 2) | (N, h, w, 2)
    | (7, 5, 4, 3)
fed(Conv2d(2, 3, 2), 5, 4, 2) -> ShapeError: Conv2d | (N, h, w, 2) | (5, 4, 2)
fed(MaxPool2d(2), 7, 5, 4) -> ShapeError: MaxPool2d(2) | (N, h, w, c) | (7, 5, 4)
fed(AvgPool2d(2), 7, 5) -> ShapeError: AvgPool2d(2) | (N, h, w, c) | (7, 5)
fed(Flatten(), 7) -> ShapeError: Flatten() | (N, ...) | (7,)
fed(Embedding(5, 3)) -> ShapeError: Embedding(5, 3) | (N,) | ()
fed(BatchStandardize(), 7) -> ShapeError: BatchStandardize | (N, features) | (7,)
fed(LayerStandardize(), 7) -> ShapeError: LayerStandardize | (N, features) | (7,)
fed(BatchStandardize(mean=np.zeros(5), variance=np.ones(5)), 7, 2, 4) -> ShapeError:
    BatchStandardize | (N, any, 5) | (7, 2, 4)
alone(Dense(5, 3), [[1, 2]]) -> ShapeError: Dense(5, 3) | array of shape (N, 5) | list
alone(Flatten(), [[1, 2]]) -> ShapeError: Flatten() | array of shape (N, ...) | list
alone(Embedding(5, 3), [[1, 2]]) -> ShapeError: Embedding(5, 3) | of shape (N,) | list
alone(Conv2d(2, 3, 2), [[1, 2]]) -> ShapeError: Conv2d | of shape (N, h, w, 2) | list

alone(Conv2d(2, 3, (4, 3), padding="VALID"), ones(7, 3, 5, 2)) -> ShapeError:
    Conv2d(2, 3, (4, 3), padding='VALID') | spans 4 rows | has 3 | padding 0 + 0
    | no output | use a smaller kernel
alone(Conv2d(2, 3, 3, padding=((0, 0), (1, 2)), dilation=4), ones(7, 9, 5, 2))
    -> ShapeError: Conv2d | spans 9 columns | has 5 | padding 1 + 2
alone(MaxPool2d(4), ones(7, 5, 3, 2)) -> ShapeError: MaxPool2d(4) | 4 columns | has 3

Dense(0, 3) -> ValueRangeError: Dense | d_in | whole number >= 1 | 0
Dense(5, 3.0) -> ValueRangeError: Dense | d_out | whole number | 3.0
Dense(5, True) -> ValueRangeError: Dense | d_out | whole number | True
ScaleShift(0) -> ValueRangeError: ScaleShift | channels | >= 1 | 0
Embedding(-1, 3) -> ValueRangeError: Embedding | words | >= 1 | -1
Embedding(5, 0) -> ValueRangeError: Embedding | d_out | >= 1 | 0
Conv2d(0, 3, 2) -> ValueRangeError: Conv2d | c_in | >= 1 | 0
Conv2d(2, 0, 2) -> ValueRangeError: Conv2d | c_out | >= 1 | 0
Conv2d(2, 3, 0) -> ValueRangeError: Conv2d | kernel | >= 1 | 0
Conv2d(2, 3, (2, 2, 2)) -> ValueRangeError: Conv2d | kernel | a whole number or
    | (vertical, horizontal) | (2, 2, 2)
Conv2d(2, 3, 2, stride=(1, 0)) -> ValueRangeError: Conv2d | stride | >= 1 | 0
Conv2d(2, 3, 2, dilation=0) -> ValueRangeError: Conv2d | dilation | >= 1 | 0
Conv2d(2, 3, 2, padding=1) -> ValueRangeError: Conv2d | padding | SAME, VALID, CIRCULAR
    | ((top, bottom), (left, right)) | 1
Conv2d(2, 3, 2, padding=((1, 1), (0, -1))) -> ValueRangeError: Conv2d | padding | >= 0
    | -1
Conv2d(2, 3, 2, padding="same") -> UnknownName: Conv2d | padding | 'same'
    | did you mean 'SAME'?
Conv2d(2, 3, 2, padding="circle") -> UnknownName: Conv2d | padding | 'circle'
    | did you mean 'CIRCULAR'?
MaxPool2d(2, padding="same") -> UnknownName: padding | MaxPool2d | 'same' | 'SAME'?
MaxPool2d(2, padding="circle") -> UnknownName: MaxPool2d | 'circle' | 'CIRCULAR'?
MaxPool2d(0) -> ValueRangeError: MaxPool2d | size | >= 1 | 0
AvgPool2d(2, stride=0) -> ValueRangeError: AvgPool2d | stride | >= 1 | 0
LayerStandardize(0.0) -> ValueRangeError: LayerStandardize | epsilon | positive | 0.0
BatchStandardize(mean=np.zeros(3), variance=np.array([1, -2, 1])) -> ValueRangeError:
    BatchStandardize | variance | negative
BatchStandardize(mean=np.full(1, np.nan), variance=np.ones(1)) -> NotFinite:
    BatchStandardize | mean | 1 of 1 | NaN
BatchStandardize(mean=np.zeros(3)) -> ShapeError: both mean and variance, or neither
BatchStandardize(mean=np.zeros(3), variance=np.ones(2)) -> ShapeError: variance | (3,)
    | (2,)
BatchStandardize(mean=np.zeros((2, 3)), variance=np.ones(3)) -> ShapeError: mean
    | one number per channel | (2, 3)
check_pair("kernel", Far()) -> ValueRangeError: kernel | Far of shape (5, 3), float32
sparse(6)(rng, (6, 3), bias=True) -> ValueRangeError: sparse | at least 6 inputs | 5
    | connections=5
sparse(connections=0) -> ValueRangeError: connections | >= 1 | 0

alone(Embedding(5, 3), a([[0, 4], [-1, 2]])) -> ValueRangeError: Embedding(5, 3)
    | integers from 0 to 4 | from -1 to 4
alone(Embedding(5, 3), a([[0, 4], [5, 2]])) -> ValueRangeError: Embedding(5, 3)
    | integers from 0 to 4 | from 0 to 5
alone(Embedding(5, 3), ones(7)) -> ValueRangeError: Embedding(5, 3) | integers | float64
back_through(Embedding(5, 3)) -> Unsupported: Embedding(5, 3) | no cotangent
    | must be the first layer
along(Embedding(5, 3)) -> Unsupported: Embedding(5, 3) | no tangent
    | must be the first layer
alone(Residual([Dense(5, 3)]), ones(7, 5)) -> ShapeError: output | Residual([Dense(5, 3)
    | (7, 5) | (7, 3)
Network([Dense(4, 3), Tanh], Categorical()) -> KfacTypeError: layer 1
    | an instance, such as Tanh() | class 'kfac_ref.layers.activations.Tanh'
"""

ROOMS["distributions"] = """
labels(Categorical(), zeros((7, 4), int)) -> ShapeError: (7,) | (7, 4)
labels(Categorical(), zeros(7)) -> ValueRangeError: integers | float64
labels(Categorical(), a(np.arange(7))) -> ValueRangeError: from 0 to 3 | from 0 to 6
labels(Categorical(), a(np.arange(7) - 4)) -> ValueRangeError: 0 to 3 | from -4 to 2
labels(Bernoulli(), zeros(7)) -> ShapeError: (7, 4) | (7,)
labels(Bernoulli(), full(2)) -> ValueRangeError: 0, 1, or | from 2 to 2
labels(Bernoulli(), full(-0.5)) -> ValueRangeError: 0, 1, or | from -0.5 to -0.5
labels(Bernoulli(), full(np.nan)) -> ValueRangeError: 0, 1, or | from nan to nan
labels(Bernoulli(), zeros((7, 4), "float32")) -> ValueRangeError: float64 | or integers
    | float32
labels(Normal(), zeros((7, 3))) -> ShapeError: (7, 4) | (7, 3)
labels(Normal(), zeros((7, 4), int)) -> ValueRangeError: float64 like the outputs
    | int64 | convert | y.astype
labels(Normal(), zeros((7, 4), "float32")) -> ValueRangeError: float64 | float32
    | y.astype
labels(NormalMeanVariance(), zeros((7, 4))) -> ShapeError: (7, 2) | (7, 4)
labels(NormalMeanVariance(), zeros((7, 2), int)) -> ValueRangeError: float64 | int64
labels(Poisson(), zeros(7, int)) -> ShapeError: (7, 4) | (7,)
labels(Poisson(), full(-2)) -> ValueRangeError: 0, 1, 2, ... | the smallest -2
labels(Poisson(), full(1.5)) -> ValueRangeError: 0, 1, 2, ... | fractions
labels(Poisson(), zeros((7, 4), bool)) -> ValueRangeError: or integers | bool

two_losses([c]) -> ShapeError: list of 2 arrays | one for each part | 1
two_losses(c) -> ShapeError: list of 2 arrays | one for each part | found
two_losses([r, c]) -> ShapeError: part 0 | Categorical() | labels | (7,) | (7, 3)
two_losses([c + 5, r]) -> ValueRangeError: part 0 | from 0 to 4 | from 5 to 5
two_losses([c, r[:0]]) -> ShapeError: labels | empty | (0, 3)
two_losses([c, r * float("nan")]) -> NotFinite: labels | 21 of 21 | NaN
two_losses([0, 1]) -> BackendError: labels | an array | a list of int | numpy.asarray
TWO.nll(ones(7, 9), [c, r]) -> ShapeError: 8 entries | (7, 9)
TWO.gradient(ones(7, 9), [c, r]) -> ShapeError: 8 entries | (7, 9)
Joint(3) -> ShapeError: Joint | a list of (distribution, | 3
Joint([]) -> ShapeError: Joint | at least one part | none
Joint([(Normal(), 3)]) -> ShapeError: part 0 of Joint | (distribution, | (Normal
Joint([(Normal(), 3, 1.0), ("mse", 3, 1.0)]) -> ShapeError: part 1 | found | 'mse'
Joint([(Normal(), 0, 1.0)]) -> ValueRangeError: outputs | part 0 | Normal | >= 1 | 0
Joint([(Normal(), 3, 0.0)]) -> ValueRangeError: weight | part 0 | positive | 0.0
Joint([(Normal(), 3, -1.0)]) -> ValueRangeError: weight | part 0 | positive | -1.0
Joint([(Normal(), 3, np.inf)]) -> ValueRangeError: weight | part 0 | finite | inf
Joint([(Normal(), 3, np.nan)]) -> ValueRangeError: weight | part 0 | finite | nan
Normal(0.0) -> ValueRangeError: variance | positive finite | 0.0
Normal(-1.0) -> ValueRangeError: variance | positive finite | -1.0
Normal(np.inf) -> ValueRangeError: variance | positive finite | inf
Normal(np.nan) -> ValueRangeError: variance | positive finite | nan

NormalMeanVariance().fisher_product(ones(7, 3), ones(7, 3)) -> ShapeError: even number
    | (7, 3)
Poisson().sample(44 * ones(7, 1), rng, 2) -> ValueRangeError: up to 43.64 | 44
Poisson().sample(np.nan * ones(7, 1), rng, 2) -> ValueRangeError: up to 43.64 | nan
Halves().hessian_product(z, z, z) -> Unsupported: Halves has no hessian_product | write
Halves().hessian_root_product(z, z, z) -> Unsupported: Halves | no hessian_root_product
    | write
Halves().hessian_root_transpose(z, z, z) -> Unsupported: Halves
    | no hessian_root_transpose
NormalMeanVariance().hessian_root_product(z, z, z) -> Unsupported: NormalMeanVariance
    | no real square root | indefinite | use the Fisher
NormalMeanVariance().hessian_root_transpose(z, z, z) -> Unsupported: NormalMeanVariance
    | no real square root
"""

ROOMS["matrices"] = """
KroneckerProduct(A, singular, "layer 1").solve(ones(15)) -> NotPositiveDefinite:
    factor G of layer 1 | not positive definite | lambda = 0 | use a larger damping
KroneckerProduct(singular, A).power(-0.5) -> NotPositiveDefinite: factor A
    | KroneckerProduct(15 x 15)
KroneckerDifference(singular, A, 0 * singular, 0 * A, "layer 1") -> NotPositiveDefinite:
    factor A of layer 1

DiagonalMatrix(values) -> ShapeError: DiagonalMatrix | (P,) | (5, 3)
DiagonalMatrix(a([np.nan, 1.0, np.inf]), "layer 0") -> NotFinite: layer 0 | 2 of 3 | NaN
EigenKronecker(U_A, U_A, values, "layer 0") -> ShapeError: layer 0 | U_G | (3, 3)
    | (5, 5)
EigenKronecker(U_G, U_G, values) -> ShapeError: U_A | (5, 5) | (3, 3)
EigenKronecker(U_A, U_G, ones(15)) -> ShapeError: values | (d_in, d_out) | (15,)
EigenKronecker(U_A * 1.1, U_G, values) -> ValueRangeError: U_A | orthonormal | 0.21
EigenKronecker(U_A * np.nan, U_G, values) -> NotFinite: U_A | 25 of 25 | NaN
EigenKronecker(U_A, U_G, values, rounding=-1.0) -> ValueRangeError: EigenKronecker
    | rounding | >= 0 | -1.0
BlockDiagonalMatrix([]) -> ShapeError: at least one block | []
BlockDiagonalMatrix([G], "net") -> ShapeError: net | blocks that are matrices | ndarray
    | DenseMatrix
KroneckerDifference(G, A, A, G) -> ShapeError: factor C | (3, 3) | (5, 5)
KroneckerDifference(A, G, A, A) -> ShapeError: factor D | (3, 3) | (5, 5)
KroneckerProduct(A, low) -> ValueRangeError: one dtype | float32 and float64
BlockDiagonalMatrix([DenseMatrix(A), DenseMatrix(low)]) -> ValueRangeError: one dtype
    | float32 and float64
KroneckerDifference(G, G, G, low) -> ValueRangeError: one dtype | float32 and float64
BlockTridiagonalInverse([], [], [], []) -> ShapeError: l factors A, G | 0, 0, 0, 0, 0
BlockTridiagonalInverse(G, [G], [], []) -> KfacTypeError: A | a list | (3, 3)
ChainFactors([G], [G], [], []).to_dense() -> Unsupported: chain of layer 0
    | before they are damped
ChainFactors([G], [G], [], []).power(-1) -> Unsupported: chain of layer 0
    | damp them first | factored_tikhonov(chain, damping)
ChainFactors([G], [G], [], []) @ ones(9) -> Unsupported: chain of layer 0 | damp them
tikhonov(ChainFactors([G], [G], [], []), 0.1) -> Unsupported: block_tridiagonal
    | a damping rule | factored_tikhonov | EigenKronecker(9 x 9, 'layer 0
DenseMatrix(G, 3) -> KfacTypeError: name | words | 3
np.asarray(DenseMatrix(G, "m")) -> KfacTypeError: an array | DenseMatrix(3 x 3, 'm')
    | to_dense()
DenseMatrix(G) @ a(np.ones(3, int)) -> ValueRangeError: vector | float64 | int64
    | v.astype('float64')
DenseMatrix(G).form(3) -> ShapeError: vectors | a list of arrays (3,) | 3
DenseMatrix(G).power(Far()) -> ValueRangeError: power | -1, -1/2, 1/2 or 1
    | Far of shape (5, 3), float32
DenseMatrix(G).solve(ones(3), Far()) -> ValueRangeError: damping | finite number >= 0
    | Far of shape (5, 3), float32
DenseMatrix(a(np.diag([1.0, -2.0, 3.0])), "M").solve(ones(3)) -> NotPositiveDefinite:
    M is not positive definite: | from -2 to 3
DenseMatrix(a(np.diag([1.0, 0.0, 3.0])), "M").solve(ones(3)) -> NotPositiveDefinite:
    M is not positive definite but singular: | from 0 to 3 | inf
DenseMatrix(a(np.diag([1.0, 1e-18, 3.0])), "M").solve(ones(3)) -> NotPositiveDefinite:
    M is not positive definite but singular to rounding: | 2.2e-16
DenseMatrix(a(np.diag([1.0, 3e-7, 3.0]), "float32"), "M").logdet()
    -> NotPositiveDefinite: M is not positive definite but singular to rounding:
    | 1.2e-07
"""

ROOMS["errors"] = """
NotPositiveDefinite("Dense(5, 3)", 1e-3, [2.0, -0.25, 40.0]) -> NotPositiveDefinite:
    Dense(5, 3) is not positive definite: | lambda = 0.001 | from -0.25 to 40
    | (condition number 160) | use a larger damping
NotPositiveDefinite("A", 0.0, [0.0, 0.0, 3.0]) -> NotPositiveDefinite:
    A is not positive definite but singular: | lambda = 0 | from 0 to 3
    | (condition number inf)
NotPositiveDefinite("A", 0.0, np.float32([3.37e-7, 2.0, 11.4])) -> NotPositiveDefinite:
    A is not positive definite but singular to rounding: | from 3.37e-07 to 11.4
    | condition number 3.38e+07 | 3 rows | eps = 1.2e-07 | use a larger damping
NotPositiveDefinite("A", 0.0, np.float32([-1e-7, 2.0, 11.4])) -> NotPositiveDefinite:
    A is not positive definite but singular to rounding: | from -1e-07 to 11.4
    | condition number 1.14e+08 | 3 rows | eps = 1.2e-07
NotPositiveDefinite("A", 0.0, [-1e-7, 2.0, 11.4]) -> NotPositiveDefinite:
    A is not positive definite: | from -1e-07 to 11.4 | (condition number 1.14e+08)
NotPositiveDefinite("A", 0.1, [1.0, np.nan, 2.0]) -> NotPositiveDefinite:
    A is not finite | lambda = 0.1 | some of its 3 eigenvalues | too large?
NotPositiveDefinite("A", 0.1, [1.0, np.inf, 2.0]) -> NotPositiveDefinite:
    A is not finite | lambda = 0.1 | some of its 3 eigenvalues
NotPositiveDefinite("A", 0.1, [1.0, -np.inf, 2.0]) -> NotPositiveDefinite:
    A is not finite | lambda = 0.1 | some of its 3 eigenvalues

choose("padding", "same", ["VALID", "SAME"]) -> UnknownName: 'same'
    | did you mean 'SAME'?
choose("estimate", "emprical", KNOWN) -> UnknownName: unknown estimate 'emprical'
    | did you mean 'empirical'? | known: exact, sampled, empirical
choose("estimate", "zzz", KNOWN) -> UnknownName: unknown estimate 'zzz': known: exact,
choose("estimate", "", KNOWN) -> UnknownName: unknown estimate '': known: exact,
choose("estimate", 3, KNOWN) -> UnknownName: unknown estimate 3: known: exact,
choose("estimate", None, KNOWN) -> UnknownName: unknown estimate None: known: exact,
choose("estimate", [], KNOWN) -> UnknownName: unknown estimate []: known: exact,

check_shape("x", ones(7, 5), (7, 3)) -> ShapeError: x | (7, 3) | (7, 5)
check_shape("x", ones(7, 5), (5, 7)) -> ShapeError: x | (5, 7) | (7, 5)
check_shape("x", ones(7, 5), ("N", 11)) -> ShapeError: x | (N, 11) | (7, 5)
check_shape("x", ones(7, 5), (None, 11)) -> ShapeError: x | (any, 11) | (7, 5)
check_shape("x", ones(7, 5), (7,)) -> ShapeError: x | (7,) | (7, 5)
check_shape("x", ones(7, 5), ("N",)) -> ShapeError: x | (N,) | (7, 5)
check_shape("x", ones(7, 5), (7, 5, 1)) -> ShapeError: x | (7, 5, 1) | (7, 5)
check_shape("x", ones(7, 5), ()) -> ShapeError: x | () | (7, 5)
check_shape("W", [[1.0]], (4, None)) -> ShapeError: W | an array | (4, any) | list
check_shape("W", 2.5, (4, None)) -> ShapeError: W | an array | (4, any) | float
check_batch("x", zeros((0, 5))) -> ShapeError: x | empty | (0, 5)
check_batch("x", zeros((7, 0))) -> ShapeError: x | empty | (7, 0)
check_batch("x", zeros(0)) -> ShapeError: x | empty | (0,)
check_batch("x", zeros((7, 0, 3))) -> ShapeError: x | empty | (7, 0, 3)
check_batch("x", [[1.0, 2.0]]) -> ShapeError: x | a first axis of examples | list
check_batch("x", xp.sum(ones(3))) -> ShapeError: x | a first axis of examples | found
check_batch("x", a([[1.0, 2.0, np.nan]])) -> NotFinite: x | 1 of 3 | NaN
check_finite("W", a(ODD, "float64")) -> NotFinite: W | 3 of 8 | NaN or infinite
check_finite("W", a(ODD, "float32")) -> NotFinite: W | 3 of 8 | NaN or infinite
check_finite("x", a([1j, 2.0])) -> ValueRangeError: x | real numbers | complex128
check_finite("x", np.array(["1", "2"])) -> ValueRangeError: x | real numbers | <U1
check_finite("x", np.array([None, 1.0])) -> ValueRangeError: x | real numbers | object
check_count("samples", Far()) -> ValueRangeError: samples | whole number >= 1
    | Far of shape (5, 3), float32
check_count("samples", 10**20) -> ValueRangeError: samples | 9.2e+18
    | 100000000000000000000
check_number("l2", 10**400) -> ValueRangeError: l2 | a number | float64 | 1.8e+308
check_number("l2", "a") -> KfacTypeError: l2 | a number | 'a'
check_flag("bias", 3) -> KfacTypeError: bias | True or False | 3
check_names("names", [3]) -> KfacTypeError: names | a list of names | [3]
check_kind("at", 3, Network, "such as net") -> KfacTypeError: at | a Network | 3
KFAC(net, learning_rate=Far()) -> KfacTypeError: learning_rate
    | Far of shape (5, 3), float32
get_xp(np.ma.masked_array(np.ones((7, 5)))) -> BackendError: a plain array | MaskedArray
    | numpy.asarray
get_xp(np.ones((7, 5)).view(np.matrix)) -> BackendError: a plain array | matrix
"""

ROOMS["network"] = """
Network(3, Categorical()) -> KfacTypeError: layers | [Dense(8, 5), Tanh()] | 3
Network([Dense(4, 3)], Categorical) -> KfacTypeError: distribution
    | such as Categorical() | found
Network([Dense(4, 3)], "categorical") -> KfacTypeError: such as Categorical()
    | 'categorical'
Network([Dense(4, 3)], None) -> KfacTypeError: such as Categorical() | None
net.init(0) -> ValueRangeError: rng | a numpy.random.Generator | int
    | numpy.random.default_rng(seed)
net.init(np.random.RandomState(0)) -> ValueRangeError: rng | a numpy.random.Generator
    | RandomState | numpy.random.default_rng(seed)
net.init(rng, int) -> ValueRangeError: dtype | float64 or float32 | int
net.init(rng, np.float16) -> ValueRangeError: dtype | float64 or float32 | float16
net.predict(None, x) -> ShapeError: params | a list of 3 | 0: Dense(5, 4) | None
net.predict([W.astype("float32"), *rest], x) -> ValueRangeError: params
    | float32 and float64
net.loss(params[:2], x, y) -> ShapeError: params | a list of 3 | 4: Dense(7, 3) | 2
net.loss([W, rest[0].T, rest[1]], x, y) -> ShapeError: layer 2: Dense(4, 7) | W | (5, 7)
    | (7, 5)
net.loss(params, x[:, :4], y) -> ShapeError: layer 0 | Dense(5, 4) | (N, 5) | (11, 4)
net.loss(params, x[:0], y[:0]) -> ShapeError: x | empty | (0, 5)
net.loss(params, with_nan(x), y) -> NotFinite: x | 1 of 55 | NaN or infinite
net.predict([W, with_nan(rest[0]), rest[1]], x) -> NotFinite: params | layer 2 | W
    | 1 of 35
net.loss(params, x, y[:10]) -> ShapeError: labels | (11,) | (10,)
net.loss(params, x, a(np.arange(11) % 4)) -> ValueRangeError: labels | from 0 to 2
    | from 0 to 3
net.loss(params, x, ones(11)) -> ValueRangeError: labels | integers | float64
net.loss(params, x, [1] * 11) -> BackendError: labels | a list of int | numpy.asarray
net.loss(params, x, list(np.ones(11, np.int64))) -> BackendError: labels
    | a list of int64 | numpy.asarray
net.unflatten(ones(102)) -> ShapeError: parameter vector | 83 entries | (102,)
"""

ROOMS["curvature"] = """
fisher_matrix(bare, [], x) -> Unsupported: Tanh() | no parameters | no curvature
curvature(bare, [], x) -> Unsupported: Tanh() | no parameters | no curvature
FisherProduct(bare.linearize([], x)) -> Unsupported: no parameters | no curvature
hessian_matrix(bare, [], host_x, host_y) -> Unsupported: no parameters | no curvature
FisherProduct(at) @ ones(5) -> ShapeError: vector | (83,) or (83, k) | (5,)
HessianProduct(host_at, host_y) @ np.ones(5) -> ShapeError: vector for Hessian | (83,)
    | (5,)
curvature_product("fischer", at) -> UnknownName: 'fischer' | did you mean 'fisher'?
EmpiricalFisherProduct(at, None) -> ValueRangeError: empirical Fisher | labels | y=
ggn_matrix(two_outputs, wide, x) -> ValueRangeError: GGN | observed labels | y=
fisher_matrix(net, params, x, 3) -> ValueRangeError: block | index from 0 to 2 | 3
fisher_matrix(net, params, x, 1.0) -> ValueRangeError: block | whole number >= 0 | 1.0
fisher_matrix(net, params, x, "0") -> ValueRangeError: block | whole number >= 0 | '0'
fisher_matrix(net, params, x, True) -> ValueRangeError: block | whole number | True
fisher_matrix(net, params, x, -1) -> ValueRangeError: block | whole number >= 0 | -1
propagate(at, "sampled", rng=0) -> ValueRangeError: rng | numpy.random.Generator | int
    | numpy.random.default_rng(seed)
propagate(at, "sampled", rng=np.random.RandomState(0)) -> ValueRangeError: rng
    | numpy.random.Generator | RandomState
propagate(at, "sampled", rng=rng, samples=1.5) -> ValueRangeError: samples | >= 1 | 1.5
propagate(at, "sampled", rng=rng, samples="3") -> ValueRangeError: samples | >= 1 | '3'
propagate(at, "sampled", rng=rng, samples=True) -> ValueRangeError: samples | True
propagate(at, "sampled") -> ValueRangeError: Sampled | needs a generator
propagate(at, memory=0) -> ValueRangeError: memory | whole number >= 1 | 0
propagate(at, memory=-5) -> ValueRangeError: memory | whole number >= 1 | -5
propagate(at, memory=None) -> ValueRangeError: memory | whole number >= 1 | None
propagate(at, "empirical") -> ValueRangeError: Empirical | observed labels | y=
propagate(two_outputs.linearize(wide, x), "ggn") -> ValueRangeError: GGN
    | observed labels | y=
next(propagate(two_outputs.linearize(wide, x), "ggn", y=ones(11, 2)).chunks()).g()
    -> Unsupported: NormalMeanVariance | no real square root | use the Fisher
make_estimate("emprical") -> UnknownName: 'emprical' | did you mean 'empirical'?
make_estimate("sampled", 0) -> ValueRangeError: samples | 'sampled' | >= 1 | 0
make_estimate("empirical", 2) -> ValueRangeError: 'empirical' | 1 | draws nothing | 2
make_estimate(Sampled(3), 2) -> ValueRangeError: samples | 3 | Sampled(samples=3) | 2
Expectation(2) -> ValueRangeError: Expectation | 1 | draws nothing | 2
Empirical(2) -> ValueRangeError: Empirical | 1 | draws nothing | 2
propagate(at, OneLabel(), rng=rng) -> ShapeError: labels that estimate OneLabel drew
    | 1 on the first axis | 11
make_structure(found, "kronecker") -> KfacTypeError: name
    | Propagated(names=['0: Dense(5, 4)'
curvature(Network([Flat("a")], Categorical()), [ones(5, 3)], x) -> ShapeError:
    a of layer 0: Flat | (1, any, 5) | (1, 5)
curvature(Network([Flat("g")], Categorical()), [ones(5, 3)], x) -> ShapeError:
    g of layer 0: Flat | (3, 11, 1, 3) | (3, 11, 3)
curvature(shared, narrow, deep, "block_tridiagonal") -> Unsupported: block_tridiagonal
    | fully connected chain | over positions
curvature(mixing, narrow, x, "full", "sampled", rng=rng) -> Unsupported: full
    | mixes the examples | BatchStandardize(mean=..., variance=...)
curvature(mixing, narrow, x) -> Unsupported: Expectation | mixes the examples
    | added up before they are squared | 'sampled'
make_structure("full", subsample_positions(deep_pairs, 0.5, rng)) -> Unsupported: full
    | all positions of an example | 'kronecker'
given_pairs(3, [g]) -> KfacTypeError: a | a list | 3
given_pairs([[1.0]], [g]) -> ShapeError: a | an array | list
given_pairs([a5], [g], names=["one", "two"]) -> ShapeError: names | 1 | 2
given_pairs([a5.astype(int)], [g]) -> ValueRangeError: a and g | float64 and int64
given_pairs([a5, a5], [g]) -> ShapeError: a and g | one of each per block | 2, 1
given_pairs([a5, a5], [g, g[:, :4]]) -> ShapeError: g of block 1 | (2, 5, 1, d_out)
    | (2, 4, 1, 7)
given_pairs([a5], [with_nan(g)]) -> NotFinite: g of block 0 | 1 of 70 | NaN

model([[1.0, 0.0], [1.0, 1.0]], -5 * np.eye(2)).solve(0.5) -> NotPositiveDefinite:
    the quadratic model | lambda = 0.5
model([[1.0, 0.0], [1.0, 1.0, 1.0]]) -> ShapeError: direction 1 | (2,) | (3,)
quadratic_model(3, ones(2), DenseMatrix(G)) -> ShapeError: directions | a list | 3
quadratic_model([ones(3)], ones(3), DenseMatrix(G), l2=-1.0) -> ValueRangeError: l2
    | >= 0 | -1.0
quadratic_model([ones(3)], ones(3), DenseMatrix(G), l2=a([0.0, np.nan, 1.0])) ->
    NotFinite: l2 | 1 of 3 | NaN
quadratic_model([ones(3)], with_nan(ones(5)), F) -> NotFinite: gradient | 1 of 5 | NaN
quadratic_model([ones(3)], a([1, 2, 3]), DenseMatrix(G)) -> ValueRangeError: gradient
    | float64 or float32 | int64
model([]) -> ShapeError: directions | at least one | none
model([[1.0, 0.0], [1.0, 1.0]]).value([1.0], 0.5) -> ValueRangeError: 2 finite numbers
model([[1.0, 0.0], [1.0, 1.0]]).solve(0.5, fixed={2: 1.0}) -> ValueRangeError: fixed
    | index from 0 to 1 | 2
model([[1.0, 0.0]]).solve(-0.5) -> ValueRangeError: damping | >= 0 | -0.5
reduction_ratio(2.0, 1.7, 0.0) -> ValueRangeError: reduction_ratio | change of zero
"""

ROOMS["damping"] = """
factored_tikhonov(K, 0.37, 0) -> ValueRangeError: pi | 'trace' | 0
factored_tikhonov(K, 0.37, -0.6) -> ValueRangeError: pi | 'trace' | -0.6
factored_tikhonov(K, 0.37, np.nan) -> ValueRangeError: pi | 'trace' | nan
factored_tikhonov(K, 0.37, np.inf) -> ValueRangeError: pi | 'trace' | inf
separate(K, 0.37, 0.37, "tracing") -> UnknownName: pi | 'tracing' | mean 'trace'?
factored_tikhonov(KroneckerProduct(-1 * A, G, "layer 1"), 0.37) -> ValueRangeError:
    layer 1 | pi = 'trace' | positive size | for A | for G | pass pi as a number
tikhonov(K, -0.37) -> ValueRangeError: damping | >= 0 | -0.37
factored_tikhonov(K, -0.37) -> ValueRangeError: damping | >= 0 | -0.37
same_on_each_factor(K, -0.37) -> ValueRangeError: damping | >= 0 | -0.37
separate(K, -1, 0.37) -> ValueRangeError: separate, activations | >= 0 | -1
separate(K, 0.37, np.nan) -> ValueRangeError: separate, errors | >= 0 | nan
separate(K, 0.37, 0.37, scale=0.37) -> ValueRangeError: separate, shift | >= 0 | None
separate(DenseMatrix(A, "layer 2"), 0.37, 0.37, scale=1, shift=1) -> ShapeError: layer 2
    | an even size | 5
tikhonov([A], 0.37) -> KfacTypeError: Tikhonov damping | a matrix | found
by_kind(K, 0.37, kronecker=3) -> KfacTypeError: kronecker | a function | 3
make_rule("tikonov") -> UnknownName: damping rule 'tikonov' | did you mean 'tikhonov'?
"""

ROOMS["comparison"] = """
relative_frobenius_error(DenseMatrix(G), F) -> ShapeError: exact one, 5 | 3
angle(F, F, zeros(5), 0.1) -> ValueRangeError: a zero has no direction
inverse_error(F, DenseMatrix(ones(5, 5)), 0.0) -> NotPositiveDefinite: lambda = 0
relative_spectral_error(F, DenseMatrix(0 * A, "M")) -> ValueRangeError: M
    | exact matrix is zero
compare(F, {"F": F}, 3, 0.1) -> KfacTypeError: gradient | a list of matrices | 3
compare(F, {"F": F}, [v], 0.1, progress=3) -> KfacTypeError: progress | a function | 3
compare(F, [F], [v], 0.1) -> KfacTypeError: approximations | a dict | list
compare(F, {"f": abs}, [v], 0.1) -> KfacTypeError: approximation 'f' | a matrix | abs
compare(F, {"t": tridiagonal}, [v], 0.1) -> ValueRangeError: 't' is damped already
    | rule=factored_tikhonov
compare(tikhonov(F, 0.1), {"F": F}, [v], 0.1) -> ValueRangeError: exact
    | is damped already
compare(F, {"F": F}, [v], 0.1, rule="tikonov") -> UnknownName: rule 'tikonov'
    | did you mean 'tikhonov'?
compare(F, {"F": (F, 0.1)}, [v], 0.1) -> KfacTypeError: rule of approximation 'F'
    | a function | 0.1
compare(F, {"F": F}, [v], 0.1, rule="separate") -> ValueRangeError: rule 'separate'
    | its numbers are its own | separate(matrix
compare(F, {"F": F}, [v], 0.1, rule="factored_tikhonov") -> Unsupported:
    needs a Kronecker product | DenseMatrix
compare(F, {"F": F}, [v], 0.1, rule=lambda M, damping: damping) -> KfacTypeError:
    'F', damped by its rule | a matrix | 0.1
compare(F, {"F": F}, [v[:1], v[1:]], 0.1, ["a", "a"]) -> ShapeError: names
    | 2 different ones | a, a
compare(F, {"F": F}, [v, v[0]], 0.1) -> ShapeError: gradient of layer 1 | (5,)
compare(F, {"F": F}, [v[:, :2]], 0.1) -> ShapeError: gradient | 5 numbers in all | 2
compare(F, {"small": DenseMatrix(G)}, [v], 0.1) -> ShapeError: 'small' | exact one, 5
    | 3
compare(F, {}, [v], 0.1) -> ShapeError: approximations | at least one
compare(F, {"F": F}, [v[:, :1] * np.nan, v[:, 1:]], 0.1) -> NotFinite:
    gradient of layer 0 | 1 of 1
compare(F, {"F": F}, [v], 0.1).row("f") -> UnknownName: 'f' | did you mean 'F'?
compare(F, {"F": F}, [v], 0.1).row("F", "dens") -> UnknownName: unknown layer 'dens'
make_structure("kronecker", found, damping=0.1) -> KfacTypeError: make_structure
    | unknown argument 'damping' | is damped after | known: name, pairs
curvature(net, params, x, damping=0.1) -> KfacTypeError: curvature
    | unknown argument 'damping' | is damped after | memory
"""

# Families: every call of the table, put into the braces of every place; the braces of
# the facts take what the place is called.

BAD_MATRICES = """
ones(5, 3) -> ShapeError: {} | (5, 5) | (5, 3)
ones(5) -> ShapeError: {} | (any, any) | (5,)
[[1.0]] -> ShapeError: {} | an array | list
ones(0, 0) -> ShapeError: {} | empty | (0, 0)
a(np.triu(np.full((5, 5), 2.0))) -> ValueRangeError: {} | symmetric | by up to 2
a(np.full((5, 5), np.nan)) -> NotFinite: {} | 25 of 25 | NaN
a(np.diag([1, np.inf])) -> NotFinite: {} | 1 of 4 | NaN or infinite
a(np.ones((5, 5), int)) -> ValueRangeError: {} | float64 or float32 | int64
a(np.ones((5, 5), complex)) -> ValueRangeError: {} | float64 or float32 | complex128
"""
FACTORS = {
    "DenseMatrix({}, 'layer 2')": "layer 2",
    "KroneckerProduct({}, G, 'layer 2')": "layer 2 | factor A",
    "KroneckerProduct(G, {}, 'layer 2')": "layer 2 | factor G",
    "KroneckerDifference(G, G, G, {}, 'layer 2')": "layer 2 | factor D",
}
NO_PRODUCTS = """
DenseMatrix(A, "layer 2") -> Unsupported: layer 2 | {} needs | DenseMatrix
    | tikhonov(matrix, damping) | solve(v, damping) | by_kind
BlockDiagonalMatrix([DenseMatrix(A, "layer 2")]) -> Unsupported: layer 2 | {} needs
    | DenseMatrix
eigen -> Unsupported: the matrix | {} needs | EigenKronecker | eigenvalues need not be
tridiagonal -> Unsupported: chain of | {} needs | BlockTridiagonalInverse | damp it
[A] -> KfacTypeError: {} | a matrix | found
"""
RULES = {
    "factored_tikhonov({}, 0.37)": "factored Tikhonov damping",
    "same_on_each_factor({}, 0.37)": "lambda = 0.37 on each factor",
    "separate({}, 0.37, 0.37)": "separate damping",
}
FAMILIES = [(BAD_MATRICES, FACTORS), (NO_PRODUCTS, RULES)]

# Arrays of the stand-in for CuPy, which `there` makes, beside those of the host.
TWO_BACKENDS = """
Dense(5, 3).forward([there(6, 3)], np.ones((7, 5))) -> BackendError: cupy, numpy
Conv2d(2, 3, 2).forward([there(9, 3)], np.ones((7, 5, 4, 2))) -> BackendError: cupy
ScaleShift(5).forward([there(2, 5)], np.ones((7, 5))) -> BackendError: cupy, numpy
Embedding(5, 3).forward([there(5, 3)], np.ones(7, int)) -> BackendError: cupy, numpy
KroneckerProduct(np.eye(3), there(1, 1)) -> BackendError: cupy, numpy
BlockDiagonalMatrix([DenseMatrix(np.eye(3)), DenseMatrix(there(1, 1))]) -> BackendError:
    cupy, numpy
DenseMatrix(np.eye(3)) @ there(3) -> BackendError: cupy, numpy
DenseMatrix(there(1, 1)).solve(np.ones(1)) -> BackendError: cupy, numpy
net.gradient(params, there(11, 5), y) -> BackendError: two backends | cupy, numpy
    | kfac_ref.backend.asarray
HessianProduct(*elsewhere()) -> BackendError: autograd | host arrays only
"""
