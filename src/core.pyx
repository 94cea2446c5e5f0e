"""The compiled engine: the calls of fastnn/reference.py, with the same names and arguments, for one dtype.

The rooms of the house are included below, each a page: sizes, numerics, activations, ... Down from Network.fit a batch
goes through `train` and `_learn` here (checks, one region of threads), `deal` (team), `train_steps` (steps), `perform`
(an instruction of the tape that plan.pxi made), its function (ops) and `multiply` (tile).

How a training step runs. Each thread owns some neurons of every layer, the inputs too, and the weights that leave
them: rows of W for its neurons of the layer below. These weights never leave its core's cache. What travels is z and dz:

    SUM       z = h W + b               each thread over its neurons of h, for all outputs
    MEET
    COMBINE   h = g(z)                  all add the threads' sums for their own neurons of z; of the last layer, for all
    JUDGE     dz                        from the loss
    BACK      dh = dz W^T               its own neurons
    LEARN     dW = h^T dz, db           its own rows, and the optimizer's update
    ACTIVATE_BACK  dz = dh * g'(z)      its own neurons
    EXCHANGE                            all meet; each copies the others' neurons of dz

Where updates wait for norms of all gradients, LEARN leaves these, and after a meeting

    UPDATE    W, b                      its own rows; then MEASURE, a meeting and CONSTRAIN, where columns of W have a max-norm

A layer so small that a meeting takes longer runs whole on every thread; its update waits until all have met.

All steps of a call run in one region, and nothing is allocated in it. Threads come and go between two steps. Which thread
does what decides nothing about the bits: a sum over neurons is cut into pieces that depend on the layers' sizes alone,
and added in a binary tree.

Memory: each thread's part of the `work` arena holds the values of at most CHUNK rows and their gradients, its sums for
the others, and scratch. A row is padded to whole vectors. Larger batches go through in blocks of CHUNK rows, whose
gradients are added in order. In a prediction threads claim rows instead, and carry them through all layers; only one row
alone, of a wide network, is shared by neurons.
"""
import warnings
from time import perf_counter

import numpy as np

from fastnn.program import ALPHA, check, check_augmentation, check_own, shapes

cimport numpy as cnp
from libc.float cimport DBL_MAX, FLT_MAX
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from functions cimport *
from numerics cimport *
from threads cimport *

cnp.import_array()
start_threads()

cdef extern from *:
    const char* NAME_OF_BUILD "FASTNN_BUILD"
    const char* COMPILER "__VERSION__"

ctypedef fused integer:
    int32_t
    int64_t

NAME = NAME_OF_BUILD.decode()
DTYPE = np.dtype(np.float32 if sizeof(real) == 4 else np.float64)
cdef int REAL = cnp.NPY_FLOAT32 if sizeof(real) == 4 else cnp.NPY_FLOAT64

include "sizes.pxi"
include "tile.pxi"
include "products.pxi"
include "activations.pxi"
include "losses.pxi"
include "optimizers.pxi"
include "data.pxi"
include "tape.pxi"
include "team.pxi"
include "random.pxi"
include "augmentation.pxi"
include "updates.pxi"
include "ops.pxi"
include "statistics.pxi"
include "columns.pxi"
include "ends.pxi"
include "plan.pxi"
include "learning.pxi"
include "steps.pxi"


# --- checks, and memory ---------------------------------------------------------------------------------------------

def _zeros(size):
    """Zeros that start on a cache line."""
    memory = np.zeros(size * DTYPE.itemsize + 64, np.uint8)
    first = -<size_t> start_of(memory) % 64
    return memory[first:first + size * DTYPE.itemsize].view(DTYPE)


cdef bint fits(array, int kind, tuple shape) except -1:
    """Whether it is an array of this kind of numbers and this shape, whose elements follow each other."""
    cdef int axis
    if not isinstance(array, cnp.ndarray) or cnp.PyArray_TYPE(array) != kind or not cnp.PyArray_ISNOTSWAPPED(array):
        return False
    if not cnp.PyArray_CHKFLAGS(array, cnp.NPY_ARRAY_C_CONTIGUOUS) or cnp.PyArray_NDIM(array) != len(shape):
        return False
    for axis in range(cnp.PyArray_NDIM(array)):
        if cnp.PyArray_DIM(array, axis) != <Py_ssize_t> shape[axis]:
            return False
    return True


cdef _is(array, name, int kind, tuple shape):
    """Refuses an array of another kind of numbers or shape, or one whose elements do not follow each other."""
    if fits(array, kind, shape):
        return array
    dtype = cnp.PyArray_DescrFromType(kind)
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"expected {name} to be {dtype} {shape}, got {found}")
    if not array.flags.c_contiguous:
        raise ValueError(f"expected {name} to be C-contiguous, got strides {array.strides}")
    return array


cdef inline void* start_of(array) noexcept:
    """Where the elements of a checked array lie; the caller keeps it alive. A memoryview costs a microsecond."""
    return cnp.PyArray_DATA(<cnp.ndarray> array)


cdef inline bint all_below(const integer* numbers, Py_ssize_t n, Py_ssize_t end) noexcept nogil:
    """Whether all are from 0 to end - 1."""
    cdef Py_ssize_t i
    cdef int outside = 0
    for i in range(n):
        outside |= not 0 <= numbers[i] < end
    return not outside


def _check_threads(threads):
    if threads < 1:
        raise ValueError(f"expected at least 1 thread, got {threads}")


cdef Data rows_at(Plan plan, x) except *:
    """The rows x (n, I) of a call; the plan, kept alive by the caller, holds how their columns are scaled."""
    cdef Data data = data_of(x)
    if data.rows == 0 or data.columns != plan.inputs:
        raise ValueError(f"expected x with {plan.inputs} features, got {x.shape}")
    data.scale = plan.scale
    if plan.center is not None:
        data.center, data.factor = &plan.centers[0], &plan.factors[0]
    return data


cdef class Judged:
    """Labels or targets of some rows, and their weights, checked, and room for what is found of each row."""
    cdef object y, weights, losses, agreeing
    cdef Result result

    def __init__(self, Plan plan, y, Py_ssize_t n, Py_ssize_t room):
        y, weights = y if isinstance(y, tuple) else (y, None)
        self.weights = None if weights is None else _is(weights, "weights", cnp.NPY_FLOAT64, (n,))
        if fits(y, cnp.NPY_INT64, (n,)) or y.dtype == np.int64 and y.ndim == 1:
            # they are indices: nobody may change them once they are checked
            self.y = cnp.PyArray_NewCopy(_is(y, "labels", cnp.NPY_INT64, (n,)), cnp.NPY_CORDER)
            if not all_below(<const int64_t*> start_of(self.y), n, plan.targets):
                raise ValueError(f"expected labels from 0 to {plan.targets - 1}, got {y.min()} to {y.max()}")
        else:
            self.y = _is(y, "targets", REAL, (n, plan.targets))
        self.losses = cnp.PyArray_SimpleNew(1, <cnp.npy_intp*> &room, cnp.NPY_FLOAT64)
        self.agreeing = cnp.PyArray_SimpleNew(1, <cnp.npy_intp*> &room, cnp.NPY_FLOAT64)

    cdef void tell(self, Call* call):
        if self.y.ndim == 1:
            call.judge, call.labels = LABELS, <const int64_t*> start_of(self.y)
        else:
            call.judge, call.targets = TARGETS, <const real*> start_of(self.y)
        if self.weights is not None:
            call.weights = <const double*> start_of(self.weights)
        call.losses, call.agreeing = <double*> start_of(self.losses), <double*> start_of(self.agreeing)
        call.result = &self.result

    cdef double total(self, Py_ssize_t rows):
        """What the rows weigh together."""
        return rows if self.weights is None else np.sum(self.weights)

    cdef tuple sums(self):
        """Of the losses, and of what agrees: a count where rows have no weights."""
        agreeing = self.result.agreeing
        return self.result.loss, int(agreeing) if self.weights is None else agreeing


cdef Call call_of(Plan plan, Data data):
    """A call about these rows, of which nothing else is known yet."""
    cdef Call call
    memset(&call, 0, sizeof(call))
    call.data, call.samples, call.batch_size, call.outputs = data, data.rows, data.rows, plan.outputs
    call.targets_of_row, call.count = plan.targets, plan.loss_numbers.shape[0]
    call.numbers = &plan.loss_numbers[0] if call.count > 0 else NULL
    return call


cdef void use(Call* call, Tape tape):
    call.tape, call.length, call.most_rows, call.keeps = tape.start, tape.length, tape.rows, tape.kept > tape.rows


# --- training -----------------------------------------------------------------------------------------------------------

cdef Py_ssize_t scratch_of(Plan plan) except -1:
    """Elements of a thread's own scratch: a transposed group of dz rows and its product, a block of dW, W's last columns."""
    cdef Py_ssize_t widest = 0, longest = 0, v
    cdef Cut cut
    for v in range(len(plan.table)):
        widest = larger(widest, plan.width(v))
        if plan.kind(v) == DENSE:
            cut = plan.cuts[plan.source(v)]
            longest = larger(longest, cut.neurons // cut.pieces + 16)
    return PACKED + larger(larger((widest + TRANSPOSED_ROWS) * MAX_LANES, GRADIENT_ROWS * GRADIENT_COLUMNS), longest * 16) + MAX_LANES


cdef Worker trainer(Plan plan, Tape tape, const Call* call, Py_ssize_t threads) except *:
    """Where everything lies in a thread's part of the work arena."""
    cdef Worker me
    cdef Py_ssize_t v, team, n
    if tape.threads != threads:
        tape.threads, tape.set = threads, 0
        for v in range(1, len(plan.table)):
            n = 1
            for team in range(1, threads + 1 if plan.kind(v) == DENSE else 1):      # some may be left out
                n = larger(n, sums_of(plan.cuts[plan.source(v)], team))
            tape.set = larger(tape.set, n * tape.rows * stride_of(plan.width(v)))
    n = plan.scratch if call.augmentation == NULL else larger(plan.scratch, room_of(call.augmentation))
    me = worker_of(call, tape.size + GAP, tape.set + GAP, n)
    me.rows = tape.rows
    return me


cdef Py_ssize_t trainers(Plan plan, Py_ssize_t rows, Py_ssize_t threads) except -1:
    """A thread is worth it for some microseconds of work between two meetings, where it gets neurons, and more work than exchange."""
    if not patient and 3.0 * plan.flops < TRAVEL * plan.exchanged:
        return 1
    return team_of(min(threads, plan.most_pieces, MOST_WORKERS, 1 + int(3.0 * rows * plan.flops / STEP_WORK)))


cdef real[::1] no_state = _zeros(1)     # and no gradients: what a call does not touch
cdef _learn(Plan plan, Call* call, weights, real[::1] state, real[::1] gradients, Py_ssize_t threads):
    """train, gradients and backward: the same steps, with or without updates of the weights."""
    global callers
    cdef Py_ssize_t rows = smaller(CHUNK, smaller(call.batch_size, call.samples))
    key = (rows, call.batch_size, call.drops, call.loss, call.judge if call.judge >= OUTPUT_GRADIENT else LABELS, call.given != NULL,
           call.learning, call.waits)
    cdef Tape tape = plan.tapes.get(key) or plan.remember(key, learning_tape(plan, rows, call.batch_size, call))
    threads = trainers(plan, rows, threads)
    use(call, tape)
    cdef Region r = plan.region or Region()
    plan.region = None
    r.reserve(trainer(plan, tape, call, threads), threads)
    r.parameters, r.state, r.gradients = weights, state, gradients
    cdef Py_ssize_t steps = ceil_div(call.samples, call.batch_size)
    cdef int64_t patience = patience_for(3.0 * plan.flops * call.samples)
    callers += 1
    with nogil:
        deal(r, train_steps, steps, patience)
    callers -= 1
    r.gradients = r.state = None
    plan.region = r


cdef Augmenting train_from(Call* call, program, first_row):
    """Dropout and augmentation are on where first_row says which row of its batch the call begins with; keep what is returned."""
    if first_row is None:
        return None
    call.drops, call.first_row, call.seed, call.update = True, first_row, program.seed, program.update
    return augmenting_of(program, call)


cdef _weights_of(Plan plan, program, bint training):
    """The parameters, or in training what they may be averages of."""
    return _in_training(program) if training else plan.parameters


def outputs(program, x, out, threads, first_row=None):
    """The outputs (n, O) that `backward` starts from: of training, with dropout as in `gradients`."""
    cdef Plan plan = plan_of(program)
    cdef Call call = call_of(plan, rows_at(plan, x))
    cdef real[::1] given
    _check_threads(threads)
    given = _is(out, "out", REAL, (call.samples, plan.outputs)).reshape(-1)
    call.judge, call.given, call.loss = OUTPUT, &given[0], program.loss
    cdef Augmenting augmenting = train_from(&call, program, first_row)
    _learn(plan, &call, _weights_of(plan, program, call.drops), no_state, no_state, threads)


def backward(program, x, d_output, gradients, d_input, threads, first_row=None):
    """Gradients of the weights, and of the scaled input, from dh (n, O) of the output; dropout as in `gradients`."""
    cdef Plan plan = plan_of(program)
    cdef Call call = call_of(plan, rows_at(plan, x))
    cdef real[::1] d_rows
    _check_threads(threads)
    cdef const real[::1] d = _is(d_output, "d_output", REAL, (call.samples, plan.outputs)).reshape(-1)
    _is(gradients, "gradients", REAL, program.parameters.shape)
    call.judge, call.targets, call.loss = OUTPUT_GRADIENT, &d[0], program.loss
    if d_input is not None:
        d_rows = _is(d_input, "d_input", REAL, (call.samples, plan.inputs)).reshape(-1)
        call.given = &d_rows[0]
    cdef Augmenting augmenting = train_from(&call, program, first_row)
    _learn(plan, &call, _weights_of(plan, program, call.drops), no_state, gradients, threads)


def gradients(program, x, y, gradients, Py_ssize_t threads, first_row=None):
    """Gradients of the mean loss over the rows; returns the sum of their losses and the agreeing rows.

    Where first_row says which row of its batch x begins with, it is as in training: dropout and augmentation are on.
    y may be (y, weights), as in all calls.
    """
    cdef Plan plan = plan_of_loss(program)
    cdef Call call = call_of(plan, rows_at(plan, x))
    _check_threads(threads)
    cdef Judged judged = Judged(plan, y, call.samples, smaller(threads, MOST_WORKERS) * smaller(CHUNK, call.samples))
    _is(gradients, "gradients", REAL, program.parameters.shape)
    judged.tell(&call)
    call.loss = program.loss
    cdef Augmenting augmenting = train_from(&call, program, first_row)
    weights = _weights_of(plan, program, call.drops)
    _learn(plan, &call, weights, no_state, gradients, threads)
    loss, agreeing = judged.sums()
    return loss + _penalty(plan, program, weights, gradients) * judged.total(call.samples), agreeing


def _penalty(Plan plan, program, const real[::1] weights, real[::1] gradients):
    """The penalty of the weights; its gradient is added to those, unless they are None."""
    cdef double penalty = 0
    cdef uint64_t mode
    if program.penalties is not None:
        plan.look_at_blocks(program)
        mode = enter_mode()
        penalty = penalty_of(plan.of, plan.blocks_count, weights)
        if gradients is not None:
            penalize_all(plan.of, plan.blocks_count, weights, gradients)
        leave_mode(mode)
    return penalty


def _in_training(program):
    """The weights that training goes by: where the parameters are averages of them, the last of the state."""
    return program.state[len(program.state) - 1] if program.optimizer // KINDS_OF_UPDATE & AVERAGES else program.parameters


cdef tuple rule_of(Plan plan, program, Call* call):
    """Tells the call of the program's optimizer, read once; (weights in training, state as one row, memory to keep)."""
    optimizer, state = program.optimizer, program.state
    if not 0 <= optimizer < KINDS_OF_UPDATE * RULES or optimizer % KINDS_OF_UPDATE >= OPTIMIZERS:
        raise ValueError(f"expected an optimizer's code below {OPTIMIZERS}, or with its rules, got {optimizer}")
    _is(state, "state", REAL, (slots_of(optimizer), len(program.parameters)))
    plan.look_at_blocks(program)
    call.optimizer, call.rule = optimizer % KINDS_OF_UPDATE, optimizer // KINDS_OF_UPDATE
    call.slot, call.blocks, call.blocks_count, call.block_rows = len(plan.parameters), plan.of, plan.blocks_count, plan.block_rows
    call.block_parts = plan.block_parts
    call.accumulated = slots_of_kind(call.optimizer) * call.slot
    call.waits = call.rule & (CLIPS_NORM | CLIPS_GLOBAL_NORM)
    call.plain = not call.rule & ACCUMULATES
    squares = columns = None
    if call.rule & AVERAGES:
        call.averages = <real*> start_of(plan.parameters)
    if call.waits:
        squares = np.zeros(call.block_parts)
        call.squares = <double*> start_of(squares)
    if plan.column_sums > 0:
        columns = np.zeros(plan.column_sums)
        call.columns = <double*> start_of(columns)
    return _in_training(program), state.reshape(-1), (squares, columns)


cdef object _penalties(Plan plan, program, Call* call):
    """Room for the penalties of all rows, which updates add to gradients; empty where there are none."""
    if program.penalties is None:
        return np.zeros(0)
    penalties = np.zeros(NORM_SUMS * plan.block_rows)
    call.penalties, call.plain = <double*> start_of(penalties), False
    return penalties


def apply_gradients(program, gradients, coefficients, threads, bint without_penalty=False):
    """One update of all parameters from an arena of gradients, which are used up, with one row of coefficients.

    without_penalty: that of the penalty, times its coefficient, is still to be added; returns the penalty, so many times, else 0.
    """
    global callers
    cdef Plan plan = plan_of(program)
    cdef Call call
    memset(&call, 0, sizeof(call))
    _check_threads(threads)
    cdef const double[::1] row = _is(coefficients, "coefficients", cnp.NPY_FLOAT64, (COEFFICIENTS,))
    _is(gradients, "gradients", REAL, program.parameters.shape)
    weights, state, kept = rule_of(plan, program, &call)
    call.coefficients = &row[0]
    penalties = _penalties(plan, program, &call) if without_penalty else np.zeros(0)
    threads = team_of(min(threads, ceil_div(call.slot, UPDATED)))
    cdef Region r = Region().reserve(worker_of(&call, 0, 0, 0), threads)
    r.parameters, r.gradients, r.state = weights, gradients, state
    callers += 1
    with nogil:
        if call.waits:
            settle_all(r, r.me)
        share(r, update_claimed)
        if updates(&call, row[SHARE]):
            constrain_all(r, r.me)
    callers -= 1
    return total_of(<const double*> start_of(penalties), len(penalties))


def train(program, x, rows, y, Py_ssize_t batch_size, coefficients, Py_ssize_t threads):
    """One update for every row of coefficients; returns the sum of losses and what agrees.

    Step s takes the rows rows[s * batch_size : (s + 1) * batch_size] of x, and the same range of y.
    """
    cdef Plan plan = plan_of_loss(program)
    cdef Call call = call_of(plan, rows_at(plan, x))
    _check_threads(threads)
    cdef Py_ssize_t steps = len(coefficients), m = len(rows)
    _is(coefficients, "coefficients", cnp.NPY_FLOAT64, (steps, COEFFICIENTS))
    order = cnp.PyArray_NewCopy(_is(rows, "rows", cnp.NPY_INT32, (m,)), cnp.NPY_CORDER)     # indices, as labels are
    if batch_size < 1 or not (steps - 1) * batch_size < m <= steps * batch_size:
        raise ValueError(f"expected rows for {steps} batches of {batch_size}, got {m}")
    call.order = <const int32_t*> start_of(order)
    if not all_below(call.order, m, call.data.rows):
        raise ValueError(f"expected rows from 0 to {call.data.rows - 1}, got {np.min(order)} to {np.max(order)}")
    trained, state, kept = rule_of(plan, program, &call)
    penalties = _penalties(plan, program, &call)
    call.samples, call.batch_size = m, smaller(batch_size, m)
    call.coefficients, call.learning = <const double*> start_of(coefficients), True
    call.drops, call.seed, call.update, call.loss = True, program.seed, program.update, program.loss
    cdef Augmenting augmenting = augmenting_of(program, &call)
    cdef Judged judged = Judged(plan, y, m, smaller(threads, MOST_WORKERS) * smaller(CHUNK, call.batch_size))
    judged.tell(&call)
    arena = no_state if call.batch_size <= CHUNK and not call.waits else _zeros(len(plan.parameters))
    _learn(plan, &call, trained, state, arena, threads)
    loss, agreeing = judged.sums()
    return loss + total_of(<const double*> start_of(penalties), len(penalties)), agreeing


def rest(program):
    """Give back the memory of the latest training, if it is more than a little."""
    plan = program.plan
    if type(plan) is Plan and (<Plan> plan).region is not None and (<Plan> plan).region.work.shape[0] > KEPT:
        (<Plan> plan).region = None


include "predictions.pxi"
include "sparse.pxi"
include "within.pxi"
include "bench.pxi"
