# Losses: the loss of one row, whether it agrees with its target, and the weight of h - t in the gradient.

cdef enum:                      # the codes of fastnn/losses.py
    CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED_ERROR
    LOSSES

cdef enum:                      # what a row is judged by
    LABELS, TARGETS
    OUTPUT_GRADIENT             # nothing: dh is given

cdef struct Row:                # an output in the work arena, and what it should be
    Py_ssize_t z, h, d, n
    Py_ssize_t label            # -1: the targets t instead
    const real* t

cdef inline real target_of(const Row* row, Py_ssize_t j) noexcept nogil:
    if row.label >= 0:
        return j == row.label
    return row.t[j]


cdef inline bint cancels(int loss) noexcept nogil:
    """Whether the derivative cancels that of the output's activation: (h - t) * weight is dz, else dh."""
    return loss == CROSS_ENTROPY or loss == BINARY_CROSS_ENTROPY


cdef inline real weight_of(int loss, Py_ssize_t batch, Py_ssize_t outputs) noexcept nogil:
    """What h - t is multiplied by in the gradient of the mean loss over the batch."""
    if loss == CROSS_ENTROPY:
        return <real> (1.0 / batch)
    if loss == BINARY_CROSS_ENTROPY:
        return <real> (1.0 / (batch * outputs))
    return <real> (2.0 / (batch * outputs))


cdef inline double cross_entropy(real[::1] work, const Row* row) noexcept nogil:
    """-sum(t log p), p = softmax(z), which is written to h: log p = (z - top) - log(total)."""
    cdef Py_ssize_t j
    cdef real top
    cdef double value = 0, total = softmax(work, row.z, work, row.h, row.n, &top)
    if row.label >= 0:
        return log64(total) - (work[row.z + row.label] - top)
    for j in range(row.n):
        value += row.t[j] * (log64(total) - (work[row.z + j] - top))
    return value


cdef inline double binary_cross_entropy(const real[::1] work, const Row* row) noexcept nogil:
    """mean(-t log p - (1 - t) log(1 - p)), p = sigmoid(z), from z: max(z, 0) - t z + log(1 + e^-|z|)."""
    cdef Py_ssize_t j
    cdef real z
    cdef double value = 0
    for j in range(row.n):
        z = work[row.z + j]
        value += (z if z > 0 else 0) - target_of(row, j) * z + log64(1.0 + exp(-fabs(<double> z)))
    return value / row.n


cdef inline double mean_squared_error(const real[::1] work, const Row* row) noexcept nogil:
    """mean((h - t)^2)."""
    cdef Py_ssize_t j
    cdef real e
    cdef double value = 0
    for j in range(row.n):
        e = work[row.h + j] - target_of(row, j)
        value += <double> e * e / row.n
    return value


cdef inline double loss_of(int loss, real[::1] work, const Row* row) noexcept nogil:
    if loss == CROSS_ENTROPY:
        return cross_entropy(work, row)
    if loss == BINARY_CROSS_ENTROPY:
        return binary_cross_entropy(work, row)
    return mean_squared_error(work, row)


# The gradient of each loss here is (h - t) * weight; a loss whose is not takes its own case here, by its code.

cdef inline void error_of(real[::1] work, const Row* row, real weight) noexcept nogil:
    """d = (h - t) * weight."""
    cdef Py_ssize_t j
    if row.label >= 0:
        for j in range(padded(row.n)):
            work[row.d + j] = work[row.h + j] * weight
        work[row.d + row.label] = (work[row.h + row.label] - <real> 1.0) * weight
    else:
        for j in range(row.n):
            work[row.d + j] = (work[row.h + j] - row.t[j]) * weight


cdef inline Py_ssize_t winner(const real* h, Py_ssize_t n) noexcept nogil:
    """The first of the largest."""
    cdef Py_ssize_t j, best = 0
    cdef real top = h[0]
    for j in range(1, n):           # without branches: nobody can foresee them
        best = j if h[j] > top else best
        top = h[j] if h[j] > top else top
    return best


cdef inline Py_ssize_t agreement(int loss, const real[::1] work, const Row* row) noexcept nogil:
    """Whether h has the target's winner; for targets of binary_cross_entropy, how many outputs are right."""
    cdef Py_ssize_t j, right = 0
    if row.n == 1 or (row.label < 0 and loss == BINARY_CROSS_ENTROPY):
        for j in range(row.n):
            right += (work[row.h + j] > 0.5) == (target_of(row, j) > 0.5)
        return right
    return winner(&work[row.h], row.n) == (row.label if row.label >= 0 else winner(row.t, row.n))
