"""The compiled engine: the calls of fastnn/reference.py, with the same names and arguments.

How a training step runs. Each thread owns some neurons of every layer, the inputs too, and the weights that leave
them: rows of W_l for its neurons of layer l - 1. These weights never leave its core's cache. What travels is z and dz:

    z_l = h_{l-1} W_l + b_l     each thread sums over its neurons of layer l - 1, for all outputs
                                all meet; each adds the threads' sums for its own neurons of layer l
    h_l = g(z_l)                its own neurons; of the last layer, each thread takes them all
    dz_L                        from the loss
    dz_{l-1} = (dz_l W_l^T) * g'(z_{l-1})       its own neurons
    dW_l = h_{l-1}^T dz_l, db_l                 its own rows, and the optimizer's update
                                all meet; each copies the others' neurons of dz_{l-1}

A layer so small that a meeting takes longer runs whole on every thread; its update waits until all have met.

All steps of a call run in one parallel region, and nothing is allocated in it. Which thread does what decides nothing
about the bits: a sum over neurons is cut into pieces that depend on the layer's size alone.

Memory: each thread's part of the `work` arena holds h_l and dz_l of at most CHUNK rows, its sums for the others, and
scratch. A row is padded to whole vectors. Larger batches go through in blocks of CHUNK rows, whose gradients are added
in order. Prediction shares the rows instead: a thread carries its own through all layers; only one row alone, of a
wide network, is shared by neurons.
"""
import warnings
from time import perf_counter

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel, threadid
from libc.float cimport DBL_MAX, FLT_MAX
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from threads cimport *

cnp.import_array()
start_threads()

cdef extern from *:
    const char* BUILD "FASTNN_BUILD"
    const char* COMPILER "__VERSION__"

NAME = BUILD.decode()

include "sizes.pxi"
include "numerics.pxi"
include "activations.pxi"
include "losses.pxi"
include "optimizers.pxi"
include "tile.pxi"
include "products.pxi"
include "data.pxi"
include "plan.pxi"
include "team.pxi"
include "ops.pxi"
include "steps.pxi"

def _is(array, name, dtype, shape):
    """Refuses an array of another dtype or shape, or one whose elements do not follow each other."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != tuple(shape):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"expected {name} to be {np.dtype(dtype)} {tuple(shape)}, got {found}")
    if not array.flags.c_contiguous:
        raise ValueError(f"expected {name} to be C-contiguous, got strides {array.strides}")
    return array


def _dtype(program):
    if program.parameters.dtype not in (np.float32, np.float64) or program.parameters.ndim != 1:
        raise TypeError(f"expected parameters of float32 or float64, got {program.parameters.dtype}")
    return program.parameters.dtype




def _targets(program, y, n):
    """(kind, labels, targets) of y: int64 labels (n,), or targets (n, O) of the program's dtype."""
    dtype, outputs = _dtype(program), program.layers[-1, OUTPUTS]
    if y.dtype == np.int64 and y.ndim == 1:
        y = _is(y, "labels", np.int64, (n,)).copy()     # they are indices: nobody may change them once they are checked
        if n and not 0 <= y.min() <= y.max() < outputs:
            raise ValueError(f"expected labels from 0 to {outputs - 1}, got {y.min()} to {y.max()}")
        return LABELS, y, np.zeros(0, dtype)
    return TARGETS, np.zeros(0, np.int64), _is(y, "targets", dtype, (n, outputs)).reshape(-1)


def _check_threads(threads):
    if threads < 1:
        raise ValueError(f"expected at least 1 thread, got {threads}")


cdef Data _data(Plan plan, x) except *:
    """The rows x (n, I) of a call; the plan, kept alive by the caller, holds how their columns are standardised."""
    cdef Data data = data_of(x)
    cdef Py_ssize_t inputs = plan.table[0, OUTPUTS]
    if data.rows == 0 or data.columns != inputs:
        raise ValueError(f"expected x with {inputs} features, got {x.shape}")
    if plan.center is not None:
        data.center, data.factor = &plan.centers[0], &plan.factors[0]
    return data


cdef bint _forward(Plan plan, Data* data, const real[::1] x, const real[::1] parameters, const real[::1] slopes,
                   real[::1] work, real* out, double flops, Py_ssize_t threads):
    cdef const int64_t[:, ::1] table = plan.table
    cdef real scale = <real> plan.scale
    cdef Py_ssize_t work_size = plan.work_size
    cdef bint finite = True
    cdef int overflows = 0
    cdef Meeting meeting
    # nothing is judged; None itself, in a parallel region, would make every thread one of Python's
    cdef const int64_t[::1] labels = None
    cdef const real[::1] targets = None
    cdef double[::1] losses = None
    cdef int64_t[::1] agreeing = None
    if flops < WORK:            # some microseconds: other Python threads wait less than it takes to wake them
        return forward_blocks[real](table, slopes, parameters, data, x, scale, out, 0, 0, labels, targets, work,
                                    work_size, FORWARD_ROWS, losses, agreeing, 0, 1)
    if threads == 1:
        with nogil:
            finite = forward_blocks[real](table, slopes, parameters, data, x, scale, out, 0, 0, labels, targets, work,
                                          work_size, FORWARD_ROWS, losses, agreeing, 0, 1)
        return finite
    memset(&meeting, 0, sizeof(meeting))
    with nogil, parallel(num_threads=threads):
        if data.rows == 1:
            finite = forward_together[real](table, slopes, parameters, data, scale, out, work, work_size, &meeting)
        else:
            finite = forward_blocks[real](table, slopes, parameters, data, x, scale, out, 0, 0, labels, targets, work,
                                          work_size, FORWARD_ROWS, losses, agreeing, threadid(), team_size())
        if not finite:
            (&overflows)[0] = 1
    return not overflows


def forward(program, x, out, Py_ssize_t threads):
    """The outputs (n, O). Returns whether z_1 is finite, which it is not where x is not."""
    cdef Plan plan = _plan(program)
    cdef Data data = _data(plan, x), result = data_of(out, cnp.NPY_ARRAY_CARRAY)
    cdef Py_ssize_t outputs = plan.table[plan.table.shape[0] - 1, OUTPUTS]
    cdef double flops = plan.flops * data.rows
    if threads < 1:
        _check_threads(threads)
    if result.rows != data.rows or result.columns != outputs or result.kind != plan.kind:
        raise ValueError(f"expected out to be {plan.dtype} {(data.rows, outputs)}, got {out.dtype} {out.shape}")
    if plan.callers or 1 < data.rows <= ROWS:       # Python threads that predict at once share the cores
        threads = 1
    threads = min(threads, 1 + <Py_ssize_t> (flops / WORK))
    if threads > 1:
        threads = team_of(threads)
    cdef Arena arena = plan.idle.pop() if plan.idle else None
    if arena is None or arena.size < threads * plan.work_size:
        arena = Arena(threads * plan.work_size, plan.dtype)
    h_0 = None                  # x itself, if that is h_0 and worth the view
    if (data.rows > ROWS and plan.scale == 1 and data.center == NULL and data.kind == plan.kind
            and x.flags.c_contiguous):
        h_0 = x.reshape(-1)
    plan.callers += 1
    try:
        if plan.kind == FLOAT32:
            finite = _forward[float](plan, &data, h_0, plan.parameters32, plan.slopes32, arena.view32,
                                     <float*> result.start, flops, threads)
        else:
            finite = _forward[double](plan, &data, h_0, plan.parameters64, plan.slopes64, arena.view64,
                                      <double*> result.start, flops, threads)
    finally:
        plan.callers -= 1
    plan.idle.append(arena)
    return finite


def _evaluate(real[::1] parameters, program, x, y, Py_ssize_t threads):
    cdef Plan plan = _plan(program)
    cdef Data data = _data(plan, x)
    cdef Py_ssize_t block_rows = smaller(FORWARD_ROWS, data.rows), work_size, n
    dtype = _dtype(program)
    layers, work_size = _table(program, block_rows, True)
    work_size += PACKED
    threads = team_of(min(threads, pieces(data.rows, block_rows)))
    cdef const int64_t[:, ::1] table = layers
    cdef const real[::1] slopes = np.concatenate([[0], program.slopes]).astype(dtype)
    cdef real[::1] work = _zeros(work_size * threads, dtype)
    cdef real scale = <real> <double> program.input_scale
    cdef int loss = program.loss, target
    target, label_array, target_array = _targets(program, y, data.rows)
    cdef const int64_t[::1] labels = label_array
    cdef const real[::1] targets = target_array
    cdef double[::1] losses = np.zeros(data.rows)
    cdef int64_t[::1] agreeing = np.zeros(data.rows, np.int64)
    cdef const real[::1] no_rows = None
    with nogil, parallel(num_threads=threads):
        forward_blocks[real](table, slopes, parameters, &data, no_rows, scale, NULL, loss, target, labels, targets, work,
                             work_size, block_rows, losses, agreeing, threadid(), team_size())
    cdef double total = 0
    for n in range(data.rows):
        total += losses[n]
    return total, int(np.sum(agreeing))


def evaluate(program, x, y, threads):
    """The sum of the losses over the rows, and how many rows (or outputs) agree with y."""
    _check_threads(threads)
    return _evaluate(program.parameters, program, x, y, threads)


def _activations(real[::1] parameters, program, x, list outs, Py_ssize_t threads):
    cdef Plan plan = _plan(program)
    cdef Data data = _data(plan, x)
    cdef Py_ssize_t rows = smaller(FORWARD_ROWS, data.rows), size, first, n, r, l
    cdef uint64_t mode
    dtype = _dtype(program)
    layers, size = _table(program, rows, False)
    cdef const int64_t[:, ::1] table = layers
    cdef const real[::1] slopes = np.concatenate([[0], program.slopes]).astype(dtype)
    arena = _zeros(size + PACKED, dtype)
    cdef real[::1] work = arena
    cdef real scale = <real> <double> program.input_scale
    if len(outs) != len(layers):
        raise ValueError(f"expected {len(layers)} arrays in outs, got {len(outs)}")
    for l in range(len(layers)):
        _is(outs[l], f"outs[{l}]", dtype, (data.rows, layers[l, OUTPUTS]))
    for first in range(0, data.rows, rows):
        n = smaller(rows, data.rows - first)
        with nogil:
            mode = enter_mode()
            for r in range(n):
                gather_row[real](&data, first + r, 0, data.columns, work, table[0, H] + r * table[0, STRIDE], scale)
            forward_rows[real](table, slopes, parameters, work, rows_of_layer(table, 0, 0), work, 0, size, n, False)
            leave_mode(mode)
        for l in range(len(layers)):
            h = arena[table[l, H]:table[l, H] + n * table[l, STRIDE]].reshape(n, table[l, STRIDE])
            outs[l][first:first + n] = h[:, :table[l, OUTPUTS]]


def activations(program, x, outs, threads):
    """The scaled input and the outputs of every layer, each (n, width)."""
    _check_threads(threads)
    _activations(program.parameters, program, x, outs, threads)


def _learn(real[::1] parameters, real[::1] state, int optimizer, program, x, rows, y, Py_ssize_t batch_size,
           coefficients, gradients, d_input, Py_ssize_t threads, bint output_gradient):
    """train, gradients and backward: the same steps, with or without updates."""
    cdef Plan plan = _plan(program)
    cdef Data data = _data(plan, x)
    cdef bint learning = rows is not None, with_d_input = d_input is not None
    cdef Py_ssize_t samples = len(rows) if learning else data.rows
    cdef Py_ssize_t work_rows = smaller(CHUNK, smaller(batch_size, samples)), work_size, l
    dtype = _dtype(program)
    layers, work_size = _table(program, work_rows, True)
    # a thread is worth it for some microseconds of work between two meetings
    work = 6.0 * work_rows * float((program.layers[:, INPUTS] * program.layers[:, OUTPUTS]).sum())
    most = max([pieces_of(<Py_ssize_t> width) for width in program.layers[:, INPUTS]])
    threads = team_of(min(threads, most if most <= SUMS else 2, 1 + int(work / STEP_WORK)))
    cdef Worker me
    cdef const int64_t[:, ::1] table = layers
    me.threads, me.turn, me.sums, me.rows, me.set = threads, 0, work_size + GAP, work_rows, 0
    for l in range(1, table.shape[0]):
        me.set = max(me.set, sums_of(table[l, INPUTS], threads) * work_rows * table[l, STRIDE])
    me.set += GAP
    me.size = me.sums + 2 * me.set + _scratch_size(program)
    cdef const real[::1] slopes = np.concatenate([[0], program.slopes]).astype(dtype)
    # a fresh arena would cost a page fault for each 4 KB, every few steps
    memory, plan.learning = plan.learning, None
    if memory is None or len(memory) < me.size * threads:
        memory = _zeros(me.size * threads, dtype)
    cdef real[::1] arena = memory
    cdef real scale = <real> <double> program.input_scale
    cdef int target, loss = program.loss
    cdef Py_ssize_t slot = len(parameters)
    cdef real[::1] gradient_arena = gradients
    cdef real[::1] d_input_rows = d_input.reshape(-1) if with_d_input else np.zeros(0, dtype)
    cdef const int32_t[::1] row_numbers = rows if learning else np.zeros(0, np.int32)
    cdef const double[:, ::1] numbers = coefficients
    cdef double[::1] losses = np.zeros(work_rows * threads)
    cdef int64_t[::1] agreeing = np.zeros(work_rows * threads, np.int64)
    cdef Result result = Result(0, 0)
    cdef Meeting meeting
    target, label_array, target_array = _targets(program, y, samples)
    cdef const int64_t[::1] labels = label_array
    cdef const real[::1] targets = target_array
    if output_gradient:
        target = OUTPUT_GRADIENT
    memset(&meeting, 0, sizeof(meeting))
    me.meeting = &meeting
    with nogil, parallel(num_threads=threads):
        learn[real](table, slopes, parameters, state, slot, optimizer, loss, &data, scale, row_numbers,
                    target, labels, targets, samples, batch_size, numbers, learning, gradient_arena,
                    d_input_rows, with_d_input, arena, worker(me, threadid(), team_size()), losses, agreeing, &result)
    plan.learning = memory
    return result.loss, result.agreeing


def backward(program, x, d_output, gradients, d_input, threads):
    """Gradients of the weights, and of the scaled input, from dh (n, O) of the output."""
    _check_threads(threads)
    dtype, n = _dtype(program), len(x)
    _is(d_output, "d_output", dtype, (n, program.layers[-1, OUTPUTS]))
    _is(gradients, "gradients", dtype, program.parameters.shape)
    if d_input is not None:
        _is(d_input, "d_input", dtype, (n, program.layers[0, INPUTS]))
    _learn(program.parameters, np.zeros(0, dtype), SGD, program, x, None, d_output, n, np.zeros((0, COEFFICIENTS)),
           gradients, d_input, threads, True)


def gradients(program, x, y, gradients, threads):
    """Gradients of the mean loss over the rows; returns the sum of their losses and the agreeing rows."""
    _check_threads(threads)
    dtype = _dtype(program)
    _is(gradients, "gradients", dtype, program.parameters.shape)
    return _learn(program.parameters, np.zeros(0, dtype), SGD, program, x, None, y, len(x), np.zeros((0, COEFFICIENTS)),
                  gradients, None, threads, False)


def _rule(program, parameters):
    """(code, state as one row) of the program's optimizer, read once; refuses a state that does not fit."""
    optimizer, state = program.optimizer, program.state
    if not 0 <= optimizer < OPTIMIZERS:
        raise ValueError(f"expected an optimizer's code below {OPTIMIZERS}, got {optimizer}")
    _is(state, "state", parameters.dtype, (slots_of(optimizer), len(parameters)))
    return optimizer, state.reshape(-1)


def apply_gradients(program, gradients, coefficients, threads):
    """One update of all parameters from an arena of gradients, with one row of coefficients (5,)."""
    _check_threads(threads)
    _is(coefficients, "coefficients", np.float64, (COEFFICIENTS,))
    parameters = program.parameters
    _is(gradients, "gradients", _dtype(program), parameters.shape)
    optimizer, state = _rule(program, parameters)
    _apply_gradients(parameters, gradients, state, optimizer, coefficients.reshape(1, -1), team_of(threads))


def _apply_gradients(real[::1] parameters, const real[::1] gradients, real[::1] state, int optimizer,
                     const double[:, ::1] coefficients, Py_ssize_t threads):
    cdef real c[COEFFICIENTS + 2]
    coefficients_of[real](optimizer, coefficients, 0, c)
    with nogil, parallel(num_threads=threads):
        update_share[real](parameters, gradients, state, optimizer, c)




def train(program, x, rows, y, batch_size, coefficients, threads):
    """One update for every row of coefficients (S, 5); returns the sum of losses and what agrees.

    Step s takes the rows rows[s * batch_size : (s + 1) * batch_size] of x, and the same range of y.
    """
    _check_threads(threads)
    dtype, steps, m, parameters = _dtype(program), len(coefficients), len(rows), program.parameters
    _is(coefficients, "coefficients", np.float64, (steps, COEFFICIENTS))
    rows = _is(rows, "rows", np.int32, (m,)).copy()     # indices, as labels are
    if batch_size < 1 or not (steps - 1) * batch_size < m <= steps * batch_size:
        raise ValueError(f"expected rows for {steps} batches of {batch_size}, got {m}")
    if not 0 <= rows.min() <= rows.max() < len(x):
        raise ValueError(f"expected rows from 0 to {len(x) - 1}, got {rows.min()} to {rows.max()}")
    optimizer, state = _rule(program, parameters)
    batch_size = min(batch_size, m)
    arena = np.zeros(0, dtype) if batch_size <= CHUNK else _zeros(len(parameters), dtype)
    return _learn(parameters, state, optimizer, program, x, rows, y, batch_size, coefficients, arena, None, threads, False)


def within(x, double limit):
    """Whether -limit <= x <= limit for all of x (n, I); a NaN is not."""
    cdef Data data = data_of(x)
    cdef const char* row
    cdef Py_ssize_t r
    cdef bint fine = True
    if data.kind == UINT8:
        return True
    with nogil:
        for r in range(data.rows):
            row = data.start + r * data.row_stride
            if data.kind == FLOAT32:
                fine = row_within[float](<const float*> row, data.column_stride, data.columns, limit)
            else:
                fine = row_within[double](<const double*> row, data.column_stride, data.columns, limit)
            if not fine:
                break
    return fine


def shuffle(int32_t[::1] order, const uint32_t[::1] words):
    """Make the order (n,) a permutation of 0 .. n - 1: its last k places are drawn by the words (k,).

    The places before them must already be a permutation of 0 .. n - k - 1.
    Source: the inside-out Fisher-Yates shuffle; Lemire, Fast random integer generation (2019).
    """
    cdef Py_ssize_t i, j, first = order.shape[0] - words.shape[0]
    if first < 0:
        raise ValueError(f"expected at most {len(order)} words, got {len(words)}")
    with nogil:
        for i in range(first, order.shape[0]):
            j = <Py_ssize_t> ((<uint64_t> words[i - first] * <uint64_t> (i + 1)) >> 32)
            order[i] = order[j]
            order[j] = <int32_t> i


include "bench.pxi"
