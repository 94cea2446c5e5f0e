# Optimizers: one update of w from its gradient g.

cdef enum:                      # the codes of fastnn/optimizers.py
    SGD, MOMENTUM, NESTEROV, ADAM, AMSGRAD, ADAMAX, NADAM, RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED, ADAGRAD, ADADELTA, LION
    SCHEDULE_FREE
    OPTIMIZERS

cdef enum:                      # a row of numbers, as in fastnn/program.py
    RATE, A, B, C, D, E, EPSILON, DECAY, CLIP, SHARE, AVERAGE, PENALTY
    COEFFICIENTS                # how many one update needs, from the optimizer's `coefficients`

cdef enum:                      # what a code has beside the kind of update, as in fastnn/program.py
    KINDS_OF_UPDATE = 256
    DECAYS = 1, CLIPS = 2, CLIPS_NORM = 4, CLIPS_GLOBAL_NORM = 8, ACCUMULATES = 16, AVERAGES = 32
    RULES = 64


cdef inline Py_ssize_t slots_of_kind(int kind) noexcept nogil:
    """How many arrays of state an update keeps for itself."""
    if kind == SGD:
        return 0
    if kind == AMSGRAD or kind == RMSPROP_CENTERED:
        return 3
    if kind == MOMENTUM or kind == NESTEROV or kind == RMSPROP or kind == ADAGRAD or kind == LION:
        return 1
    return 2


cdef inline Py_ssize_t slots_of(int code) noexcept nogil:
    """The same with the sum of gradients behind them, and last the weights in training, where there are averages of them."""
    cdef int rule = code // KINDS_OF_UPDATE
    return slots_of_kind(code % KINDS_OF_UPDATE) + ((rule & ACCUMULATES) != 0) + ((rule & AVERAGES) != 0)


cdef struct Span:                       # n weights from w on, their gradients, and how far apart the slots of their state are
    Py_ssize_t w, g, slot, n


cdef inline real mean(real old, real share, real new) noexcept nogil:
    """old + share * (new - old): a running mean."""
    return fma(share, new - old, old)


cdef inline real sign(real x) noexcept nogil:
    return <real> ((x > 0) - (x < 0))


cdef inline void update_as(int code, real[::1] w, const real[::1] g, real[::1] state, const Span* s, const real* c,
                           real* averages) noexcept nogil:
    # The numbers c are those of the optimizer's `coefficients`, fastnn/optimizers.py.
    cdef Py_ssize_t j, w0 = s.w, g0 = s.g, m0 = s.w, v0 = s.w + s.slot, u0 = s.w + 2 * s.slot
    cdef real change, m, v, u
    for j in range(s.n):
        if code == SGD:
            w[w0 + j] = fma(-c[RATE], g[g0 + j], w[w0 + j])
        elif code == MOMENTUM or code == NESTEROV:
            change = fma(c[A], state[m0 + j], -c[RATE] * g[g0 + j])
            state[m0 + j] = change
            if code == NESTEROV:
                change = fma(c[A], change, -c[RATE] * g[g0 + j])
            w[w0 + j] = w[w0 + j] + change
        elif code == ADAM or code == AMSGRAD or code == NADAM:
            m = mean(state[m0 + j], c[B], g[g0 + j])
            v = fma(c[C], fma(g[g0 + j], g[g0 + j], -state[v0 + j]), state[v0 + j])
            state[m0 + j] = m
            state[v0 + j] = v
            if code == AMSGRAD:
                v = v if v > state[u0 + j] else state[u0 + j]
                state[u0 + j] = v
            if code == NADAM:
                m = fma(c[D], m, c[E] * g[g0 + j])
            w[w0 + j] = w[w0 + j] - c[RATE] * m / fma(sqrt(v), c[A], c[EPSILON])
        elif code == ADAMAX:
            m = mean(state[m0 + j], c[B], g[g0 + j])
            v, u = c[C] * state[v0 + j], fabs(g[g0 + j])
            v = v if v > u else u
            state[m0 + j] = m
            state[v0 + j] = v
            w[w0 + j] = w[w0 + j] - c[RATE] * m / (v + c[EPSILON])
        elif code == RMSPROP or code == RMSPROP_MOMENTUM or code == RMSPROP_CENTERED:
            v = fma(c[C], fma(g[g0 + j], g[g0 + j], -state[m0 + j]), state[m0 + j])
            state[m0 + j] = v
            if code == RMSPROP_CENTERED:
                u = mean(state[u0 + j], c[C], g[g0 + j])
                state[u0 + j] = u
                v = fma(-u, u, v)
                v = v if v > 0 else 0
            change = c[RATE] * g[g0 + j] / sqrt(v + c[EPSILON])
            if code != RMSPROP:
                change = fma(c[A], state[v0 + j], change)
                state[v0 + j] = change
            w[w0 + j] = w[w0 + j] - change
        elif code == ADAGRAD:
            v = fma(g[g0 + j], g[g0 + j], state[m0 + j])
            state[m0 + j] = v
            w[w0 + j] = w[w0 + j] - c[RATE] * g[g0 + j] / sqrt(v + c[A] + c[EPSILON])
        elif code == ADADELTA:
            m = fma(c[C], fma(g[g0 + j], g[g0 + j], -state[m0 + j]), state[m0 + j])
            change = sqrt(state[v0 + j] + c[EPSILON]) * g[g0 + j] / sqrt(m + c[EPSILON])
            state[m0 + j] = m
            state[v0 + j] = fma(c[C], fma(change, change, -state[v0 + j]), state[v0 + j])
            w[w0 + j] = fma(-c[RATE], change, w[w0 + j])
        elif code == SCHEDULE_FREE:     # w is y, the state z and v, the averages x
            v = fma(c[C], fma(g[g0 + j], g[g0 + j], -state[v0 + j]), state[v0 + j])
            u = state[m0 + j] - fma(c[DECAY], w[w0 + j], c[RATE] * g[g0 + j] / fma(sqrt(v), c[A], c[EPSILON]))
            m = mean(averages[w0 + j], c[AVERAGE], u)
            state[m0 + j] = u
            state[v0 + j] = v
            averages[w0 + j] = m
            w[w0 + j] = mean(u, c[B], m)
        else:                           # LION
            m = mean(state[m0 + j], c[B], g[g0 + j])
            state[m0 + j] = mean(state[m0 + j], c[C], g[g0 + j])
            w[w0 + j] = fma(-c[RATE], sign(m), w[w0 + j])


cdef inline void update_by(int code, real[::1] w, const real[::1] g, real[::1] state, const Span* s, const real* c,
                           real* averages) noexcept nogil:
    """One optimizer step of w from its gradient g. averages: of w, where the step makes them itself."""
    if code == SGD:
        update_as(SGD, w, g, state, s, c, averages)
    elif code == MOMENTUM:
        update_as(MOMENTUM, w, g, state, s, c, averages)
    elif code == NESTEROV:
        update_as(NESTEROV, w, g, state, s, c, averages)
    elif code == ADAM:
        update_as(ADAM, w, g, state, s, c, averages)
    elif code == AMSGRAD:
        update_as(AMSGRAD, w, g, state, s, c, averages)
    elif code == ADAMAX:
        update_as(ADAMAX, w, g, state, s, c, averages)
    elif code == NADAM:
        update_as(NADAM, w, g, state, s, c, averages)
    elif code == RMSPROP:
        update_as(RMSPROP, w, g, state, s, c, averages)
    elif code == RMSPROP_MOMENTUM:
        update_as(RMSPROP_MOMENTUM, w, g, state, s, c, averages)
    elif code == RMSPROP_CENTERED:
        update_as(RMSPROP_CENTERED, w, g, state, s, c, averages)
    elif code == ADAGRAD:
        update_as(ADAGRAD, w, g, state, s, c, averages)
    elif code == ADADELTA:
        update_as(ADADELTA, w, g, state, s, c, averages)
    elif code == SCHEDULE_FREE:
        update_as(SCHEDULE_FREE, w, g, state, s, c, averages)
    else:
        update_as(LION, w, g, state, s, c, averages)


cdef inline void coefficients_of(const double* row, real* c) noexcept nogil:
    """The numbers of one update."""
    cdef Py_ssize_t j
    for j in range(COEFFICIENTS):
        c[j] = <real> row[j]
