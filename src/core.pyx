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

from numerics cimport *
from threads cimport *
from tile cimport *

cnp.import_array()
start_threads()

cdef extern from *:
    """
    #include <sched.h>
    #if defined(__x86_64__) || defined(__i386__)
    #define FASTNN_PAUSE() __builtin_ia32_pause()
    #else
    #define FASTNN_PAUSE() ((void) 0)
    #endif

    /* The threads of a team meet: OpenMP's own barrier burns a whole time slice wherever another process
       has taken the core of the thread that is waited for; this one steps aside after some microseconds.
       Each thread counts its meetings in cache lines of its own, which only it writes. */
    typedef struct { int round[FASTNN_MOST_THREADS][32]; } fastnn_meeting;

    static inline void fastnn_meet(fastnn_meeting *meeting, int thread, int threads) {
        int round = meeting->round[thread][0] + 1, other, spins = 0;
        __atomic_store_n(&meeting->round[thread][0], round, __ATOMIC_RELEASE);
        for (other = 0; other < threads; other++)
            while (__atomic_load_n(&meeting->round[other][0], __ATOMIC_ACQUIRE) - round < 0) {
                if (++spins > 2000) sched_yield();
                FASTNN_PAUSE();
            }
    }

    /* Engines compute in one mode, whatever the caller's: to nearest, without traps, subnormal numbers as zero on
       the way in and out. Moments of dead neurons would stay subnormal for ever, at 30 times the time a step. */
    #if defined(__SSE2__)
    static inline uint64_t fastnn_enter_mode(void) {
        uint64_t before = __builtin_ia32_stmxcsr();
        __builtin_ia32_ldmxcsr(0x9fc0);
        return before;
    }
    static inline void fastnn_leave_mode(uint64_t before) { __builtin_ia32_ldmxcsr((unsigned) before); }
    #elif defined(__aarch64__)
    static inline void fastnn_leave_mode(uint64_t before) { __asm__ volatile("msr fpcr, %0" :: "r"(before) : "memory"); }
    static inline uint64_t fastnn_enter_mode(void) {
        uint64_t before;
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));
        fastnn_leave_mode((uint64_t) 1 << 24);
        return before;
    }
    #else
    static inline uint64_t fastnn_enter_mode(void) { return 0; }
    static inline void fastnn_leave_mode(uint64_t before) { (void) before; }
    #endif
    """
    const char* BUILD "FASTNN_BUILD"
    const char* COMPILER "__VERSION__"
    ctypedef struct Meeting "fastnn_meeting":
        pass
    void wait_for "fastnn_meet" (Meeting* meeting, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil
    uint64_t enter_mode "fastnn_enter_mode" () noexcept nogil
    void leave_mode "fastnn_leave_mode" (uint64_t before) noexcept nogil

NAME = BUILD.decode()

# Columns of the layer table: those of Program.layers, then where the layer's rows lie in the work arena.
# Row 0 is the input, so that row l is layer l as in the textbook.
cdef enum:
    INPUTS, OUTPUTS, ACTIVATION, WEIGHTS, BIASES, H, DZ, STRIDE
    COLUMNS

# Where a training batch's dz_L comes from.
cdef enum:
    LABELS, TARGETS, OUTPUT_GRADIENT

cdef enum:
    SMALL = 1 << 14                 # multiplications of a layer, and a batch, that threads do not share
    GRADIENT_ROWS = 96              # of a block of dW between product and update
    GRADIENT_COLUMNS = 512
    TURNED_ROWS = 96                # of a block of D^T = W A^T before it is turned back
    SUMS = 256                      # at most over the pieces of a layer, where more than two threads train
    GAP = 4096 + 80                 # between what one thread and what two threads use: cores fetch ahead


# --- the data set: read where it lies -------------------------------------------------------------------

cdef enum:
    UINT8, FLOAT32, FLOAT64

cdef enum:
    AHEAD = 8                       # rows that are fetched before they are gathered

cdef struct Data:
    const char* start
    Py_ssize_t rows, columns, row_stride, column_stride     # strides in bytes
    int kind
    const double* center        # (columns,): h_0 = (x - center) * factor; NULL: h_0 = x * scale
    const double* factor

cdef Data data_of(x, int flags=cnp.NPY_ARRAY_ALIGNED) except *:
    """Where x (n, I) lies, an array of uint8, float32 or float64 with these flags; the caller keeps it alive."""
    cdef Data data
    cdef cnp.ndarray array
    if not isinstance(x, cnp.ndarray):
        raise TypeError(f"expected an array, got {type(x).__name__}")
    array = x
    cdef int dtype = cnp.PyArray_TYPE(array)
    if cnp.PyArray_NDIM(array) != 2 or not cnp.PyArray_ISNOTSWAPPED(array) or (
            dtype != cnp.NPY_UINT8 and dtype != cnp.NPY_FLOAT32 and dtype != cnp.NPY_FLOAT64):
        raise TypeError(f"expected two axes of uint8, float32 or float64, got {x.ndim} of {x.dtype}")
    if not cnp.PyArray_CHKFLAGS(array, flags):
        raise ValueError(f"expected an array that is aligned{', C-contiguous' if flags & cnp.NPY_ARRAY_C_CONTIGUOUS else ''}"
                         f"{', writeable' if flags & cnp.NPY_ARRAY_WRITEABLE else ''}, got strides {x.strides}, "
                         f"aligned {x.flags.aligned}, writeable {x.flags.writeable}")
    data.start = <const char*> cnp.PyArray_DATA(array)
    data.rows, data.columns = cnp.PyArray_DIM(array, 0), cnp.PyArray_DIM(array, 1)
    data.row_stride, data.column_stride = cnp.PyArray_STRIDE(array, 0), cnp.PyArray_STRIDE(array, 1)
    data.kind = UINT8 if dtype == cnp.NPY_UINT8 else FLOAT32 if dtype == cnp.NPY_FLOAT32 else FLOAT64
    data.center = data.factor = NULL
    return data

cdef fused element:
    uint8_t
    float
    double

cdef inline const element* at(const element* x, Py_ssize_t stride, Py_ssize_t j) noexcept nogil:
    return <const element*> (<const char*> x + j * stride)

cdef inline void scale_row(const element* x, Py_ssize_t stride, real[::1] h, Py_ssize_t h0,
                           Py_ssize_t n, real scale) noexcept nogil:
    cdef Py_ssize_t j
    if stride == sizeof(element):
        for j in range(n):
            h[h0 + j] = <real> x[j] * scale
    else:
        for j in range(n):
            h[h0 + j] = <real> at[element](x, stride, j)[0] * scale

cdef inline void standardize_row(const element* x, Py_ssize_t stride, real[::1] h, Py_ssize_t h0, Py_ssize_t n,
                                 const double* center, const double* factor) noexcept nogil:
    # in double precision: a year or a time is large beside its deviation
    cdef Py_ssize_t j
    for j in range(n):
        h[h0 + j] = <real> ((at[element](x, stride, j)[0] - center[j]) * factor[j])

cdef inline void element_row(Data* data, const element* x, Py_ssize_t first, real[::1] h, Py_ssize_t h0,
                             Py_ssize_t n, real scale) noexcept nogil:
    if data.center == NULL:
        scale_row[element, real](x, data.column_stride, h, h0, n, scale)
    else:
        standardize_row[element, real](x, data.column_stride, h, h0, n, data.center + first, data.factor + first)

cdef void gather_row(Data* data, Py_ssize_t row, Py_ssize_t first, Py_ssize_t end,
                     real[::1] h, Py_ssize_t h0, real scale) noexcept nogil:
    """h_0 of one row, the features first to end."""
    cdef const char* x = data.start + row * data.row_stride + first * data.column_stride
    if data.kind == UINT8:
        element_row[uint8_t, real](data, <const uint8_t*> x, first, h, h0 + first, end - first, scale)
    elif data.kind == FLOAT32:
        element_row[float, real](data, <const float*> x, first, h, h0 + first, end - first, scale)
    else:
        element_row[double, real](data, <const double*> x, first, h, h0 + first, end - first, scale)

cdef inline bint row_within(const element* x, Py_ssize_t stride, Py_ssize_t n, double limit) noexcept nogil:
    cdef element top = <element> limit
    cdef int outside = 0
    cdef Py_ssize_t j
    if stride == sizeof(element):
        for j in range(n):
            outside |= not (-top <= x[j] <= top)
    else:
        for j in range(n):
            outside |= not (-top <= at[element](x, stride, j)[0] <= top)
    return not outside

cdef inline void prefetch_row(Data* data, Py_ssize_t row, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Shuffled rows lie where no hardware expects them."""
    cdef Py_ssize_t line
    cdef const char* x = data.start + row * data.row_stride + first * data.column_stride
    if data.column_stride <= 8:
        for line in range(pieces((end - first) * data.column_stride, 64)):
            prefetch_far(x + line * 64)


# --- one layer -------------------------------------------------------------------------------------------

cdef void multiply(const real[::1] a, Matrix A, const real[::1] b, Matrix B, real[::1] c, Matrix C,
                   real alpha, bint add, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
                   real[::1] work, Py_ssize_t scratch) noexcept nogil:
    # the one place where the tiles are compiled
    block_product[real](a, A, b, B, c, C, alpha, add, rows, columns, depth, work, scratch)

cdef inline void chains(const real[::1] h, Py_ssize_t h0, Py_ssize_t h_step, const real[::1] w, Matrix W, Py_ssize_t w_step,
                        real[::1] z, Py_ssize_t z0, Py_ssize_t z_step, Py_ssize_t depth, int groups, int lanes) noexcept nogil:
    """z += h W for groups of `lanes` chains side by side, which are some steps apart."""
    cdef real sums[ROWS][MAX_LANES]
    cdef real x
    cdef Py_ssize_t k
    cdef int i, j
    for i in range(groups):
        for j in range(lanes):
            sums[i][j] = 0
    for k in range(depth):
        for i in range(groups):
            x = h[h0 + i * h_step + k]
            for j in range(lanes):
                sums[i][j] = fma[real](x, w[W.start + i * w_step + k * W.row + j], sums[i][j])
    for i in range(groups):
        for j in range(lanes):
            z[z0 + i * z_step + j] = z[z0 + i * z_step + j] + sums[i][j]


cdef inline void chunks(const real[::1] h, Py_ssize_t h0, const real[::1] w, Matrix W, real[::1] z, Py_ssize_t z0,
                        Py_ssize_t depth, int lanes) noexcept nogil:
    """The same for `lanes` columns and any depth: the chunks of the sums are the groups."""
    cdef Py_ssize_t k = 0, step = CHUNK * W.row
    while depth - k >= 3 * CHUNK:
        chains[real](h, h0 + k, CHUNK, w, part(W, k, 0), step, z, z0, 0, CHUNK, 3, lanes)
        k += 3 * CHUNK
    while k < depth:
        chains[real](h, h0 + k, 0, w, part(W, k, 0), 0, z, z0, 0, smaller(CHUNK, depth - k), 1, lanes)
        k += CHUNK


cdef void row_product(const real[::1] h, Py_ssize_t h0, const real[::1] w, Matrix W, real[::1] z, Py_ssize_t z0,
                      Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """z += h W for one row, in whole vectors. A step of a chain waits for the one before: many must be under way."""
    cdef int lanes = lanes_of(sizeof(real))
    cdef Py_ssize_t chunk, k, j = 0
    while columns - j >= 4 * lanes:
        for chunk in range(pieces(depth, CHUNK)):
            k = chunk * CHUNK
            chains[real](h, h0 + k, 0, w, part(W, k, j), lanes, z, z0 + j, lanes, smaller(CHUNK, depth - k), 4, lanes)
        j += 4 * lanes
    while j < columns:
        if columns - j > 16 or lanes <= 16:
            chunks[real](h, h0, w, part(W, 0, j), z, z0 + j, depth, lanes)
            j += lanes
        else:
            chunks[real](h, h0, w, part(W, 0, j), z, z0 + j, depth, 16)
            j += 16


cdef inline Py_ssize_t vector_share(Py_ssize_t n, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """The first of a thread's elements, in whole vectors; the next thread's first is its end."""
    return smaller(n, pieces(n, 16) * thread // threads * 16)


cdef inline void start_rows(real[::1] work, Py_ssize_t z0, Py_ssize_t stride, Py_ssize_t rows,
                            const real[::1] parameters, Py_ssize_t biases, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t r, j
    for r in range(rows):
        for j in range(columns):
            work[z0 + r * stride + j] = parameters[biases + j]


cdef inline Matrix rows_of_layer(const int64_t[:, ::1] table, Py_ssize_t l, Py_ssize_t base) noexcept nogil:
    """h_l in the work arena."""
    return matrix(base + table[l, H], table[l, STRIDE])


cdef inline bint finite_rows(const real[::1] z, Py_ssize_t z0, Py_ssize_t stride, Py_ssize_t rows,
                             Py_ssize_t columns) noexcept nogil:
    cdef bint finite = True
    cdef Py_ssize_t r
    for r in range(rows):
        finite &= row_within[real](&z[z0 + r * stride], sizeof(real), columns, FLT_MAX if real is float else DBL_MAX)
    return finite


cdef void forward_row(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters, const real[::1] h,
                      Py_ssize_t h0, real[::1] work, Py_ssize_t z0, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """z_l = h_{l-1} W_l + b_l of one row, for the neurons first to end in whole vectors; z_l begins at z0."""
    cdef Py_ssize_t columns = padded(end - first), j
    for j in range(columns):
        work[z0 + first + j] = parameters[table[l, BIASES] + first + j]
    row_product[real](h, h0, parameters, matrix(table[l, WEIGHTS] + first, table[l, OUTPUTS]), work, z0 + first,
                      columns, table[l, INPUTS])


cdef void forward_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters,
                        const real[::1] h, Matrix rows_of_h, real[::1] work, Py_ssize_t scratch, Py_ssize_t rows,
                        Py_ssize_t z0) noexcept nogil:
    """z_l = h_{l-1} W_l + b_l; z_l begins at z0 of the work arena."""
    cdef Py_ssize_t stride = table[l, STRIDE], outputs = table[l, OUTPUTS]
    start_rows[real](work, z0, stride, rows, parameters, table[l, BIASES], padded(outputs))
    multiply[real](h, rows_of_h, parameters, matrix(table[l, WEIGHTS], outputs), work, matrix(z0, stride),
                   1, True, rows, padded(outputs), table[l, INPUTS], work, scratch)


cdef void activate_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] slopes, real[::1] work,
                         Py_ssize_t base, Py_ssize_t rows, Py_ssize_t z0) noexcept nogil:
    """h_l = g(z_l)."""
    cdef Py_ssize_t stride = table[l, STRIDE], h0 = base + table[l, H], r
    cdef real top
    if table[l, ACTIVATION] == SOFTMAX:
        for r in range(rows):
            softmax[real](work, z0 + r * stride, work, h0 + r * stride, table[l, OUTPUTS], &top)
    elif table[l, ACTIVATION] != IDENTITY or z0 != h0:
        activate[real](<int> table[l, ACTIVATION], work, z0, work, h0, rows * stride, slopes[l])


cdef bint forward_rows(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters,
                       const real[::1] x, Matrix X, real[::1] work, Py_ssize_t base, Py_ssize_t scratch,
                       Py_ssize_t rows, bint keep_z) noexcept nogil:
    """All layers, all neurons, from rows of h_0; keep_z leaves z_L where dz_L will be.

    Returns whether all z_1 are finite: a NaN or infinity of h_0 never leaves the sums that it has entered.
    """
    cdef Py_ssize_t l, z0, last = table.shape[0] - 1
    cdef bint finite = True
    for l in range(1, last + 1):
        z0 = base + table[l, DZ if keep_z and l == last else H]
        if rows == 1:
            forward_row[real](table, l, parameters, x if l == 1 else work,
                              X.start if l == 1 else base + table[l - 1, H], work, z0, 0, table[l, OUTPUTS])
        else:
            forward_layer[real](table, l, parameters, x if l == 1 else work,
                                X if l == 1 else rows_of_layer(table, l - 1, base), work, scratch, rows, z0)
        if l == 1:
            finite = finite_rows[real](work, z0, table[l, STRIDE], rows, table[l, OUTPUTS])
        if z0 == base + table[l, H] or table[l, ACTIVATION] != SOFTMAX:     # else with the loss
            activate_layer[real](table, l, slopes, work, base, rows, z0)
    return finite


cdef void multiply_transposed(const real[::1] a, Matrix A, const real[::1] w, Matrix W, real[::1] d, Matrix D,
                              real[::1] work, Py_ssize_t scratch, Py_ssize_t rows, Py_ssize_t inputs,
                              Py_ssize_t outputs) noexcept nogil:
    """D = A W^T, A (rows, outputs), W (inputs, outputs).

    Vectors run across the columns of D, where W has to be turned, or across its rows, as D^T = W A^T, where A
    has to be turned and a block of D^T turned back: the fewer elements, the better.
    """
    cdef Py_ssize_t turned = scratch + PACKED, result = turned + outputs * MAX_LANES
    cdef Py_ssize_t q, block, r0, i0, group, height
    if inputs * outputs <= rows * (inputs + outputs):
        multiply[real](a, A, w, matrix(W.start, 1, W.row), d, D, 1, False, rows, inputs, outputs, work, scratch)
        return
    for q in range(pieces(rows, MAX_LANES)):
        r0 = q * MAX_LANES
        group = smaller(MAX_LANES, rows - r0)
        turn[real](a, part(A, r0, 0), work, matrix(turned, MAX_LANES), group, outputs)
        for block in range(pieces(inputs, TURNED_ROWS)):
            i0 = block * TURNED_ROWS
            height = smaller(TURNED_ROWS, inputs - i0)
            multiply[real](w, part(W, i0, 0), work, matrix(turned, MAX_LANES), work, matrix(result, MAX_LANES),
                           1, False, height, (group + 7) // 8 * 8, outputs, work, scratch)
            turn[real](work, matrix(result, MAX_LANES), d, part(D, r0, i0), height, group)


cdef void differentiate_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] slopes,
                              real[::1] work, Py_ssize_t base, Py_ssize_t rows,
                              Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """dz_l = dh_l * g'(z_l), in place, for the neurons first to end; softmax takes them all."""
    cdef Py_ssize_t r, stride = table[l, STRIDE]
    cdef Py_ssize_t h = base + table[l, H], dz = base + table[l, DZ]
    for r in range(rows):
        if table[l, ACTIVATION] == SOFTMAX:
            softmax_backward[real](work, h + r * stride, work, dz + r * stride, table[l, OUTPUTS])
        else:
            differentiate[real](<int> table[l, ACTIVATION], work, h + r * stride + first,
                                work, dz + r * stride + first, end - first, slopes[l])


# --- the output: loss and dz_L -----------------------------------------------------------------------------

cdef struct Result:
    double loss                 # the sum over rows of a row's loss
    int64_t agreeing            # rows with the target's winner, or right outputs: see agreement()


cdef inline Py_ssize_t winner(const real[::1] h, Py_ssize_t h0, Py_ssize_t n) noexcept nogil:
    """The first of the largest; of one output, whether it is above one half."""
    cdef Py_ssize_t j, best = 0
    cdef real top = h[h0]
    if n == 1:
        return top > 0.5
    for j in range(1, n):           # without branches: nobody can foresee them
        best = j if h[h0 + j] > top else best
        top = h[h0 + j] if h[h0 + j] > top else top
    return best


cdef inline Py_ssize_t agreement(const real[::1] h, Py_ssize_t h0, int loss, int target, Py_ssize_t label,
                                 const real[::1] targets, Py_ssize_t y, Py_ssize_t n) noexcept nogil:
    """Whether h has the target's winner; for targets of binary_cross_entropy, how many outputs are right."""
    cdef Py_ssize_t j, right = 0
    if target == LABELS:
        return winner[real](h, h0, n) == label
    if loss != BINARY_CROSS_ENTROPY:
        return winner[real](h, h0, n) == winner[real](targets, y, n)
    for j in range(n):
        right += (h[h0 + j] > 0.5) == (targets[y + j] > 0.5)
    return right


cdef void output_rows(const int64_t[:, ::1] table, real[::1] work,
                      Py_ssize_t base, Py_ssize_t rows, int loss, int target,
                      const int64_t[::1] labels, const real[::1] targets, Py_ssize_t y0, real weight,
                      double[::1] losses, int64_t[::1] agreeing, Py_ssize_t l0) noexcept nogil:
    """From z_L (where dz will be) the losses, and d of the mean loss: weight is 1/B, 1/(B O), or 2/(B O).

    d is dz_L itself for the cross-entropies, whose derivative cancels the activation's, else dh_L.
    losses and agreeing hold a number for each row, from l0 on.
    """
    cdef Py_ssize_t last = table.shape[0] - 1, outputs = table[last, OUTPUTS], stride = table[last, STRIDE]
    cdef Py_ssize_t h = base + table[last, H], dz = base + table[last, DZ]
    cdef Py_ssize_t r, j, y, label = -1
    cdef int code = <int> table[last, ACTIVATION]
    cdef real top, t, e
    cdef double total, value
    for r in range(rows):
        if target == OUTPUT_GRADIENT:
            if code == SOFTMAX:
                softmax[real](work, dz, work, h, outputs, &top)
            for j in range(outputs):
                work[dz + j] = targets[(y0 + r) * outputs + j]
        else:
            y = (y0 + r) * outputs
            if target == LABELS:
                label = labels[y0 + r]
            value = 0
            if code == SOFTMAX:
                total = softmax[real](work, dz, work, h, outputs, &top)
                if loss == CROSS_ENTROPY:       # -sum t log p, log p = (z - top) - log total
                    if target == LABELS:
                        value = log64(total) - (work[dz + label] - top)
                    else:
                        for j in range(outputs):
                            value += targets[y + j] * (log64(total) - (work[dz + j] - top))
            elif loss == BINARY_CROSS_ENTROPY:  # from z: max(z, 0) - t z + log(1 + e^-|z|)
                for j in range(outputs):
                    t = (j == label) if target == LABELS else targets[y + j]
                    e = work[dz + j]
                    value += (e if e > 0 else 0) - t * e + log64(1.0 + exp[double](-fabs[double](e)))
                value /= outputs
            if loss == MEAN_SQUARED_ERROR:
                for j in range(outputs):
                    t = (j == label) if target == LABELS else targets[y + j]
                    e = work[h + j] - t
                    value += <double> e * e / outputs
            if target == LABELS:
                for j in range(padded(outputs)):
                    work[dz + j] = work[h + j] * weight
                work[dz + label] = (work[h + label] - <real> 1.0) * weight
            else:
                for j in range(outputs):
                    work[dz + j] = (work[h + j] - targets[y + j]) * weight
            losses[l0 + r] = value
            agreeing[l0 + r] = agreement[real](work, h, loss, target, label, targets, y, outputs)
        h += stride
        dz += stride


# --- learning ------------------------------------------------------------------------------------------------

cdef inline void coefficients_of(int optimizer, const double[:, ::1] coefficients, Py_ssize_t step,
                                 real* c) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(COEFFICIENTS):
        c[j] = <real> coefficients[step, j]
    c[5] = <real> (1.0 - coefficients[step, 2])
    c[6] = <real> (1.0 - coefficients[step, 3])


# A thread owns some neurons of every layer, the inputs too, and all weights that leave them: rows of W_{l+1}.
# What it owns are whole pieces of a layer. The sum over a layer's neurons runs in ascending order within
# each half of the pieces, and the halves are added last: so the pieces, not the threads, decide the bits.

cdef inline Py_ssize_t pieces_of(Py_ssize_t neurons) noexcept nogil:
    """1, 2 or 4, or more: pieces are never longer than a chunk. An even number, or 1."""
    if neurons < 64:
        return 1 if neurons < 16 else 2
    return 4 if neurons <= 4 * CHUNK else 2 * pieces(neurons, 2 * CHUNK)

cdef inline Py_ssize_t piece_start(Py_ssize_t neurons, Py_ssize_t piece) noexcept nogil:
    """The first of a piece's neurons; the next piece's first is its end."""
    return smaller(neurons, pieces(neurons, 8) * piece // pieces_of(neurons) * 8)

cdef inline Py_ssize_t first_piece(Py_ssize_t neurons, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    return pieces(pieces_of(neurons) * thread, threads)

cdef inline Py_ssize_t share(Py_ssize_t neurons, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """The first of a thread's neurons; the next thread's first is its end."""
    return piece_start(neurons, first_piece(neurons, thread, threads))

cdef inline Py_ssize_t half_start(Py_ssize_t neurons, Py_ssize_t piece) noexcept nogil:
    """The first piece of a piece's half."""
    return 0 if 2 * piece < pieces_of(neurons) else pieces_of(neurons) // 2


cdef inline bint begins(Py_ssize_t neurons, Py_ssize_t piece, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """Whether a thread begins a sum with this piece: at the beginning of a half, or where it did not sum that."""
    cdef Py_ssize_t half = half_start(neurons, piece)
    return piece == half or half < first_piece(neurons, thread, threads)


cdef struct Worker:
    Py_ssize_t thread, threads
    Py_ssize_t base, size       # where its part of the work arena begins, and how long a part is
    Py_ssize_t sums, set        # where in a part the sums over pieces begin, and how long a set of them is
    Py_ssize_t rows, turn       # of each sum; two sets take turns: others may still read the latest, sums or dz
    Py_ssize_t scratch
    Meeting* meeting

cdef inline Worker worker(Worker me, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """One of a team."""
    me.thread = thread
    me.threads = threads
    me.base = thread * me.size
    me.scratch = me.base + me.sums + 2 * me.set
    return me

cdef inline void meet(Worker* me) noexcept nogil:
    if me.threads > 1:
        wait_for(me.meeting, me.thread, me.threads)

cdef inline Worker alone(Worker me) noexcept nogil:
    """The same thread as a team of its own."""
    me.thread = 0
    me.threads = 1
    return me

cdef inline bint is_small(const int64_t[:, ::1] table, Py_ssize_t l, Py_ssize_t rows) noexcept nogil:
    """Whether every thread runs layer l whole, since a meeting would take longer; never the first layer."""
    return 1 < l < table.shape[0] and rows * table[l, INPUTS] * table[l, OUTPUTS] <= SMALL

cdef inline Py_ssize_t sums_of(Py_ssize_t neurons, Py_ssize_t threads) noexcept nogil:
    """How many sums a thread needs room for: of both halves, or of each piece."""
    cdef Py_ssize_t most = pieces(pieces_of(neurons), threads)
    return most if most > 2 and threads > 1 else 2

cdef inline Py_ssize_t sum_start(const int64_t[:, ::1] table, Py_ssize_t l, Worker* me, Py_ssize_t thread,
                                 Py_ssize_t piece) noexcept nogil:
    """Where a thread's sum is that this piece goes into: one for all that a half begins with, else its own."""
    cdef Py_ssize_t neurons = table[l, INPUTS], first = first_piece(neurons, thread, me.threads)
    cdef Py_ssize_t half = half_start(neurons, piece), number = (piece if half < first else half) - first
    if first == 0 < half:       # behind the one sum of the first half
        number = 1
    return (me.base + (thread - me.thread) * me.size + me.sums + me.turn * me.set
            + number * me.rows * table[l, STRIDE])


cdef void sum_pieces(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters, real[::1] work,
                     Worker* me, Py_ssize_t rows) noexcept nogil:
    """h_{l-1} W_l over this thread's pieces of layer l - 1; the first of all begins with b_l.

    Whole vectors reach beyond a row's end, and what follows the last row may be changing: its last columns are copied.
    """
    cdef Py_ssize_t stride = table[l, STRIDE], outputs = table[l, OUTPUTS], inputs = table[l, INPUTS]
    cdef Py_ssize_t first = first_piece(inputs, me.thread, me.threads), last = first_piece(inputs, me.thread + 1, me.threads) - 1
    cdef Py_ssize_t whole = outputs // 16 * 16, tail = me.scratch + PACKED, p, i, n, z, k, j
    cdef Matrix h, W
    cdef bint add
    for p in range(first, last + 1):
        i = piece_start(inputs, p)
        n = piece_start(inputs, p + 1) - i
        z = sum_start(table, l, me, me.thread, p)
        if p == 0:
            start_rows[real](work, z, stride, rows, parameters, table[l, BIASES], padded(outputs))
        add = p == 0 or not begins(inputs, p, me.thread, me.threads)
        h = matrix(me.base + table[l - 1, H] + i, table[l - 1, STRIDE])
        W = matrix(table[l, WEIGHTS] + i * outputs, outputs)
        multiply[real](work, h, parameters, W, work, matrix(z, stride), 1, add, rows,
                       whole if p == last else padded(outputs), n, work, me.scratch)
        if p == last and whole < outputs:
            for k in range(n):
                for j in range(16):
                    work[tail + k * 16 + j] = parameters[W.start + k * outputs + whole + j] if j < outputs - whole else 0
            multiply[real](work, h, work, matrix(tail, 16), work, matrix(z + whole, stride), 1, add, rows, 16, n,
                           work, me.scratch)


# A line that another core has read is slow to write (7 GB/s here), one that it has written is not (40 GB/s).
# So where one other thread alone reads something, it writes there too.

cdef inline void add(real[::1] work, Py_ssize_t target, Py_ssize_t source, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(width):
        work[target + j] = work[target + j] + work[source + j]

cdef inline void add_up(real[::1] work, Py_ssize_t target, const Py_ssize_t* sums, Py_ssize_t n,
                        Py_ssize_t offset, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t j, k
    if target != sums[0] + offset:
        for j in range(width):
            work[target + j] = work[sums[0] + offset + j]
    for k in range(1, n):
        add[real](work, target, sums[k] + offset, width)


cdef void combine_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] slopes, real[::1] work,
                        Worker* me, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t end, bint shared,
                        Py_ssize_t z0) noexcept nogil:
    """z_l = the sum of the pieces' sums, h_l = g(z_l), for the neurons first to end.

    Sums of neurons that all threads read are shared, and added up at z0; the others in place.
    """
    cdef Py_ssize_t inputs = table[l, INPUTS], stride = table[l, STRIDE], h0 = me.base + table[l, H]
    cdef Py_ssize_t sums[2][SUMS]
    cdef Py_ssize_t n[2]
    cdef Py_ssize_t thread, p, r, half, offset, width, z, other
    cdef bint flat
    n[0] = n[1] = 0
    for thread in range(me.threads):
        for p in range(first_piece(inputs, thread, me.threads), first_piece(inputs, thread + 1, me.threads)):
            if begins(inputs, p, thread, me.threads):
                half = half_start(inputs, p) > 0
                sums[half][n[half]] = sum_start(table, l, me, thread, p)
                n[half] += 1
    # one sum of each half, of whole rows: the rows follow each other in memory
    flat = n[1] <= 1 and end - first == padded(table[l, OUTPUTS])
    width = rows * stride if flat else end - first
    for r in range(1 if flat else rows):
        offset = r * stride + first
        z = z0 + offset if shared else sums[0][0] + offset
        add_up[real](work, z, sums[0], n[0], offset, width)
        if n[1] > 0:
            other = me.scratch if shared and n[1] > 1 else sums[1][0] + offset
            add_up[real](work, other, sums[1], n[1], offset, width)
            if not shared and me.thread == 0:       # into a sum of another thread's, if there is one
                z, other = other, z
            add[real](work, z, other, width)
        if table[l, ACTIVATION] != SOFTMAX:
            activate[real](<int> table[l, ACTIVATION], work, z, work, h0 + offset, width, slopes[l])
    if table[l, ACTIVATION] == SOFTMAX and z0 == h0:        # else with the loss
        activate_layer[real](table, l, slopes, work, me.base, rows, z0)
    me.turn = 1 - me.turn


cdef inline void hand_over(real[::1] work, Py_ssize_t source, Py_ssize_t target, Py_ssize_t stride, Py_ssize_t rows,
                           Py_ssize_t first, Py_ssize_t end, bint lone) noexcept nogil:
    """Copies the columns first to end; a lone reader clears the source."""
    cdef Py_ssize_t r, j
    for r in range(rows):
        for j in range(first, end):
            work[target + r * stride + j] = work[source + r * stride + j]
        for j in range(first, end if lone else first):
            work[source + r * stride + j] = 0


cdef void gather_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me, Py_ssize_t rows) noexcept nogil:
    """Each lays its own neurons of dz_l (or dh_l) where its sums were, all meet, and each takes the others'."""
    cdef Py_ssize_t neurons = table[l, OUTPUTS], stride = table[l, STRIDE], dz = me.base + table[l, DZ]
    cdef Py_ssize_t laid = me.base + me.sums + me.turn * me.set, thread
    if me.threads == 1:
        return
    hand_over[real](work, dz, laid, stride, rows, share(neurons, me.thread, me.threads),
                    share(neurons, me.thread + 1, me.threads), False)
    meet(me)
    for thread in range(me.threads):
        if thread != me.thread:
            hand_over[real](work, laid + (thread - me.thread) * me.size, dz, stride, rows,
                            share(neurons, thread, me.threads), share(neurons, thread + 1, me.threads), me.threads == 2)
    me.turn = 1 - me.turn


cdef void backward_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters, real[::1] work,
                         Worker* me, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t end,
                         real[::1] d, Matrix D) noexcept nogil:
    """D = dh_{l-1} = dz_l W_l^T for the neurons first to end of layer l - 1."""
    cdef Matrix W = matrix(table[l, WEIGHTS] + first * table[l, OUTPUTS], table[l, OUTPUTS])
    multiply_transposed[real](work, matrix(me.base + table[l, DZ], table[l, STRIDE]), parameters, W,
                              d, part(D, 0, first), work, me.scratch, rows, end - first, table[l, OUTPUTS])


cdef void gradient_block(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me, Py_ssize_t batch,
                         Py_ssize_t i, Py_ssize_t height, Py_ssize_t j, Py_ssize_t width,
                         real[::1] g, Matrix G, real alpha, bint add) noexcept nogil:
    """G = alpha * dW (or G += it) for `height` rows and `width` columns of dW = h_{l-1}^T dz_l."""
    multiply[real](work, matrix(me.base + table[l - 1, H] + i, 1, table[l - 1, STRIDE]),
                   work, matrix(me.base + table[l, DZ] + j, table[l, STRIDE]), g, G, alpha, add, height, width, batch,
                   work, me.scratch)


cdef Py_ssize_t bias_gradient(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me,
                              Py_ssize_t batch) noexcept nogil:
    """db = the sum of the rows of dz, at most a chunk of them; returns where in the scratch it is."""
    cdef Py_ssize_t r, j, dz = me.base + table[l, DZ], outputs = table[l, OUTPUTS], db = me.scratch + PACKED
    for j in range(outputs):
        work[db + j] = 0
    for r in range(batch):
        for j in range(outputs):
            work[db + j] = work[db + j] + work[dz + r * table[l, STRIDE] + j]
    return db


cdef void learn_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] parameters, real[::1] state,
                      Py_ssize_t slot, int optimizer, const real* c, real[::1] work, Worker* me,
                      Py_ssize_t batch, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """dW_l of the rows first to end, and their update; the gradient never leaves the cache."""
    cdef Py_ssize_t outputs = table[l, OUTPUTS], block = me.scratch + PACKED, i, j, p, q, r, w, height, width, rows
    if optimizer == SGD:                    # W += -rate dW in the tile itself
        gradient_block[real](table, l, work, me, batch, first, end - first, 0, outputs, parameters,
                             matrix(table[l, WEIGHTS] + first * outputs, outputs), -c[0], True)
    else:
        for q in range(pieces(outputs, GRADIENT_COLUMNS)):
            j = q * GRADIENT_COLUMNS
            width = smaller(GRADIENT_COLUMNS, outputs - j)
            for p in range(pieces(end - first, GRADIENT_ROWS)):
                i = first + p * GRADIENT_ROWS
                height = smaller(GRADIENT_ROWS, end - i)
                gradient_block[real](table, l, work, me, batch, i, height, j, width,
                                     work, matrix(block, width), 1, False)
                rows = 1 if width == outputs else height        # whole rows follow each other in memory
                for r in range(rows):
                    w = table[l, WEIGHTS] + (i + r) * outputs + j
                    update[real](optimizer, parameters, w, work, block + r * width, state, w, w + slot,
                                 height // rows * width, c)
    if first == 0 < end:                    # whoever owns the first neuron owns b_l
        w = table[l, BIASES]
        block = bias_gradient[real](table, l, work, me, batch)
        update[real](optimizer, parameters, w, work, block, state, w, w + slot, outputs, c)


cdef void accumulate_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me, Py_ssize_t batch,
                           Py_ssize_t first, Py_ssize_t end, real[::1] gradients, bint add) noexcept nogil:
    """dW_l of the rows first to end, and db_l, written to (or added to) an arena like the parameters."""
    cdef Py_ssize_t outputs = table[l, OUTPUTS], b = table[l, BIASES], db, j
    gradient_block[real](table, l, work, me, batch, first, end - first, 0, outputs, gradients,
                         matrix(table[l, WEIGHTS] + first * outputs, outputs), 1, add)
    if first == 0 < end:
        db = bias_gradient[real](table, l, work, me, batch)
        for j in range(outputs):
            gradients[b + j] = work[db + j] + (gradients[b + j] if add else 0)


cdef void update_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] parameters, const real[::1] gradients,
                       real[::1] state, Py_ssize_t slot, int optimizer, const real* c,
                       Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """The optimizer's update of the rows first to end, from an arena of gradients."""
    cdef Py_ssize_t outputs = table[l, OUTPUTS], w = table[l, WEIGHTS] + first * outputs
    update[real](optimizer, parameters, w, gradients, w, state, w, w + slot, (end - first) * outputs, c)
    if first == 0 < end:
        w = table[l, BIASES]
        update[real](optimizer, parameters, w, gradients, w, state, w, w + slot, outputs, c)


cdef void change_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] parameters, real[::1] state,
                       Py_ssize_t slot, int optimizer, const real* c, real[::1] work, Worker* me, bint learning,
                       Py_ssize_t batch, Py_ssize_t block, Py_ssize_t rows, real[::1] gradients) noexcept nogil:
    """This thread's rows of dW_l, from the batch's rows that begin at `block`, and their update or what goes before it."""
    cdef Py_ssize_t first = share(table[l, INPUTS], me.thread, me.threads)
    cdef Py_ssize_t end = share(table[l, INPUTS], me.thread + 1, me.threads)
    if learning and rows == batch:
        learn_layer[real](table, l, parameters, state, slot, optimizer, c, work, me, rows, first, end)
    else:
        accumulate_layer[real](table, l, work, me, rows, first, end, gradients, block > 0)
        if learning and block + rows == batch:
            update_layer[real](table, l, parameters, gradients, state, slot, optimizer, c, first, end)


cdef void gather_rows(const int64_t[:, ::1] table, Data* data, const int32_t[::1] rows, Py_ssize_t start, Py_ssize_t n,
                      bint learning, real[::1] work, Worker* me, real scale) noexcept nogil:
    """h_0 = x * scale, this thread's features of n rows: rows[start], ..., or x[start], ... where nothing is learned."""
    cdef Py_ssize_t first = share(table[0, OUTPUTS], me.thread, me.threads)
    cdef Py_ssize_t end = share(table[0, OUTPUTS], me.thread + 1, me.threads), r
    first = first // 16 * 16                # whole cache lines of h_0
    for r in range(start, start + n):
        if learning and r + AHEAD < rows.shape[0]:
            prefetch_row(data, rows[r + AHEAD], first, end)
        gather_row[real](data, rows[r] if learning else r, first, end,
                         work, me.base + table[0, H] + (r - start) * table[0, STRIDE], scale)


cdef void forward_batch(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters, real[::1] work,
                        Worker* me, Py_ssize_t n, Py_ssize_t batch_size) noexcept nogil:
    """h_l of all layers but the last, and z_L where dz_L will be: this thread's neurons, or all that it will need."""
    cdef Py_ssize_t last = table.shape[0] - 1, l, first, end
    cdef Worker lone
    cdef Worker* team
    cdef bint whole
    for l in range(1, last + 1):
        lone = alone(me[0])
        team = &lone if is_small(table, l, batch_size) else me
        sum_pieces[real](table, l, parameters, work, team, n)
        meet(team)
        whole = l == last or table[l, ACTIVATION] == SOFTMAX or is_small(table, l + 1, batch_size)
        first = 0 if whole else share(table[l, OUTPUTS], team.thread, team.threads)
        end = table[l, OUTPUTS] if whole else share(table[l, OUTPUTS], team.thread + 1, team.threads)
        combine_layer[real](table, l, slopes, work, team, n, first, padded(end) if end == table[l, OUTPUTS] else end,
                            whole, me.base + table[l, DZ if l == last else H])


cdef void learn(const int64_t[:, ::1] table, const real[::1] slopes, real[::1] parameters, real[::1] state,
                Py_ssize_t slot, int optimizer, int loss, Data* data, real scale, const int32_t[::1] rows,
                int target, const int64_t[::1] labels, const real[::1] targets, Py_ssize_t samples,
                Py_ssize_t batch_size, const double[:, ::1] coefficients, bint learning,
                real[::1] gradients, real[::1] d_input, bint with_d_input, real[::1] work,
                Worker me, double[::1] losses, int64_t[::1] agreeing, Result* result) noexcept nogil:
    """One thread's part of all steps of a call; every thread of the team runs this.

    Not learning: one batch of all rows, whose gradients are the result.
    """
    cdef Py_ssize_t last = table.shape[0] - 1, judged = me.thread * (losses.shape[0] // me.threads)
    cdef Py_ssize_t steps = pieces(samples, batch_size)
    cdef Py_ssize_t step, start, batch, q, block, n, r, l, first, end
    cdef bint small, met
    cdef Worker lone
    cdef Worker* team
    cdef real weight
    cdef real c[COEFFICIENTS + 2]
    cdef uint64_t mode = enter_mode()
    for r in range(COEFFICIENTS + 2):
        c[r] = 0
    for step in range(steps):
        start = step * batch_size
        batch = smaller(batch_size, samples - start)
        weight = (2.0 if loss == MEAN_SQUARED_ERROR else 1.0) / (
            batch if loss == CROSS_ENTROPY else batch * table[last, OUTPUTS])
        if learning:
            coefficients_of[real](optimizer, coefficients, step, c)
        for q in range(pieces(batch, CHUNK)):
            block = q * CHUNK
            n = smaller(CHUNK, batch - block)
            gather_rows[real](table, data, rows, start + block, n, learning, work, &me, scale)
            forward_batch[real](table, slopes, parameters, work, &me, n, batch_size)
            output_rows[real](table, work, me.base, n, loss, target, labels, targets,
                              start + block, weight, losses, agreeing, judged)
            if target == OUTPUT_GRADIENT or loss == MEAN_SQUARED_ERROR:
                differentiate_layer[real](table, last, slopes, work, me.base, n, 0, table[last, OUTPUTS])
            for l in range(last, 0, -1):
                small = is_small(table, l, batch_size)
                lone = alone(me)
                team = &lone if small else &me
                first = share(table[l, INPUTS], team.thread, team.threads)
                end = share(table[l, INPUTS], team.thread + 1, team.threads)
                if l > 1:
                    backward_layer[real](table, l, parameters, work, team, n, first, end,
                                         work, matrix(me.base + table[l - 1, DZ], table[l - 1, STRIDE]))
                    if table[l - 1, ACTIVATION] != SOFTMAX:
                        differentiate_layer[real](table, l - 1, slopes, work, me.base, n, first, end)
                elif with_d_input:
                    backward_layer[real](table, l, parameters, work, team, n, first, end,
                                         d_input, matrix(block * table[1, INPUTS], table[1, INPUTS]))
                if not small:           # as soon as a gradient is there
                    change_layer[real](table, l, parameters, state, slot, optimizer, c, work, &me, learning,
                                       batch, block, n, gradients)
                if l > 1:
                    gather_layer[real](table, l - 1, work, team, n)
                    if table[l - 1, ACTIVATION] == SOFTMAX:
                        differentiate_layer[real](table, l - 1, slopes, work, me.base, n, 0, table[l - 1, OUTPUTS])
            met = False
            for l in range(2, last + 1):
                if is_small(table, l, batch_size):
                    if not met:         # others may still read these weights
                        meet(&me)
                    met = True
                    change_layer[real](table, l, parameters, state, slot, optimizer, c, work, &me, learning,
                                       batch, block, n, gradients)
            if me.thread == 0 and target != OUTPUT_GRADIENT:
                for r in range(n):
                    result.loss += losses[r]
                    result.agreeing += agreeing[r]
    leave_mode(mode)


cdef void update_share(real[::1] parameters, const real[::1] gradients, real[::1] state, int optimizer,
                       const real* c) noexcept nogil:
    """One thread's part of an update of all parameters."""
    cdef Py_ssize_t size = parameters.shape[0], first = vector_share(size, threadid(), team_size())
    cdef Py_ssize_t end = vector_share(size, threadid() + 1, team_size())
    cdef uint64_t mode = enter_mode()
    update[real](optimizer, parameters, first, gradients, first, state, first, first + size, end - first, c)
    leave_mode(mode)


# --- the doors: checks, memory, and one parallel region a call ------------------------------------------------

cdef Py_ssize_t FORWARD_ROWS = 24           # rows that a thread carries through the network at a time
# Floating-point operations that are worth another thread:
cdef double WORK = 1 << 18                  # of a prediction
cdef double STEP_WORK = 1 << 20             # of a step of training


def _table(program, Py_ssize_t rows, bint with_dz):
    """The layer table for a work arena of `rows` rows, and that arena's size; checks the program."""
    layers = program.layers
    cdef int64_t[:, ::1] columns = layers
    cdef int64_t[:, ::1] table = np.zeros((len(layers) + 1, COLUMNS), np.int64)
    cdef Py_ssize_t l, j, size = 0, end = len(program.parameters) - MAX_LANES
    cdef Py_ssize_t width = 4 if program.parameters.dtype == np.float32 else 8
    if not 0 < len(layers) or columns.shape[1] != BIASES + 1:
        raise ValueError(f"expected a table of layers (L, {BIASES + 1}), got {layers.shape}")
    table[0, OUTPUTS] = columns[0, INPUTS]
    for l in range(1, table.shape[0]):
        for j in range(BIASES + 1):
            table[l, j] = columns[l - 1, j]
        if not (table[l, INPUTS] == table[l - 1, OUTPUTS] > 0 and 0 < table[l, OUTPUTS] < 1 << 31
                and 0 <= table[l, ACTIVATION] < ACTIVATIONS
                and 0 <= table[l, WEIGHTS] <= end - table[l, INPUTS] * table[l, OUTPUTS]
                and 0 <= table[l, BIASES] <= end - table[l, OUTPUTS]):
            raise ValueError(f"layer {l} of the program does not fit: {list(table[l, :BIASES + 1])}")
    for l in range(table.shape[0]):
        table[l, STRIDE] = padded(table[l, OUTPUTS])
        if table[l, STRIDE] * width % 1024 == 0:    # rows a power of two apart would share a cache set
            table[l, STRIDE] += 16
        table[l, H] = size
        size += rows * table[l, STRIDE]
        if with_dz:
            table[l, DZ] = size
            size += rows * table[l, STRIDE] if l else 0
    return np.asarray(table), padded(size)


def _scratch_size(program):
    """Elements of a thread's own scratch: a turned group of dz rows and its product, or a block of dW."""
    widest = int(program.layers[:, OUTPUTS].max())
    return PACKED + max((widest + TURNED_ROWS) * MAX_LANES, GRADIENT_ROWS * GRADIENT_COLUMNS, widest) + MAX_LANES


def _zeros(size, dtype):
    """Zeros that start on a cache line."""
    memory = np.zeros(size * dtype.itemsize + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first:first + size * dtype.itemsize].view(dtype)


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


cdef Py_ssize_t team_of(Py_ssize_t wanted) except -1:
    """As many threads as a region may have and the system gives; the region is about to begin."""
    wanted = smaller(wanted, MOST_THREADS)
    cdef Py_ssize_t threads = make_team(<int> wanted)
    if OPENMP and threads < wanted:
        warnings.warn(f"expected {wanted} threads, the system gave {threads}", RuntimeWarning)
    return threads


cdef bint forward_blocks(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters,
                         Data* data, const real[::1] x, real scale, real* out, int loss, int target,
                         const int64_t[::1] labels, const real[::1] targets, real[::1] work,
                         Py_ssize_t work_size, Py_ssize_t block_rows, double[::1] losses, int64_t[::1] agreeing,
                         Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """One thread's blocks of rows, forward: into out, or, where that is NULL, judged against targets.

    x is None, or the data as they lie, if that is h_0. Returns whether all z_1 are finite.
    """
    cdef Py_ssize_t last = table.shape[0] - 1, inputs = table[0, OUTPUTS], outputs = table[last, OUTPUTS]
    cdef Py_ssize_t base = thread * work_size, scratch = base + work_size - PACKED, r, j, n
    cdef Py_ssize_t first = data.rows * thread // threads, end = data.rows * (thread + 1) // threads
    cdef bint judge = out == NULL, finite = True
    cdef uint64_t mode = enter_mode()
    while first < end:
        n = smaller(block_rows, end - first)
        if x is None:
            for r in range(n):
                gather_row[real](data, first + r, 0, data.columns, work, base + table[0, H] + r * table[0, STRIDE], scale)
            finite &= forward_rows[real](table, slopes, parameters, work, rows_of_layer(table, 0, base), work, base,
                                         scratch, n, judge)
        else:
            finite &= forward_rows[real](table, slopes, parameters, x, matrix(first * inputs, inputs), work, base,
                                         scratch, n, judge)
        if judge:
            output_rows[real](table, work, base, n, loss, target, labels, targets, first, 1,
                              losses, agreeing, first)
        else:
            for r in range(n):
                for j in range(outputs):
                    out[(first + r) * outputs + j] = work[base + table[last, H] + r * table[last, STRIDE] + j]
        first += n
    leave_mode(mode)
    return finite


cdef bint forward_together(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters,
                           Data* data, real scale, real* out, real[::1] work, Py_ssize_t work_size,
                           Meeting* meeting) noexcept nogil:
    """One thread's part of one row: some neurons of every layer. Returns whether their z_1 are finite."""
    cdef Py_ssize_t thread = threadid(), threads = team_size(), last = table.shape[0] - 1
    cdef Py_ssize_t h0 = thread * work_size + table[0, H], z0, l, j, first, end
    cdef bint finite = True
    cdef uint64_t mode = enter_mode()
    gather_row[real](data, 0, 0, data.columns, work, h0, scale)
    for l in range(1, last + 1):
        z0 = table[l, H]
        first = vector_share(table[l, OUTPUTS], thread, threads)
        end = vector_share(table[l, OUTPUTS], thread + 1, threads)
        forward_row[real](table, l, parameters, work, h0, work, z0, first, end)
        if l == 1:
            finite = finite_rows[real](work, z0 + first, 0, 1, end - first)
        if table[l, ACTIVATION] != SOFTMAX:
            activate[real](<int> table[l, ACTIVATION], work, z0 + first, work, z0 + first, end - first, slopes[l])
        wait_for(meeting, thread, threads)
        if table[l, ACTIVATION] == SOFTMAX:
            if thread == 0:
                activate_layer[real](table, l, slopes, work, 0, 1, z0)
            wait_for(meeting, thread, threads)
        h0 = z0
    if thread == 0:
        for j in range(table[last, OUTPUTS]):
            out[j] = work[h0 + j]
    leave_mode(mode)
    return finite


cdef class Arena:
    """Memory that predictions work in: a view of the program's dtype."""
    cdef float[::1] view32
    cdef double[::1] view64
    cdef Py_ssize_t size

    def __init__(self, Py_ssize_t size, dtype):
        self.size = size
        if dtype == np.float32:
            self.view32 = _zeros(size, dtype)
        else:
            self.view64 = _zeros(size, dtype)


cdef class Plan:
    """What forward needs of a program, checked and laid out once; kept in program.plan."""
    cdef object layers, parameters, dtype
    cdef const float[::1] parameters32, slopes32        # views of the program's dtype
    cdef const double[::1] parameters64, slopes64
    cdef const int64_t[:, ::1] table
    cdef object center          # the program's, or None, and views of it and of its factor
    cdef const double[::1] centers, factors
    cdef list idle              # arenas that no call is using
    cdef object learning        # the same of training, or None
    cdef Py_ssize_t work_size   # of one thread
    cdef int kind, callers      # calls under way
    cdef double scale, flops    # operations of one row

    def __init__(self, program):
        self.layers, self.parameters, self.dtype = program.layers, program.parameters, _dtype(program)
        self.kind = FLOAT32 if self.dtype == np.float32 else FLOAT64
        self.table, self.work_size = _table(program, FORWARD_ROWS, False)
        self.work_size += PACKED
        slopes = np.concatenate([[0], program.slopes]).astype(self.dtype)
        if self.kind == FLOAT32:
            self.parameters32, self.slopes32 = self.parameters, slopes
        else:
            self.parameters64, self.slopes64 = self.parameters, slopes
        self.scale, self.center = program.input_scale, program.center
        if self.center is not None:
            inputs = (int(program.layers[0, INPUTS]),)
            self.centers = _is(self.center, "center", np.float64, inputs)
            self.factors = _is(program.factor, "factor", np.float64, inputs)
        self.flops = 2.0 * float((program.layers[:, INPUTS] * program.layers[:, OUTPUTS]).sum())
        self.idle = []

    def __reduce__(self):       # a copied or pickled program makes its own
        return type(None), ()


cdef Plan _plan(program):
    plan = program.plan
    if type(plan) is not Plan or (<Plan> plan).layers is not program.layers or (
            (<Plan> plan).parameters is not program.parameters) or (<Plan> plan).center is not program.center:
        plan = program.plan = Plan(program)
    return plan


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


# --- what benchmarks and the chooser ask ---------------------------------------------------------------------

cdef enum:
    PLAIN, FIRST_TRANSPOSED, SECOND_TRANSPOSED

cdef double PRODUCT_WORK = 1 << 19          # floating-point operations of a product that are worth another thread


cdef void product_share(int form, const real[::1] a, const real[::1] b, real[::1] out, real[::1] work,
                        Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """One thread's rows of a product, or its columns where there are more of them."""
    cdef Py_ssize_t thread = threadid(), threads = team_size(), i = 0, j = 0, height = rows, width = columns
    cdef Py_ssize_t aligned = (-<size_t> &work[0]) % 64 // sizeof(real)     # to whole cache lines
    cdef Py_ssize_t scratch = aligned + thread * ((work.shape[0] - 64) // threads)
    if columns > rows:
        j = vector_share(columns, thread, threads)
        width = vector_share(columns, thread + 1, threads) - j
    else:
        i = rows * thread // threads
        height = rows * (thread + 1) // threads - i
    cdef Matrix A = matrix(i, 1, rows) if form == FIRST_TRANSPOSED else matrix(i * depth, depth)
    cdef Matrix C = matrix(i * columns + j, columns)
    cdef uint64_t mode = enter_mode()
    if form == SECOND_TRANSPOSED:
        multiply_transposed[real](a, A, b, matrix(j * depth, depth), out, C, work, scratch, height, width, depth)
    else:
        multiply[real](a, A, b, matrix(j, columns), out, C, 1, False, height, width, depth, work, scratch)
    leave_mode(mode)


cdef _product(int form, const real[::1] a, const real[::1] b, real[::1] out, Py_ssize_t rows, Py_ssize_t columns,
              Py_ssize_t depth, Py_ssize_t threads, dtype):
    cdef cnp.npy_intp size = PACKED
    if form == SECOND_TRANSPOSED:
        size += (depth + TURNED_ROWS) * MAX_LANES
    if columns % 8 and (form != SECOND_TRANSPOSED or depth == 1):   # whole vectors are read: make the last one safe
        b = np.append(b, np.zeros(MAX_LANES, dtype))
    size = size * threads + 64
    cdef real[::1] work = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT32 if real is float else cnp.NPY_FLOAT64, 0)
    if threads == 1:
        with nogil:
            product_share[real](form, a, b, out, work, rows, columns, depth)
    else:
        with nogil, parallel(num_threads=threads):
            product_share[real](form, a, b, out, work, rows, columns, depth)


cdef _product_of(int form, a, b, out, Py_ssize_t threads):
    cdef Data A = data_of(a, cnp.NPY_ARRAY_CARRAY_RO), B = data_of(b, cnp.NPY_ARRAY_CARRAY_RO)
    cdef Data C = data_of(out, cnp.NPY_ARRAY_CARRAY)
    cdef Py_ssize_t rows = A.columns if form == FIRST_TRANSPOSED else A.rows
    cdef Py_ssize_t depth = A.rows if form == FIRST_TRANSPOSED else A.columns
    cdef Py_ssize_t columns = B.rows if form == SECOND_TRANSPOSED else B.columns
    if not (A.kind == B.kind == C.kind != UINT8 and C.rows == rows and C.columns == columns
            and depth == (B.columns if form == SECOND_TRANSPOSED else B.rows)):
        raise ValueError(f"expected factors and out that fit, got {a.dtype} {a.shape}, {b.dtype} {b.shape}, "
                         f"{out.dtype} {out.shape}")
    if threads < 1:
        _check_threads(threads)
    threads = team_of(min(threads, 1 + <Py_ssize_t> (2.0 * rows * columns * depth / PRODUCT_WORK)))
    a, b, flat = cnp.PyArray_Ravel(a, cnp.NPY_CORDER), cnp.PyArray_Ravel(b, cnp.NPY_CORDER), cnp.PyArray_Ravel(out, cnp.NPY_CORDER)
    if C.kind == FLOAT32:
        _product[float](form, a, b, flat, rows, columns, depth, threads, out.dtype)
    else:
        _product[double](form, a, b, flat, rows, columns, depth, threads, out.dtype)


def product(x, w, out, threads):
    """out = x @ w, as in z: x (n, k), w (k, m), C-contiguous, of one dtype."""
    _product_of(PLAIN, x, w, out, threads)


def product_tn(x, dz, out, threads):
    """out = x.T @ dz, as in dW: x (k, n), dz (k, m)."""
    _product_of(FIRST_TRANSPOSED, x, dz, out, threads)


def product_nt(dz, w, out, threads):
    """out = dz @ w.T, as in dx: dz (n, m), w (k, m)."""
    _product_of(SECOND_TRANSPOSED, dz, w, out, threads)


cdef inline void fma_chains(real[::1] sums, Py_ssize_t repeats, int lanes) noexcept nogil:
    """As many independent chains of fused multiply-adds as a tile has."""
    cdef real chains[ROWS][MAX_LANES]
    cdef real x, y = sums[1]
    cdef int i, j
    cdef Py_ssize_t k
    for i in range(ROWS):
        for j in range(lanes):
            chains[i][j] = sums[i * MAX_LANES + j]
    for k in range(repeats):
        x = sums[k & 1]             # a new x each time: or the compiler runs the chains one after another
        for i in range(ROWS):
            for j in range(lanes):
                chains[i][j] = fma[real](chains[i][j], x, y)
    for i in range(ROWS):
        for j in range(lanes):
            sums[i * MAX_LANES + j] = chains[i][j]

cdef void fma_loop(real[::1] sums, Py_ssize_t repeats) noexcept nogil:
    fma_chains[real](sums, repeats, lanes_of(sizeof(real)))


def _fma_rate(real[::1] sums, double seconds):
    cdef Py_ssize_t repeats = 1 << 20
    best, end = 0.0, perf_counter() + seconds
    while perf_counter() < end:
        start = perf_counter()
        with nogil:
            fma_loop[real](sums, repeats)
        best = max(best, 2.0 * repeats * ROWS * lanes_of(sizeof(real)) / (perf_counter() - start))
    return best


def fma_peak(str dtype, double seconds):
    """Floating-point operations a second that one thread reaches in registers: the peak to measure against."""
    return _fma_rate(np.full(ROWS * MAX_LANES, 1e-3, dtype), seconds)


cdef void apply_function(str name, const real[::1] x, real[::1] out):
    cdef Py_ssize_t j
    cdef uint64_t mode = enter_mode()
    if name == "exp":
        for j in range(x.shape[0]):
            out[j] = exp[real](x[j])
    elif name == "log":
        for j in range(x.shape[0]):
            out[j] = <real> log64(x[j])
    else:
        activate[real](SIGMOID if name == "sigmoid" else TANH, x, 0, out, 0, x.shape[0], 0)
    leave_mode(mode)


def _function(str name, const real[::1] x, real[::1] out):
    if len(x) != len(out) or name not in ("exp", "log", "tanh", "sigmoid"):
        raise ValueError(f"expected exp, log, tanh or sigmoid and arrays of one length, got {name}")
    apply_function[real](name, x, out)


def evaluate_function(str name, x, out):
    """out = exp, log, tanh or sigmoid of x, elementwise: one-dimensional arrays, as the layers compute it.

    A subnormal x counts as zero, and what would be subnormal is zero.
    """
    _function(name, x, out)


def build_info():
    """How this engine was compiled."""
    return {"name": NAME, "compiler": COMPILER.decode(), "openmp": OPENMP, "vector_bytes": VECTOR,
            "tile_float32": (rows_of(4), lanes_of(4)), "tile_float64": (rows_of(8), lanes_of(8))}
