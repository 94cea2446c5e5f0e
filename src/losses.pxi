# Losses: the loss of a row, whether it agrees with its target, and the weight of h - t in the gradient.
# The rows of a narrow output stand side by side, SIDE of them, so that vectors run across rows; else a row is alone, side 1.

cdef enum:                      # the codes of fastnn/losses.py
    CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED_ERROR
    LOSSES

cdef enum:                      # what a row is judged by
    LABELS, TARGETS
    OUTPUT_GRADIENT             # nothing: dh is given

cdef struct Outputs:            # of some rows side by side: element j of row r is at j * side + r
    Py_ssize_t z, h, d, n       # in the work arena
    Py_ssize_t labels[SIDE]     # what they should be, where t is NULL
    const real* t               # their targets
    real top[SIDE]              # of softmax: the largest z,
    double total[SIDE]          # and the sum of e^(z - top)

cdef struct Judgement:          # of each row
    double losses[SIDE]
    int64_t agreeing[SIDE]

cdef inline real target_of(const Outputs* o, Py_ssize_t j, int side, int r) noexcept nogil:
    if o.t == NULL:
        return j == o.labels[r]
    return o.t[j * side + r]


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


cdef inline void cross_entropy(real[::1] work, Outputs* o, int side, double* losses) noexcept nogil:
    """-sum(t log p), p = softmax(z), which is written to h: log p = (z - top) - log(total)."""
    cdef Py_ssize_t j
    cdef int r
    cdef real z[SIDE]
    softmax(work, o.z, o.h, o.n, side, o.top, o.total)
    if o.t == NULL:
        for r in range(side):
            z[r] = work[o.z + o.labels[r] * side + r]
        for r in range(side):
            losses[r] = log64(o.total[r]) - (z[r] - o.top[r])
        return
    for r in range(side):
        losses[r], o.total[r] = 0, log64(o.total[r])
    for j in range(o.n):
        for r in range(side):
            losses[r] += o.t[j * side + r] * (o.total[r] - (work[o.z + j * side + r] - o.top[r]))


cdef inline void binary_cross_entropy(const real[::1] work, const Outputs* o, int side, double* losses) noexcept nogil:
    """mean(-t log p - (1 - t) log(1 - p)), p = sigmoid(z), from z: max(z, 0) - t z + log(1 + e^-|z|)."""
    cdef Py_ssize_t j
    cdef int r
    cdef real z
    for r in range(side):
        losses[r] = 0
    for j in range(o.n):
        for r in range(side):
            z = work[o.z + j * side + r]
            losses[r] += (z if z > 0 else 0) - target_of(o, j, side, r) * z + log64(1.0 + exp(-fabs(<double> z)))
    for r in range(side):
        losses[r] = losses[r] / o.n


cdef inline void mean_squared_error(const real[::1] work, const Outputs* o, int side, double* losses) noexcept nogil:
    """mean((h - t)^2)."""
    cdef Py_ssize_t j
    cdef int r
    cdef real e
    for r in range(side):
        losses[r] = 0
    for j in range(o.n):
        for r in range(side):
            e = work[o.h + j * side + r] - target_of(o, j, side, r)
            losses[r] += <double> e * e / o.n


cdef inline void losses_of(int loss, real[::1] work, Outputs* o, int side, double* losses) noexcept nogil:
    if loss == CROSS_ENTROPY:
        cross_entropy(work, o, side, losses)
    elif loss == BINARY_CROSS_ENTROPY:
        binary_cross_entropy(work, o, side, losses)
    else:
        mean_squared_error(work, o, side, losses)


# The gradient of each loss here is (h - t) * weight; a loss whose is not takes its own case here, by its code.

cdef inline void error_of(real[::1] work, const Outputs* o, int side, real weight) noexcept nogil:
    """d = (h - t) * weight."""
    cdef Py_ssize_t j
    cdef int r
    cdef real d[SIDE]
    if o.t == NULL:
        for r in range(side):
            d[r] = (work[o.h + o.labels[r] * side + r] - <real> 1.0) * weight
        for j in range(padded(o.n) if side == 1 else o.n):
            for r in range(side):
                work[o.d + j * side + r] = work[o.h + j * side + r] * weight
        for r in range(side):
            work[o.d + o.labels[r] * side + r] = d[r]
    else:
        for j in range(o.n):
            for r in range(side):
                work[o.d + j * side + r] = (work[o.h + j * side + r] - o.t[j * side + r]) * weight


cdef inline void winners(const real* h, Py_ssize_t n, int side, Py_ssize_t* best) noexcept nogil:
    """The first of the largest of each row."""
    cdef Py_ssize_t j
    cdef int r
    cdef real top[SIDE]
    for r in range(side):
        top[r], best[r] = h[r], 0
    for j in range(1, n):           # without branches: nobody can foresee them
        for r in range(side):
            best[r] = j if h[j * side + r] > top[r] else best[r]
            top[r] = h[j * side + r] if h[j * side + r] > top[r] else top[r]


cdef inline void agreement(int loss, const real[::1] work, const Outputs* o, int side, int64_t* agreeing) noexcept nogil:
    """Whether h has the target's winner; for targets of binary_cross_entropy, how many outputs are right."""
    cdef Py_ssize_t j
    cdef int r
    cdef Py_ssize_t found[SIDE]
    cdef Py_ssize_t wanted[SIDE]
    if o.n == 1 or (o.t != NULL and loss == BINARY_CROSS_ENTROPY):
        for r in range(side):
            agreeing[r] = 0
        for j in range(o.n):
            for r in range(side):
                agreeing[r] += (work[o.h + j * side + r] > 0.5) == (target_of(o, j, side, r) > 0.5)
        return
    winners(&work[o.h], o.n, side, found)
    if o.t != NULL:
        winners(o.t, o.n, side, wanted)
    for r in range(side):
        agreeing[r] = found[r] == (o.labels[r] if o.t == NULL else wanted[r])
