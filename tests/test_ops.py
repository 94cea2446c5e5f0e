"""Ops in any order that a program may have them: chains, branches, sums, dropout anywhere.

Compiled engines against the reference, in float64; the same bits on any number of threads and every
build that fuses; and programs that do not fit, which no engine runs.
"""

import copy
import itertools
import re
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fastnn import engine, program, reference
from fastnn.activations import ACTIVATIONS
from fastnn.losses import LOSSES
from fastnn.optimizers import SGD, AdamW, Group, ScheduleFreeAdamW
from fastnn.program import (
    ACTIVATE,
    ADD,
    BARE,
    BLOCK,
    CODE,
    COLUMNS,
    DROPOUT,
    EMBED,
    KIND,
    OTHER,
    PENALTY,
    PRELU,
    ROW_NORM,
    SCALE,
    SOFTMAX,
    SOURCE,
    START,
    WIDTH,
    WIDTH_OF_ROW,
    Builder,
    prepare,
    zeros_like_parameters,
)

COMPILED = [name for name in engine.available() if name != "reference"]
FUSED = [name for name in COMPILED if name != "baseline"]
OPTIMIZER = SGD(0.05, momentum=0.5)
RULES = {  # one of each way from a gradient to weights; an epsilon that hides no rounding of 0
    "groups": AdamW(0.05, epsilon=1e-2, groups={"biases": Group(0.5, 3.0, 0.0), 1: Group(0.0)}),
    "clipvalue": SGD(0.05, momentum=0.5, clipvalue=1e-3, weight_decay=0.1),
    "clipnorm": SGD(0.05, momentum=0.5, clipnorm=0.02),
    "global_clipnorm": SGD(0.05, global_clipnorm=0.1),
    "accumulation": SGD(0.05, gradient_accumulation_steps=2, global_clipnorm=0.1),
    "accumulation alone": SGD(0.05, momentum=0.5, gradient_accumulation_steps=3),
    "averages": SGD(0.05, momentum=0.5, use_ema=True, ema_momentum=0.5),
    "schedule-free": ScheduleFreeAdamW(0.05, epsilon=1e-2),
}
ELEMENTWISE = sorted(name for name, a in ACTIVATIONS.items() if a.kind == ACTIVATE)
KINDS = ["dense", "dense", "activate", "softmax", "dropout", "add", "scale", "row_norm", "prelu"]
KINDS += ["blend", "column_norm", "embed"]


def filled(made, seed=0):
    """The program with random weights of a usual size."""
    random = np.random.default_rng(seed)
    for name, view in program.views(made, made.parameters).items():
        view[...] = random.normal(size=view.shape) / (np.sqrt(len(view)) if view.ndim == 2 else 4)
        if name.endswith(".running_variance"):
            view[...] = random.uniform(0.1, 1, view.shape)
    return made


def residual(dtype="float64", loss="cross_entropy"):
    """Two branches that are added, dropout on the input and within one of them."""
    builder = Builder(37)
    x = builder.dropout(0, 0.2)
    h = builder.activate(builder.dense(x, 131, "layers.0"), ACTIVATIONS["relu"])
    branch = builder.dropout(builder.dense(h, 131, "layers.1"), 0.4)
    branch = builder.activate(branch, ACTIVATIONS["gelu"])
    both = builder.add(h, branch)
    z = builder.dense(both, 8, "layers.2")
    output = builder.activate(z, ACTIVATIONS[LOSSES[loss].output or "tanh"])
    return filled(
        builder.program([h, both, output], LOSSES[loss].code, dtype, 0.5, 7, LOSSES[loss].numbers)
    )


def normalised(dtype="float64", loss="cross_entropy", width=131):
    """Columns normalised in both branches, in place and not, of a small layer, and at the ends."""
    builder = Builder(37)
    x = builder.dropout(builder.column_norm(0, 0.1, 0.01, "layers.n0"), 0.2)
    h = builder.dense(x, width, "layers.0")
    h = builder.scale(builder.column_norm(h, 0.2, 0.1, "layers.n1"), "layers.s1", shift=True)
    h = builder.activate(h, ACTIVATIONS["relu"])
    branch = builder.dense(h, width, "layers.1")
    branch = builder.column_norm(builder.add(branch, h), 1.0, 0.1, "layers.n2")
    both = builder.add(h, builder.activate(branch, ACTIVATIONS["gelu"]))
    small = builder.column_norm(builder.dense(both, 3, "layers.2"), 0.3, 0.1, "layers.n3")
    small = builder.scale(small, "layers.s3", shift=True)
    z = builder.dense(small, 8, "layers.3")
    output = LOSSES[loss].output
    output = builder.activate(z, ACTIVATIONS[output]) if output else z
    if not LOSSES[loss].output:
        output = builder.column_norm(output, 0.5, 0.1, "layers.n4")
    numbers = LOSSES[loss].numbers
    made = builder.program([h, small, output], LOSSES[loss].code, dtype, 0.5, 7, numbers)
    return filled(made)


@st.composite
def programs(draw):
    """Up to eight ops on values drawn from those before; then what is not yet read is added up."""
    builder = Builder(draw(st.sampled_from([1, 5, 70, 131])))
    values, width = [0], st.sampled_from([1, 16, 66, 130])
    for number in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(values))
        kind = draw(st.sampled_from(KINDS))
        if kind == "dense":
            with_biases = draw(st.booleans())
            values.append(builder.dense(source, draw(width), f"layers.{number}", with_biases))
        elif kind == "activate":
            name = draw(st.sampled_from([name for name in ELEMENTWISE if name != "identity"]))
            values.append(builder.activate(source, ACTIVATIONS[name]))
        elif kind == "column_norm":
            values.append(builder.column_norm(source, 0.3, 0.1, f"layers.{number}"))
        elif kind == "softmax":
            values.append(builder.activate(source, ACTIVATIONS["softmax"]))
        elif kind == "dropout":
            rate, alpha = draw(st.sampled_from([0.0, 0.3, 0.9])), draw(st.booleans())
            values.append(builder.dropout(source, rate, alpha))
        elif kind == "scale":
            values.append(builder.scale(source, f"layers.{number}", draw(st.booleans())))
        elif kind == "row_norm":
            values.append(builder.row_norm(source, draw(st.sampled_from([1e-3, 0.5]))))
        elif kind == "prelu":
            values.append(builder.prelu(source, f"layers.{number}"))
        elif kind == "embed":  # of the input: what is computed may round to another code
            table, column = (
                draw(st.sampled_from([(2, 1), (3, 5), (9, 40)])),
                draw(st.integers(0, 130)),
            )
            column %= builder.width(0)
            values.append(builder.embed(0, column, table, f"layers.{number}"))
        elif kind == "blend":
            name = draw(st.sampled_from(ELEMENTWISE))
            values.append(builder.blend(source, ACTIVATIONS[name], f"layers.{number}"))
        else:
            alike = [v for v in values if builder.width(v) == builder.width(source)]
            values.append(builder.add(source, draw(st.sampled_from(alike))))
    read = {column for op in builder.ops[1:] for column in (op[SOURCE], op[OTHER] * (op[0] == ADD))}
    ends = [v for v in values if v not in read or v == values[-1]]
    heads = [builder.dense(v, 8, f"layers.end{v}") for v in ends]
    output = heads[0]
    for head in heads[1:]:
        output = builder.add(output, head)
    loss = draw(st.sampled_from(sorted(LOSSES)))
    if LOSSES[loss].output:
        output = builder.activate(output, ACTIVATIONS[LOSSES[loss].output])
    seed = draw(st.integers(0, 2**64 - 1))
    numbers = LOSSES[loss].numbers
    return filled(builder.program([output], LOSSES[loss].code, "float64", 0.5, seed, numbers))


def along(dtype="float64"):
    """All that acts along rows and columns, on the input, on wide and on narrow values."""
    builder = Builder(37)
    x = builder.embed(builder.embed(0, 2, (3, 4), "layers.a"), 9, (5, 1), "layers.b")
    x = builder.scale(builder.row_norm(x, 1e-3), "layers.0", shift=True)
    h = builder.prelu(builder.dense(x, 131, "layers.1", use_bias=False), "layers.2")
    h = builder.dropout(builder.row_norm(h, 0.5), 0.3, alpha=True)
    h = builder.add(builder.dense(h, 131, "layers.3"), builder.scale(h, "layers.4"))
    h = builder.blend(
        builder.blend(h, ACTIVATIONS["gelu"], "layers.5"), ACTIVATIONS["tanh"], "layers.6"
    )
    h = builder.prelu(builder.dense(h, 9, "layers.7"), "layers.8")
    output = builder.row_norm(builder.dense(h, 9, "layers.9"), 0.1)
    loss = LOSSES["mean_squared_error"].code
    return filled(builder.program([x, h, output], loss, dtype, 0.5, seed=7))


def rows_of(made, rows, seed=3):
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, made.inputs)), random.integers(0, made.targets, rows)


def everything(core, made, x, y, threads, batch_size=33, optimizer=OPTIMIZER):
    """What each call gives, training with dropout too, as a list of arrays."""
    out, d_input = np.empty((len(x), made.outputs), made.dtype), np.empty(x.shape, made.dtype)
    core.forward(made, x, out, threads)
    one = np.empty((1, made.outputs), made.dtype)
    core.forward(made, x[-1:], one, threads)
    outs = [np.empty((len(x), width), made.dtype) for width in made.ops[made.layers, WIDTH]]
    core.activations(made, x, outs, threads)
    plain, dropped, by_hand = (zeros_like_parameters(made) for _ in range(3))
    figures = core.evaluate(made, x, y, threads)
    sums = core.gradients(made, x, y, plain, threads)
    sums += core.gradients(made, x, y, dropped, threads, 11)
    d_output = np.cos(np.arange(out.size, dtype=made.dtype)).reshape(out.shape)
    core.backward(made, x, d_output, by_hand, d_input, threads)
    trained = copy.deepcopy(made)
    trained.update = (3 << 32) + 5
    prepare(trained, optimizer.code, optimizer.slots, optimizer.factors(made.names))
    order = np.random.default_rng(1).permutation(len(x)).astype(np.int32)
    steps = -(-len(x) // batch_size)
    table = optimizer.coefficients(np.arange(steps), np.full(steps, 0.05))
    sums += core.train(trained, x, order, y[order], batch_size, table, threads)
    assert trained.update == (3 << 32) + 5
    updated = copy.deepcopy(made)
    prepare(updated, optimizer.code, optimizer.slots, optimizer.factors(made.names))
    table[0, PENALTY] = 0.7  # as where the weights of rows count
    penalty = core.apply_gradients(updated, plain.copy(), table[0], threads, True)
    numbers = np.array([*figures, *sums, penalty])
    learned = [trained.parameters, trained.state, updated.parameters, updated.state]
    return [out, one, *outs, numbers, plain, dropped, by_hand, d_input, *learned]


def check(made, rows, batch_size=33, optimizer=OPTIMIZER):
    x, y = rows_of(made, rows)
    expected = everything(reference, made, x, y, 1, batch_size, optimizer)
    bits = set()
    for name in COMPILED:
        core = engine.get(name, "float64")
        for threads in (1, 2, 3, 4):
            found = everything(core, made, x, y, threads, batch_size, optimizer)
            for ours, theirs in zip(found, expected, strict=True):
                scale = np.abs(theirs).max(initial=1)
                error = np.abs(ours - theirs).max(initial=0)
                assert error <= 1e-11 * scale, (name, threads)
            if name in FUSED:
                bits.add(b"".join(array.tobytes() for array in found))
    assert len(bits) == bool(FUSED)


@pytest.mark.parametrize(
    ("loss", "rows"),
    [(loss, rows) for loss in LOSSES for rows in (1, 40, 300) if rows == 40 or loss == "quantile"]
    + [("cross_entropy", 1), ("cross_entropy", 300)],
)
def test_a_residual_network_with_dropout(loss, rows):
    check(residual(loss=loss), rows)


@pytest.mark.parametrize("rows", [1, 40, 300])
def test_what_acts_along_rows_and_columns(rows):
    check(along(), rows)


NORMALISED = [(1, 1), (40, 33), (300, 33), (600, 299), (769, 769)]


@pytest.mark.parametrize(
    ("loss", "rows", "batch_size"),
    [
        (loss, *rows)
        for loss, rows in itertools.product(LOSSES, NORMALISED)
        if loss in ("cross_entropy", "mean_squared_error", "quantile") or rows == (40, 33)
    ],
)
def test_columns_that_are_normalised(loss, rows, batch_size):
    """Batches of one block and of several: all are measured before any goes on."""
    check(normalised(loss=loss), rows, batch_size)


@pytest.mark.parametrize("batch_size", [33, 300])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", [along, normalised])
def test_every_rule_reaches_every_block(make, rule, batch_size):
    made = make()
    made.penalties = np.zeros((len(made.names), 3))
    for name, penalty, (_, rows, columns) in zip(
        made.names, made.penalties, made.blocks, strict=True
    ):
        if rows > 1 < columns:
            table = name.startswith(("layers.a", "layers.b"))
            penalty[:] = 1e-3, 1e-3, 0.0 if table else 0.9  # many columns are longer
    check(made, 300, batch_size, RULES[rule])


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(made=programs(), rows=st.sampled_from([1, 2, 29, 70]))
def test_any_program(made, rows):
    try:
        check(made, rows)
    except RuntimeWarning as error:  # exponentials of exponentials, in the reference
        assume("overflow" not in str(error))
        raise


@pytest.mark.parametrize("widths", [(2, 140), (140, 2)], ids=str)
def test_a_value_that_a_small_and_a_large_layer_read(widths):
    """Every thread has all columns of the small one's part of d, and its own of the large one's."""
    builder = Builder(200)
    h = builder.activate(builder.dense(0, 130, "layers.0"), ACTIVATIONS["tanh"])
    branches = [builder.dense(h, width, f"layers.{width}") for width in widths]
    heads = [builder.dense(v, 7, f"layers.end{v}") for v in branches]
    output = builder.activate(builder.add(*heads), ACTIVATIONS["softmax"])
    check(filled(builder.program([output], LOSSES["cross_entropy"].code, "float64")), 33)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_row_that_threads_share(dtype):
    """Some columns each, of every op: wide enough that threads are worth it, h_0 read by any op."""
    builder = Builder(2000)
    h_0 = builder.dropout(builder.activate(0, ACTIVATIONS["tanh"]), 0.5)
    one = builder.dense(h_0, 700, "layers.0")
    two = builder.dense(0, 700, "layers.1")
    both = builder.activate(builder.add(two, one), ACTIVATIONS["relu"])
    p = builder.activate(builder.dense(both, 301, "layers.2"), ACTIVATIONS["softmax"])
    q = builder.activate(builder.dense(builder.add(0, 0), 301, "layers.3"), ACTIVATIONS["gelu"])
    mean_squared = LOSSES["mean_squared_error"].code
    made = filled(builder.program([builder.add(p, q)], mean_squared, dtype, 0.5))
    x = np.random.default_rng(0).normal(size=(3, 2000)).astype(dtype)
    expected = np.empty((3, 301), dtype)
    reference.forward(made, x, expected, 1)
    for name in COMPILED:
        core, bits = engine.get(name, dtype), set()
        for threads in [1, 2, 3, 4] * 10:
            for row in range(3):
                out = np.full((1, 301), np.nan, dtype)
                assert core.forward(made, x[row : row + 1], out, threads)
                assert np.abs(out - expected[row]).max() < 200 * np.finfo(dtype).eps
                bits.add((row, out.tobytes()))
        assert len(bits) == 3


def test_labels_of_one_output(engine_name):
    """The only label, 0, says that the output is above one half."""
    core, builder = engine.get(engine_name, "float64"), Builder(5)
    value = builder.dense(0, 1, "layers.0")
    made = filled(builder.program([value], LOSSES["mean_squared_error"].code, "float64"))
    x, y = np.random.default_rng(0).normal(size=(50, 5)), np.zeros(50, np.int64)
    out = np.empty((50, 1))
    core.forward(made, x, out, 1)
    assert core.evaluate(made, x, y, 1)[1] == (out > 0.5).sum()


@pytest.mark.parametrize("make", [partial(residual, loss="mean_squared_error"), along])
def test_gradients_with_dropout_are_central_differences(engine_name, make):
    """The masks stay as they are while a weight moves: they are a function of numbers alone."""
    core, made = engine.get(engine_name, "float64"), make()
    x, _ = rows_of(made, 6)
    t = np.random.default_rng(2).normal(size=(6, made.outputs))
    arena, unused = zeros_like_parameters(made), zeros_like_parameters(made)
    core.gradients(made, x, t, arena, 2, 0)
    for start, rows, columns in made.blocks.tolist():
        for position in (start, start + rows * columns - 1):
            value, losses = made.parameters[position], []
            for shifted in (value + 1e-5, value - 1e-5):
                made.parameters[position] = shifted
                losses.append(core.gradients(made, x, t, unused, 1, 0)[0] / len(x))
            made.parameters[position] = value
            assert arena[position] == pytest.approx((losses[0] - losses[1]) / 2e-5, abs=1e-8)


def test_a_batch_in_parts_has_the_masks_of_the_whole(engine_name):
    core, made = engine.get(engine_name, "float64"), residual(loss="mean_squared_error")
    x, _ = rows_of(made, 300)
    t = np.zeros((300, made.outputs))
    whole, total = zeros_like_parameters(made), zeros_like_parameters(made)
    core.gradients(made, x, t, whole, 1, 0)
    for first, stop in ((0, 123), (123, 300)):
        part = zeros_like_parameters(made)
        core.gradients(made, x[first:stop], t[first:stop], part, 1, first)
        total += part * ((stop - first) / 300)
    assert np.abs(total - whole).max() < 1e-14


# Programs that do not fit.


def spoiled(change):
    made = residual()
    change(made)
    return made


def put(op, column, value):
    return lambda made: made.ops.__setitem__((op, column), value)


BAD = {
    "a source that comes later": (put(2, SOURCE, 3), r"op 2 \(DENSE\) .*a source before it, got 3"),
    "a source that is itself": (put(5, SOURCE, 5), r"op 5 \(DROPOUT\) .* got 5$"),
    "a negative source": (put(5, SOURCE, -1), r"op 5 \(DROPOUT\) .* got -1$"),
    "another source that comes later": (put(7, OTHER, 8), r"op 7 \(ADD\) .* got 8$"),
    "widths that differ in ADD": (
        lambda made: made.ops.__setitem__((7, OTHER), 0),
        r"op 7 \(ADD\) .*: expected one width, got 131 of sources of 131 and 37",
    ),
    "a width of its own": (put(3, WIDTH, 130), r"op 3 \(ACTIVATE\) .* got 130 of sources of 131"),
    "no width": (put(3, WIDTH, 0), r"op 3 \(ACTIVATE\) .* a width from 1 to 2\^31 - 1, got 0"),
    "a kind that is none": (put(3, KIND, 99), r"op 3 \(of kind 99\)"),
    "a second input": (put(1, KIND, 0), r"op 1 \(INPUT\) .*: expected INPUT first"),
    "no input": (put(0, KIND, DROPOUT), r"op 0 \(DROPOUT\) .*: expected INPUT first"),
    "an unknown activation": (put(3, CODE, 50), r"op 3 \(ACTIVATE\) .*an activation's code"),
    "blocks that are not there": (put(2, BLOCK, 5), r"op 2 \(DENSE\) .*expected blocks 5 and 6"),
    "blocks of another shape": (put(2, BLOCK, 2), r"op 2 \(DENSE\) .*blocks \[\(37, 131\)"),
    "a block outside the arena": (
        lambda made: made.blocks.__setitem__((5, START), len(made.parameters) - 8),
        r"expected a block within \d+ to \d+ of the arena, got",
    ),
    "a block that begins before it": (
        lambda made: made.blocks.__setitem__((0, START), -16),
        r"expected a block within 0 to \d+ of the arena, got -16",
    ),
    "a block within another": (
        lambda made: made.blocks.__setitem__((5, START), 16),
        r"expected a block within \d+ to \d+ of the arena, got",
    ),
    "a block without an op": (
        lambda made: setattr(made, "blocks", np.vstack([made.blocks, [[27152, 0, 1]]])),
        r"expected a block|expected 7 blocks, each of one op",
    ),
    "a block as large as memory": (
        lambda made: made.blocks.__setitem__((0, COLUMNS), 2**62),
        r"op 2 \(DENSE\) .*: expected blocks",
    ),
    "a rate of one": (
        lambda made: made.numbers.__setitem__(1, 1.0),
        r"op 1 \(DROPOUT\) .*: expected a rate in \[0, 1\)",
    ),
    "a slope that is no number": (
        lambda made: made.numbers.__setitem__(3, np.nan),
        r"op 3 \(ACTIVATE\) .* finite number, got nan",
    ),
    "a code that is none": (put(2, CODE, 2), r"op 2 \(DENSE\) .* a code of 0 or 1, got 2"),
    "a code without biases, and biases": (put(2, CODE, BARE), "expected 6 blocks, each of one op"),
    "a dropout that is none": (put(1, CODE, 7), r"op 1 \(DROPOUT\) .* a code of 0 or 1, got 7"),
    "an epsilon of nothing": (put(3, KIND, ROW_NORM), r"op 3 \(ROW_NORM\) .* positive eps"),
    "a column that is not there": (
        lambda made: made.ops.__setitem__((2, slice(None)), (EMBED, 1, 0, 167, 0, 37)),
        r"op 2 \(EMBED\) .*: expected a column below 37, got 37",
    ),
    "a table of another width": (put(2, KIND, EMBED), r"op 2 \(EMBED\) .*blocks \[\(-1, 95\)"),
    "a scale without blocks": (put(3, KIND, SCALE), r"op 3 \(SCALE\) .*: expected blocks \["),
    "slopes without blocks": (put(3, KIND, PRELU), r"op 3 \(PRELU\) .*: expected blocks \["),
    "a loss that is none": (
        lambda made: setattr(made, "loss", 99),
        "a loss's code below 13, got 99",
    ),
    "a loss that needs softmax": (put(9, KIND, ACTIVATE), "expected SOFTMAX as the last op"),
    "a loss that needs g": (
        lambda made: setattr(made, "loss", LOSSES["binary_cross_entropy"].code),
        "expected ACTIVATE as the last op for the loss, got SOFTMAX",
    ),
    "layers beyond the ops": (
        lambda made: made.layers.__setitem__(1, 10),
        "expected layers' values below 10",
    ),
    "no ops": (lambda made: setattr(made, "ops", made.ops[:1]), r"expected ops \(n, 6\)"),
    "ops of another shape": (lambda made: setattr(made, "ops", made.ops[:, :5]), r"got \(10, 5\)"),
    "numbers that are too few": (
        lambda made: setattr(made, "numbers", made.numbers[:5]),
        r"expected ops \(n, 6\) and n numbers",
    ),
}  # fmt: skip


def refusal_of(core, made):
    """What each call says of the program, one message."""
    x, y = rows_of(residual(), 4)
    arena, out = np.zeros(len(made.parameters)), np.empty((4, 9))
    order, table = np.arange(4, dtype=np.int32), np.zeros((1, WIDTH_OF_ROW))
    calls = [
        lambda: core.forward(made, x, out, 1),
        lambda: core.evaluate(made, x, y, 1),
        lambda: core.gradients(made, x, y, arena, 1),
        lambda: core.backward(made, x, out, arena, None, 1),
        lambda: core.train(made, x, order, y, 4, table, 1),
    ]
    messages = set()
    for call in calls:
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        messages.add(str(caught.value))
    assert len(messages) == 1
    return messages.pop()


@pytest.mark.parametrize("name", BAD)
def test_bad_programs_are_refused_by_name(engine_name, name):
    change, message = BAD[name]
    found = refusal_of(engine.get(engine_name, "float64"), spoiled(change))
    assert re.search(message, found), found


def test_a_loss_that_is_changed_is_checked_again(engine_name):
    core, made = engine.get(engine_name, "float64"), residual()
    x, y = rows_of(made, 4)
    core.evaluate(made, x, y, 1)
    made.loss = LOSSES["binary_cross_entropy"].code
    with pytest.raises(ValueError, match="expected ACTIVATE as the last op for the loss"):
        core.evaluate(made, x, y, 1)


def test_blocks_that_two_ops_share_are_refused(engine_name):
    """Both would change them at once."""
    builder = Builder(5)
    one = builder.activate(builder.dense(0, 5, "layers.0"), ACTIVATIONS["tanh"])
    two = builder.dense(one, 5, "layers.1")
    made = builder.program([two], LOSSES["mean_squared_error"].code, "float64")
    made.ops[3, BLOCK] = 0
    x, out = np.zeros((4, 5)), np.empty((4, 5))
    with pytest.raises(ValueError, match=r"expected 4 blocks, each of one op, got \[0, 0, 1, 1\]"):
        engine.get(engine_name, "float64").forward(made, x, out, 1)


def test_a_value_that_no_op_reads_is_refused(engine_name):
    builder = Builder(5)
    builder.dense(0, 5, "layers.0")
    made = builder.program([1], LOSSES["mean_squared_error"].code, "float64")
    made.ops = np.vstack([made.ops, [[SOFTMAX, 0, 0, 5, 0, 0]]])
    made.numbers = made.momenta = np.zeros(3)
    x, out = np.zeros((4, 5)), np.empty((4, 5))
    with pytest.raises(ValueError, match=r"op 1 \(DENSE\) .*: expected an op that reads it"):
        engine.get(engine_name, "float64").forward(made, x, out, 1)


def test_a_program_of_another_dtype_is_refused():
    made = residual("float32")
    for name in COMPILED:
        with pytest.raises(
            TypeError, match="parameters on one axis of float64, got 1 axes of float32"
        ):
            engine.get(name, "float64").forward(made, *rows_of(made, 4), 1)
