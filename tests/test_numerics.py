"""Accuracy of exp, tanh, sigmoid, softmax and log.

The limits of the first three are the numerics contract's. None of them may fall where it should
rise.

An error is |found - exact| in ulp(exact) = 2^(floor(log2 |exact|) - mantissa bits), at least the
smallest subnormal. Engines compute without subnormal numbers: such an x counts as zero, and zero is
right where the exact value is subnormal, or about to round to one. Exact values come from float64
for float32, and from `decimal` for float64.
`bench/ulp.py` does the same for all 2^32 numbers of float32.
"""

import decimal
import math
from decimal import Decimal

import numpy as np
import pytest

from fastnn.activations import ACTIVATIONS
from fastnn.losses import LOSSES
from fastnn.program import build, pairs

DTYPES = ["float32", "float64"]
LIMITS = {"exp": 1.0, "tanh": 1.0, "sigmoid": 1.5, "gelu": 3.2}  # ulp, of builds with fused
LIMITS |= {"elu": 1.1, "selu": 2.0, "silu": 2.5, "softplus": 2.8, "softsign": 2.0, "mish": 4.0}
LIMITS |= {"gelu_tanh": 3.2, "exponential": 1.0}
ROUNDED_TWICE = 4.0  # multiply-add, and of any function where both are rounded;
TAIL = 0.5  # more times z^2, there, of gelu, whose e^(-z^2 / 2) needs what rounding leaves out
LOG_LIMIT = 2.0
NEVER = -1e4  # a logit whose exponential is 0


def program(name, dtype, width=1, loss="mean_squared_error"):
    """h = g(x): the weights are the identity."""
    identity = build([width, width], [ACTIVATIONS[name]], LOSSES[loss].code, dtype)
    ((weights, _),) = pairs(identity, identity.parameters)
    weights[...] = np.eye(width)
    return identity


def forward(core, net, x):
    out = np.full((len(x), net.outputs), np.nan, net.dtype)
    core(net.dtype.name).forward(net, x, out, 1)
    return out


def function(core, name, dtype):
    """g of numbers (n,), as a layer computes it; exp is no layer's."""

    def exp(x):
        out = np.full_like(x, np.nan)
        core(dtype).evaluate_function("exp", x, out)
        return out

    if name == "exp":
        return exp
    net = program(name, dtype)
    return lambda x: forward(core, net, np.asarray(x, dtype)[:, None])[:, 0]


def sigmoid64(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def sigmoid_decimal(x):
    e = (-abs(x)).exp()
    return (e if x < 0 else 1) / (1 + e)


def tanh_decimal(x):
    e = (-2 * abs(x)).exp()
    return (1 - e) / (1 + e) if x > 0 else -(1 - e) / (1 + e)


def gelu64(x):
    return x * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2


def density_decimal(x):
    """e^(-x^2 / 2) / sqrt(2 pi)."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640629")
    return (-x * x / 2).exp() / (2 * pi).sqrt()


def upper_tail_decimal(a):
    """The normal distribution beyond a >= 0: a series below 8, then Laplace's fraction."""
    if a < 8:
        term, total, k = a, a, 1
        while term > total * Decimal(10) ** -60:
            k += 2
            term = term * a * a / k
            total += term
        return Decimal(1) / 2 - density_decimal(a) * total
    fraction = a
    for k in range(250, 0, -1):
        fraction = a + k / fraction
    return density_decimal(a) / fraction


def gelu_decimal(x):
    tail = upper_tail_decimal(abs(x))
    return x * (tail if x < 0 else 1 - tail)


def expm1_decimal(x):
    return x + x * x / 2 if abs(x) < Decimal(10) ** -25 else x.exp() - 1


def softplus_decimal(x):
    e = (-abs(x)).exp()
    return max(x, Decimal(0)) + (e - e * e / 2 if e < Decimal(10) ** -25 else (1 + e).ln())


def mish64(x):
    w = np.exp(np.minimum(x, 40))
    return x * (w * (w + 2) / (w * (w + 2) + 2))


def mish_decimal(x):
    w = min(x, Decimal(100)).exp()
    return x * (w * (w + 2) / (w * (w + 2) + 2))


SELU = Decimal("1.0507009873554804934193349852946"), Decimal("1.6732632423543772848170429916717")
EXACT = {
    "exponential": (np.exp, Decimal.exp),
    "elu": (
        lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
        lambda x: expm1_decimal(x) if x < 0 else x,
    ),
    "selu": (
        lambda x: float(SELU[0]) * np.where(x < 0, float(SELU[1]) * np.expm1(np.minimum(x, 0)), x),
        lambda x: SELU[0] * (SELU[1] * expm1_decimal(x) if x < 0 else x),
    ),
    "silu": (lambda x: x * sigmoid64(x), lambda x: x * sigmoid_decimal(x)),
    "softplus": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        softplus_decimal,
    ),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: x / (1 + abs(x))),
    "mish": (mish64, mish_decimal),
    "exp": (np.exp, Decimal.exp),
    "tanh": (np.tanh, tanh_decimal),
    "sigmoid": (sigmoid64, sigmoid_decimal),
    "gelu": (gelu64, gelu_decimal),
}


def ulp_errors(found, x, name):
    """The errors (n,) of `found`, which should be the function of x."""
    kind = np.finfo(found.dtype)
    tiny = float(kind.tiny)
    x = np.where(np.abs(x) < kind.tiny, 0, x).astype(found.dtype)
    if found.dtype == np.float32:
        exact = EXACT[name][0](x.astype("float64"))
        exponent = np.frexp(exact)[1] - 1
        ulp = np.ldexp(1.0, np.maximum(exponent, kind.minexp) - kind.nmant)
        flushed = (found == 0) & (np.abs(exact) < tiny * (1 + 4 * kind.eps))
        return np.where(flushed, 0, np.abs(found - exact) / ulp)
    errors = []
    with decimal.localcontext(prec=60):
        for value, argument in zip(found.tolist(), x.tolist(), strict=True):
            exact = EXACT[name][1](Decimal(argument))
            if value == 0 and abs(float(exact)) < tiny * (1 + 4 * float(kind.eps)):
                errors.append(0.0)
                continue
            exponent = max(math.frexp(float(exact))[1] - 1, kind.minexp)
            ulp = Decimal(2) ** (exponent - kind.nmant)
            errors.append(float(abs(Decimal(value) - exact) / ulp))
    return np.array(errors)


def fuses(core):
    """Whether the engine multiplies and adds with one rounding: s^2 - (1 + 2^-11) = 2^-24."""
    s = 1 + 2.0**-12
    net = program("identity", "float32", width=2)
    net.parameters[:2], net.parameters[2] = -(1 + 2.0**-11), s
    return forward(core, net, np.array([[1, s]], np.float32))[0, 0] == 2.0**-24


def limit(core, name, x=0.0):
    if fuses(core):
        return LIMITS[name]
    return ROUNDED_TWICE + (TAIL * x * x if name == "gelu" else 0)


def arguments(name, dtype, count):
    """A dense sample of what a network may meet: all magnitudes, the slopes, the tails."""
    random = np.random.default_rng(0)
    tail = 745.5 if dtype == "float64" else 104.5  # beyond it exp rounds to 0
    parts = [
        random.uniform(-1, 1, count),
        random.uniform(-12, 12, count),
        random.uniform(-tail, tail, count),
        np.exp2(random.uniform(-140, 10, count)),  # some are subnormal in float32
        -np.exp2(random.uniform(-140, 10, count)),
        -tail + random.uniform(0, 20, count),  # results are subnormal
        np.arange(-64, 65) * (math.log(2) / 2),  # where the powers of two change
        [-5.891182899475098, -50.24914, 15.62678, 15.6267796],  # hard for exp in float32
        [0.0, -0.0, 1e30, -1e30, np.finfo(dtype).max, -np.finfo(dtype).max],
        [np.finfo(dtype).smallest_subnormal, -np.finfo(dtype).smallest_subnormal],
    ]
    x = np.concatenate(parts).astype(dtype)
    return x[x < (88.72 if dtype == "float32" else 709.78)] if name == "exp" else x


@pytest.fixture(params=["exp", "tanh", "sigmoid"])
def name(request):
    return request.param


def check_accuracy(core, name, x):
    errors = ulp_errors(function(core, name, x.dtype.name)(x), x, name)
    worst = (errors / limit(core, name, x.astype("float64"))).argmax()
    assert errors[worst] <= limit(core, name, float(x[worst])), f"at {x[worst]!r}"


@pytest.mark.parametrize(("dtype", "count"), [("float32", 30_000), ("float64", 800)])
def test_accuracy(compiled, name, dtype, count):
    check_accuracy(compiled, name, arguments(name, dtype, count))


@pytest.mark.parametrize(
    ("dtype", "count", "tail"), [("float32", 20_000, 13), ("float64", 150, 37)]
)
def test_accuracy_of_gelu(compiled, dtype, count, tail):
    """Down to where its results are subnormal, and beyond."""
    random = np.random.default_rng(0)
    parts = [
        random.uniform(-1, 1, count),
        random.uniform(-tail, 9, count),
        -tail + random.uniform(-2, 1, count),
        np.exp2(random.uniform(-120, 10, count)) * random.choice([-1, 1], count),
        [0.0, 1e30, -1e30, -0.751791524693564],
    ]
    x = np.concatenate(parts).astype(dtype)
    if not fuses(compiled):  # the last results that are normal numbers become zero there
        x = x[(x > 0.95 * -tail) | (x < -tail - 1)]
    check_accuracy(compiled, "gelu", x)


@pytest.mark.parametrize("name", ["elu", "selu", "silu", "softplus", "softsign", "mish"])
@pytest.mark.parametrize(("dtype", "count"), [("float32", 20_000), ("float64", 300)])
def test_accuracy_of_other_activations(compiled, name, dtype, count):
    """Where e^-|x| is a normal number, and the result is finite."""
    x = arguments(name, dtype, count)
    inside = (x > (-87 if dtype == "float32" else -708)) & (x < np.finfo(dtype).max / 2)
    check_accuracy(compiled, name, x[inside])


@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy_of_gelu_by_tanh(compiled, dtype):
    """Its gate is a sigmoid of a polynomial, whose rounding error the exponential multiplies."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.uniform(-1, 1, 500), random.uniform(-8, 30, 500)]).astype(dtype)
    wide = x.astype(np.longdouble)
    argument = 2 * np.sqrt(2 / np.longdouble(np.pi)) * (wide + np.longdouble("0.044715") * wide**3)
    exact = wide / (1 + np.exp(-argument))
    found = function(compiled, "gelu_tanh", dtype)(x)
    bound = (LIMITS["gelu_tanh"] + 3 * np.abs(argument)) * np.finfo(dtype).eps * np.abs(exact)
    assert (np.abs(found - exact) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_other_activations(compiled, dtype):
    ends = {
        "elu": [np.inf, -1, 0],
        "selu": [np.inf, np.array(-1.7580993408473768, dtype), 0],
        "gelu_tanh": [np.inf, 0, 0],
        "silu": [np.inf, 0, 0],
        "softplus": [np.inf, 0, np.array(np.log(2), dtype)],
        "softsign": [1, -1, 0],
        "mish": [np.inf, 0, 0],
        "exponential": [np.inf, 0, 1],
        "hard_sigmoid": [1, 0, 0.5],
        "hard_tanh": [1, -1, 0],
    }
    for name, expected in ends.items():
        *found, kept = function(compiled, name, dtype)([np.inf, -np.inf, 0, np.nan])
        assert found == expected, name
        assert np.isnan(kept), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_derivative_of_gelu(compiled, dtype):
    """In ulp of the larger of its two terms, which cancel near -0.75."""
    z = np.random.default_rng(0).uniform(-13, 9, 2000).astype(dtype)
    net = program("gelu", dtype)
    dz = np.empty((len(z), 1), dtype)
    arena = np.zeros(len(net.parameters), dtype)
    compiled(dtype).backward(net, z[:, None], np.ones((len(z), 1), dtype), arena, dz, 1)
    with decimal.localcontext(prec=60):
        for value, found in zip(map(Decimal, z.tolist()), dz[:, 0].tolist(), strict=True):
            tail, density = upper_tail_decimal(abs(value)), density_decimal(value)
            cdf = tail if value < 0 else 1 - tail
            scale = max(cdf, abs(value) * density)
            error = abs(Decimal(found) - (cdf + value * density)) / scale
            bound = limit(compiled, "gelu", float(value)) * float(np.finfo(dtype).eps)
            assert error <= Decimal(bound), value


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_gelu(compiled, dtype):
    gelu = function(compiled, "gelu", dtype)
    assert gelu([np.inf, -np.inf, 0.0, 20.0, -1e9]).tolist() == [np.inf, 0, 0, 20, 0]


def neighbours(start, count, dtype):
    """That many consecutive numbers, ascending, whose middle is `start` (not 0)."""
    bits = {"float32": np.int32, "float64": np.int64}[dtype]
    middle = int(np.array(start, dtype).view(bits))
    numbers = np.arange(middle - count // 2, middle + count // 2, dtype=bits).view(dtype)
    assert np.isfinite(numbers).all()
    return np.sort(numbers)


@pytest.mark.parametrize("dtype", DTYPES)
def test_larger_numbers_never_have_smaller_results(compiled, name, dtype):
    """Results fall, if they do, where a slope is steep or a formula changes."""
    random = np.random.default_rng(1)
    places = np.concatenate(
        [
            np.arange(1, 80) * (math.log(2) / 4),  # where the powers of two change
            2.0 ** np.arange(-14, 6),
            np.arange(0.05, 1.2, 0.03),
            random.uniform(0, 10, 20),
            random.uniform(10, 88, 5),
            [0.2484, 0.5625, 8.317, 9.0107, 9.0109, 10, 16.6355, 18.7149, 19.06, 20, 87.336, 88.72],
        ]
    )
    compute = function(compiled, name, dtype)
    for place in np.concatenate([places, -places]) if fuses(compiled) else []:
        x = neighbours(place, 8192, dtype)
        found = compute(x)
        falls = np.flatnonzero(found[1:] < found[:-1])
        assert not len(falls), f"{len(falls)} falls, the first at {x[falls[0] + 1]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_the_ends(compiled, dtype):
    x = [-np.inf, np.inf, -1e30, 1e30]
    assert function(compiled, "tanh", dtype)(x).tolist() == [-1, 1, -1, 1]
    assert function(compiled, "sigmoid", dtype)(x).tolist() == [0, 1, 0, 1]
    assert function(compiled, "relu", dtype)([-np.inf, np.inf]).tolist() == [0, np.inf]
    z = np.array([[0, -np.inf], [-1e30, 1e30]], dtype)  # an infinity times 0 would be NaN
    net = program("softmax", dtype, width=2)
    net.parameters[:4] = 0
    ((_, biases),) = pairs(net, net.parameters)
    for logits, expected in zip(z, [[1, 0], [0, 1]], strict=True):
        biases[...] = logits
        assert forward(compiled, net, np.zeros((1, 2), dtype)).tolist() == [expected]


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero(compiled, dtype):
    assert function(compiled, "sigmoid", dtype)([0.0, -0.0]).tolist() == [0.5, 0.5]
    for name in ("tanh", "identity"):
        assert function(compiled, name, dtype)([0.0, -0.0]).tolist() == [0, 0]
    if not fuses(compiled):
        return
    # -0 as z: a product too small for one rounding, next to a bias of -0
    net = program("tanh", dtype)
    ((weights, biases),) = pairs(net, net.parameters)
    weights[...], biases[...] = np.finfo(dtype).tiny, -0.0
    found = forward(compiled, net, np.array([[-np.finfo(dtype).tiny]], dtype))
    assert found == 0
    assert np.signbit(found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_kept_and_stays_in_its_row(compiled, dtype):
    bits = {"float32": np.uint32, "float64": np.uint64}[dtype]
    quiet = np.array([np.nan, -np.nan], dtype).view(bits)
    nans = np.concatenate([quiet, quiet + bits(1), quiet + bits(12345)]).view(dtype)
    assert np.isnan(function(compiled, "exp", dtype)(nans)).all()
    for name in ACTIVATIONS:
        width = 3 if name == "softmax" else 1
        net = program(name, dtype, width)
        for position in range(width):
            x = np.zeros((3 * len(nans), width), dtype)
            x[1::3, position] = nans
            found = forward(compiled, net, x)
            assert np.isnan(found[1::3]).all()
            assert not np.isnan(found[0::3]).any()
            assert not np.isnan(found[2::3]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_symmetry_and_range(compiled, dtype):
    x = np.abs(arguments("tanh", dtype, 2000))
    tanh, sigmoid = (function(compiled, name, dtype) for name in ("tanh", "sigmoid"))
    assert tanh(-x).tobytes() == (-tanh(x)).tobytes() or not x.all()
    assert (tanh(-x) == -tanh(x)).all()
    assert (np.abs(tanh(x)) <= 1).all()
    assert (sigmoid(x) >= 0.5).all()
    assert (sigmoid(x) <= 1).all()
    assert (sigmoid(-x) >= 0).all()
    eps = float(np.finfo(dtype).eps)
    assert np.abs(sigmoid(x).astype("float64") + sigmoid(-x) - 1).max() <= 2 * eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_of_small_numbers_is_the_number(compiled, dtype):
    kind = np.finfo(dtype)
    x = np.exp2(np.random.default_rng(0).uniform(kind.minexp, -60, 5000))
    x = np.concatenate([x, -x, [kind.tiny]]).astype(dtype)
    assert function(compiled, "tanh", dtype)(x).tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "identity", "relu", "leaky_relu"])
def test_subnormal_inputs_count_as_zero(compiled, activation, dtype):
    kind = np.finfo(dtype)
    x = np.exp2(np.random.default_rng(0).uniform(kind.minexp - kind.nmant, kind.minexp, 5000))
    x = np.concatenate([x, -x, [kind.smallest_subnormal]]).astype(dtype)
    assert not function(compiled, activation, dtype)(x[np.abs(x) < kind.tiny]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_never_subnormal(compiled, name, dtype):
    found = function(compiled, name, dtype)(arguments(name, dtype, 20_000))
    assert not ((found != 0) & (np.abs(found) < np.finfo(dtype).tiny)).any()


# Softmax.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [2, 3, 10, 33, 300])
@pytest.mark.parametrize("spread", [1, 30, 300])
def test_softmax(compiled, dtype, width, spread):
    """Each p has the error of z - max z, of exp, of the sum (in float64) and of two roundings."""
    random = np.random.default_rng(width)
    z = (random.normal(size=(40, width)) * spread).astype(dtype)
    z[::4] += 1000 * spread  # shared by all: changes nothing but how z is rounded
    p = forward(compiled, program("softmax", dtype, width), z)
    wide = z.astype(np.longdouble)
    wide -= wide.max(axis=1, keepdims=True)
    exact = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    kind = np.finfo(dtype)
    units = np.abs(wide) / 2 + limit(compiled, "exp") + 1.5
    sums = width * np.finfo("float64").eps
    bound = exact * (units * kind.eps + sums) + kind.tiny  # below it, zero
    extended = np.abs(exact) * width * 4 * float(np.finfo(np.longdouble).eps) * (1 + np.abs(wide))
    assert (np.abs(p - exact) <= bound + extended).all()
    assert np.abs(p.astype("float64").sum(axis=1) - 1).max() <= width * kind.eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_equal_logits(compiled, dtype):
    for width, value in ((2, 0.0), (3, -7.5), (64, 1e30), (64, -1e30)):
        net = program("softmax", dtype, width)
        net.parameters[: width * width] = 0
        pairs(net, net.parameters)[0][1][...] = value
        p = forward(compiled, net, np.zeros((1, width), dtype))
        assert p.tolist() == [[np.dtype(dtype).type(1 / width)] * width]


# Log, in the losses: always in float64.


def loss_of(core, logits, y, loss):
    """The loss of one row with these logits."""
    logits = np.asarray(logits, "float64")
    net = program("softmax" if loss == "cross_entropy" else "sigmoid", "float64", len(logits), loss)
    net.parameters[: len(logits) ** 2] = 0
    pairs(net, net.parameters)[0][1][...] = logits
    return core("float64").evaluate(net, np.zeros((1, len(logits))), y, 1)[0]


def test_log_of_whole_numbers(compiled):
    """Cross-entropy where k logits are 0 and the others far below: log k."""
    width = 700
    net = program("softmax", "float64", width, "cross_entropy")
    net.parameters[: width * width] = 0
    ((_, biases),) = pairs(net, net.parameters)
    x, label = np.zeros((1, width)), np.zeros(1, np.int64)
    for k in range(1, width + 1):
        biases[...] = np.where(np.arange(width) < k, 0, NEVER)
        found = compiled(net.dtype.name).evaluate(net, x, label, 1)[0]
        exact = Decimal(k).ln()
        ulp = math.ulp(float(exact))
        assert abs(float(Decimal(found) - exact)) <= LOG_LIMIT * ulp, k


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_log_of_one_plus_e(compiled, loss):
    """log(1 + e^-z), whose argument is rounded: an absolute error of eps / 2, and that of e."""
    eps = float(np.finfo("float64").eps)
    for z in np.random.default_rng(0).uniform(0, 40, 300).tolist():
        exact = (1 + (-Decimal(z)).exp()).ln()
        if loss == "cross_entropy":
            found = loss_of(compiled, [0, -z], np.zeros(1, np.int64), loss)
        else:
            found = loss_of(compiled, [z], np.ones((1, 1)), loss)
        error = abs(float(Decimal(found) - exact))
        assert error <= LOG_LIMIT * math.ulp(float(exact)) + eps / 2 + eps * math.exp(-z)


def test_losses_of_large_logits(compiled):
    """They are linear far from the target, and neither overflow nor vanish."""
    for z in (50.0, 1e4, 1e300):
        label = np.ones(1, np.int64)
        assert loss_of(compiled, [z, 0], label, "cross_entropy") == z
        assert loss_of(compiled, [0, z], label, "cross_entropy") == pytest.approx(0, abs=1e-15)
        assert loss_of(compiled, [z], np.zeros((1, 1)), "binary_cross_entropy") == z
        assert loss_of(compiled, [-z], np.ones((1, 1)), "binary_cross_entropy") == z
