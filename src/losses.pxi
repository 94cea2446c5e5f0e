# Losses: the loss of a row, whether it agrees with its target, and the gradient of the mean loss.
# The rows of a narrow output stand side by side, SIDE of them, so that vectors run across rows; else a row is alone, side 1.

cdef enum:                      # the codes of fastnn/losses.py
    CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, HUBER, LOG_COSH, QUANTILE
    POISSON, HINGE, FOCAL, GAUSSIAN, CROSS_ENTROPY_LOGITS, BINARY_CROSS_ENTROPY_LOGITS
    LOSSES

cdef enum:                      # what a row is judged by
    LABELS, TARGETS
    OUTPUT_GRADIENT             # nothing: dh is given,
    OUTPUT                      # or the output is asked for

cdef struct Outputs:            # of some rows side by side: element j of row r is at j * side + r
    Py_ssize_t z, h, d, n       # in the work arena; z is that of the last op, or the output itself where the loss makes h of it
    Py_ssize_t labels[SIDE]     # what they should be, where t is NULL
    const real* t               # their targets,
    Py_ssize_t targets          # so many, of n / targets outputs each
    const double* numbers       # of the loss,
    Py_ssize_t count            # so many
    real weights[SIDE]          # what each row's error is multiplied by
    real top[SIDE]              # of softmax: the largest z,
    double total[SIDE]          # and the sum of e^(z - top)

cdef struct Judgement:          # of each row
    double losses[SIDE]
    double agreeing[SIDE]

cdef inline real target_of(const Outputs* o, Py_ssize_t j, int side, int r) noexcept nogil:
    if o.t == NULL:
        return j == o.labels[r]
    return o.t[j * side + r]


cdef inline bint cancels(int loss) noexcept nogil:
    """Whether what it gives is dz: its derivative cancels that of the output's activation; else it is dh."""
    return loss == CROSS_ENTROPY or loss == BINARY_CROSS_ENTROPY or loss == POISSON or loss == FOCAL


cdef inline bint reads_logits(int loss) noexcept nogil:
    """Whether the output is z, of which the loss makes h, in the room of d."""
    return loss == CROSS_ENTROPY_LOGITS or loss == BINARY_CROSS_ENTROPY_LOGITS


cdef inline bint is_binary(int loss) noexcept nogil:
    """Whether each output of a row says yes or no."""
    return loss == BINARY_CROSS_ENTROPY or loss == BINARY_CROSS_ENTROPY_LOGITS or loss == HINGE or loss == FOCAL


cdef inline double weight_of(int loss, double rows, Py_ssize_t outputs, Py_ssize_t targets) noexcept nogil:
    """What `error` is multiplied by in the gradient of the mean loss over so many rows."""
    if loss == CROSS_ENTROPY or loss == CROSS_ENTROPY_LOGITS:
        return 1.0 / rows
    return (2.0 if loss == MEAN_SQUARED_ERROR else 1.0) / (rows * (targets if loss == GAUSSIAN else outputs))


# --- losses of a row --------------------------------------------------------------------------------------------

cdef inline void cross_entropy(real[::1] work, Outputs* o, int side, double* losses) noexcept nogil:
    """-sum(t log p), p = softmax(z), which is written to h: log p = (z - top) - log(total)."""
    cdef Py_ssize_t j
    cdef int r
    cdef real z[SIDE]
    softmax(work, o.z, o.h, o.n, side, o.top, o.total)
    for r in range(side):
        losses[r], o.total[r] = 0, log64(o.total[r])
    if o.t == NULL:
        for r in range(side):
            z[r] = work[o.z + o.labels[r] * side + r]
        for r in range(side):
            losses[r] = o.total[r] - (z[r] - o.top[r])
    else:
        for j in range(o.n):
            for r in range(side):
                losses[r] += o.t[j * side + r] * (o.total[r] - (work[o.z + j * side + r] - o.top[r]))
    if o.count > 0:
        smooth(work, o, side, losses)


cdef inline void smooth(const real[::1] work, const Outputs* o, int side, double* losses) noexcept nogil:
    """(1 - c) times the loss, and c times the mean of -log p."""
    cdef Py_ssize_t j
    cdef int r
    cdef double c = o.numbers[0]
    for r in range(side):
        losses[r] = (1 - c) * losses[r]
    for j in range(o.n):
        for r in range(side):
            losses[r] += c / o.n * (o.total[r] - (work[o.z + j * side + r] - o.top[r]))


cdef inline double positive_weight(const Outputs* o, Py_ssize_t j) noexcept nogil:
    return o.numbers[j if o.count > 1 else 0]


cdef inline void binary_cross_entropy(const real[::1] work, const Outputs* o, int side, double* losses) noexcept nogil:
    """mean(-c t log p - (1 - t) log(1 - p)), p = sigmoid(z), from z; c = 1: max(z, 0) - t z + log(1 + e^-|z|)."""
    cdef Py_ssize_t j
    cdef int r
    cdef real z, t
    cdef double c, rest
    for r in range(side):
        losses[r] = 0
    for j in range(o.n if o.count == 0 else 0):
        for r in range(side):
            z = work[o.z + j * side + r]
            losses[r] += (z if z > 0 else 0) - target_of(o, j, side, r) * z + log64(1.0 + exp(-fabs(<double> z)))
    for j in range(o.n if o.count > 0 else 0):
        c = positive_weight(o, j)
        for r in range(side):
            z, t = work[o.z + j * side + r], target_of(o, j, side, r)
            rest = log64(1.0 + exp(-fabs(<double> z)))
            losses[r] += c * t * ((-z if z < 0 else 0) + rest) + (1.0 - t) * ((z if z > 0 else 0) + rest)
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


cdef inline void gaussian_loss(const real[::1] work, const Outputs* o, int side, double* losses) noexcept nogil:
    """mean(s + (t - m)^2 e^-s) / 2 over targets; h = m, s, m, s, ..."""
    cdef Py_ssize_t k
    cdef int r
    cdef double e, s
    for r in range(side):
        losses[r] = 0
    for k in range(o.targets):
        for r in range(side):
            e = <double> work[o.h + 2 * k * side + r] - target_of(o, k, side, r)
            s = work[o.h + (2 * k + 1) * side + r]
            losses[r] += (s + e * e * exp(-s)) / 2
    for r in range(side):
        losses[r] = losses[r] / o.targets


cdef inline double loss_of_output(int loss, real z, real h, real t, const double* c) noexcept nogil:
    cdef double e = <double> h - t
    cdef double a = fabs(e), power, rest
    if loss == MEAN_ABSOLUTE_ERROR:
        return a
    if loss == HUBER:
        return c[0] * (a - c[0] / 2) if a > c[0] else a * a / 2
    if loss == LOG_COSH:        # |e| + log(1 + e^(-2 |e|)) - log 2
        return a + (log64(1.0 + exp(-2.0 * a)) - 0.693147180559945309417)
    if loss == QUANTILE:
        return (1 - c[0]) * e if e > 0 else -c[0] * e
    if loss == POISSON:
        return h - <double> t * z
    if loss == HINGE:
        e = 1 - (2.0 * t - 1) * h
        return e if e > 0 else e * 0
    # FOCAL: log(1 - p) = -softplus(z), log p = -softplus(-z)
    rest = log64(1.0 + exp(-fabs(<double> z)))
    power, rest = (z if z > 0 else 0) + rest, (-z if z < 0 else 0) + rest
    return c[1] * t * exp(-c[0] * power) * rest + (1 - c[1]) * (1.0 - t) * exp(-c[0] * rest) * power


cdef inline void mean_of_outputs(int loss, const real[::1] work, const Outputs* o, int side, double* losses) noexcept nogil:
    """The mean of what each output has for itself; the outputs of one target have a number each."""
    cdef Py_ssize_t k, q, j = 0, per_target = o.n // o.targets
    cdef int r
    for r in range(side):
        losses[r] = 0
    for k in range(o.targets):
        for q in range(per_target):
            for r in range(side):
                losses[r] += loss_of_output(loss, work[o.z + j * side + r], work[o.h + j * side + r], target_of(o, k, side, r),
                                            o.numbers + q)
            j += 1
    for r in range(side):
        losses[r] = losses[r] / o.n


cdef inline void activate_logits(real[::1] work, const Outputs* o, int side) noexcept nogil:
    """h = sigmoid(z)."""
    cdef Py_ssize_t j
    for j in range(o.n * side):
        work[o.h + j] = sigmoid(work[o.z + j])


cdef inline void losses_of(int loss, real[::1] work, Outputs* o, int side, double* losses) noexcept nogil:
    if loss == BINARY_CROSS_ENTROPY_LOGITS:
        activate_logits(work, o, side)
    if loss == CROSS_ENTROPY or loss == CROSS_ENTROPY_LOGITS:
        cross_entropy(work, o, side, losses)
    elif loss == BINARY_CROSS_ENTROPY or loss == BINARY_CROSS_ENTROPY_LOGITS:
        binary_cross_entropy(work, o, side, losses)
    elif loss == MEAN_ABSOLUTE_ERROR:
        mean_of_outputs(MEAN_ABSOLUTE_ERROR, work, o, side, losses)
    elif loss == HUBER:
        mean_of_outputs(HUBER, work, o, side, losses)
    elif loss == LOG_COSH:
        mean_of_outputs(LOG_COSH, work, o, side, losses)
    elif loss == QUANTILE:
        mean_of_outputs(QUANTILE, work, o, side, losses)
    elif loss == POISSON:
        mean_of_outputs(POISSON, work, o, side, losses)
    elif loss == HINGE:
        mean_of_outputs(HINGE, work, o, side, losses)
    elif loss == FOCAL:
        mean_of_outputs(FOCAL, work, o, side, losses)
    elif loss == GAUSSIAN:
        gaussian_loss(work, o, side, losses)
    else:
        mean_squared_error(work, o, side, losses)


# --- and their gradients, times `weight_of` over the batch ------------------------------------------------------
# Where it is h - t, labels make one subtraction a row; the others take their own case in `error_of_output`.

cdef inline void difference(real[::1] work, const Outputs* o, int side) noexcept nogil:
    """d = (h - t) * weight."""
    cdef Py_ssize_t j
    cdef int r
    cdef real d[SIDE]
    if o.t == NULL:
        for r in range(side):
            d[r] = (work[o.h + o.labels[r] * side + r] - <real> 1.0) * o.weights[r]
        for j in range(padded(o.n) if side == 1 else o.n):
            for r in range(side):
                work[o.d + j * side + r] = work[o.h + j * side + r] * o.weights[r]
        for r in range(side):
            work[o.d + o.labels[r] * side + r] = d[r]
    else:
        for j in range(o.n):
            for r in range(side):
                work[o.d + j * side + r] = (work[o.h + j * side + r] - o.t[j * side + r]) * o.weights[r]


cdef inline real error_of_output(int loss, real z, real h, real t, const real* c) noexcept nogil:
    """The derivative of one output's loss; c: the loss's numbers for it."""
    cdef real e = h - t
    cdef real p, q, up, low
    if loss == MEAN_ABSOLUTE_ERROR:
        return <real> (e > 0) - <real> (e < 0)
    if loss == HUBER:
        e = c[0] if e > c[0] else e
        return -c[0] if e < -c[0] else e
    if loss == LOG_COSH:
        return tanh(e)
    if loss == QUANTILE:
        return <real> (e > 0) - c[0] * <real> (e != 0)
    if loss == HINGE:
        return <real> 1.0 - <real> 2.0 * t if (<real> 2.0 * t - <real> 1.0) * h < 1 else e * 0
    if loss == CROSS_ENTROPY:   # smoothed: c = 1 - its number, and the rest of it for each output
        return h - (c[0] * t + c[1])
    if loss == BINARY_CROSS_ENTROPY:
        return h * (<real> 1.0 + (c[0] - <real> 1.0) * t) - c[0] * t
    # FOCAL: p = h, q = 1 - p without its rounding; up = -log q, low = -log p
    q = sigmoid(-z)
    up, low = softplus(z), softplus(-z)
    p = (<real> 1.0 - c[1]) * (<real> 1.0 - t) * exp(-c[0] * low) * (c[0] * q * up + h)
    return p - c[1] * t * exp(-c[0] * up) * (c[0] * h * low + q)


cdef inline void errors_of_outputs(int loss, real[::1] work, const Outputs* o, int side) noexcept nogil:
    cdef Py_ssize_t k, q, j = 0, per_target = o.n // o.targets
    cdef int r
    cdef real c[2]
    c[0], c[1] = <real> o.numbers[0] if o.count > 0 else 0, <real> o.numbers[1] if o.count > 1 else 0
    if loss == CROSS_ENTROPY:
        c[0], c[1] = <real> (1.0 - o.numbers[0]), <real> (o.numbers[0] / o.n)
    for k in range(o.targets):
        if loss == BINARY_CROSS_ENTROPY:
            c[0] = <real> positive_weight(o, k)
        for q in range(per_target):
            if loss == QUANTILE:
                c[0] = <real> o.numbers[q]
            for r in range(side):
                work[o.d + j * side + r] = o.weights[r] * error_of_output(
                    loss, work[o.z + j * side + r], work[o.h + j * side + r], target_of(o, k, side, r), c)
            j += 1


cdef inline void gaussian_error(real[::1] work, const Outputs* o, int side) noexcept nogil:
    """dm = (m - t) e^-s, ds = (1 - (t - m)^2 e^-s) / 2."""
    cdef Py_ssize_t k, m
    cdef int r
    cdef real e, scaled
    for k in range(o.targets):
        for r in range(side):
            m = 2 * k * side + r
            e = work[o.h + m] - target_of(o, k, side, r)
            scaled = e * exp(-work[o.h + m + side])
            work[o.d + m] = scaled * o.weights[r]
            work[o.d + m + side] = (<real> 0.5 - <real> 0.5 * e * scaled) * o.weights[r]


cdef inline void error_of(int loss, real[::1] work, const Outputs* o, int side) noexcept nogil:
    """d: dz where the loss cancels g', else dh."""
    if loss == MEAN_ABSOLUTE_ERROR:
        errors_of_outputs(MEAN_ABSOLUTE_ERROR, work, o, side)
    elif loss == HUBER:
        errors_of_outputs(HUBER, work, o, side)
    elif loss == LOG_COSH:
        errors_of_outputs(LOG_COSH, work, o, side)
    elif loss == QUANTILE:
        errors_of_outputs(QUANTILE, work, o, side)
    elif loss == HINGE:
        errors_of_outputs(HINGE, work, o, side)
    elif loss == FOCAL:
        errors_of_outputs(FOCAL, work, o, side)
    elif loss == GAUSSIAN:
        gaussian_error(work, o, side)
    elif o.count == 0 or loss == MEAN_SQUARED_ERROR or loss == POISSON:
        difference(work, o, side)
    elif loss == CROSS_ENTROPY or loss == CROSS_ENTROPY_LOGITS:
        errors_of_outputs(CROSS_ENTROPY, work, o, side)
    else:
        errors_of_outputs(BINARY_CROSS_ENTROPY, work, o, side)


# --- what agrees ------------------------------------------------------------------------------------------------

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


cdef inline void agreement(int loss, const real[::1] work, const Outputs* o, int side, double* agreeing) noexcept nogil:
    """Whether the output has the target's winner; for targets of a binary loss, how many outputs are right."""
    cdef Py_ssize_t j, h = o.z if reads_logits(loss) else o.h
    cdef int r
    cdef real cut = 0 if loss == HINGE or loss == BINARY_CROSS_ENTROPY_LOGITS else 0.5
    cdef Py_ssize_t found[SIDE]
    cdef Py_ssize_t wanted[SIDE]
    cdef int64_t right[SIDE]
    if o.n == 1 or o.targets < o.n or (o.t != NULL and is_binary(loss)):
        for r in range(side):
            right[r] = 0
        for j in range(o.n if o.targets == o.n else 0):
            for r in range(side):
                right[r] += (work[h + j * side + r] > cut) == (target_of(o, j, side, r) > 0.5)
        for r in range(side):
            agreeing[r] = right[r]
        return
    winners(&work[h], o.n, side, found)
    if o.t != NULL:
        winners(o.t, o.n, side, wanted)
    for r in range(side):
        agreeing[r] = found[r] == (o.labels[r] if o.t == NULL else wanted[r])
