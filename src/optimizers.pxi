# Optimizers: one update of w from its gradient g.

cdef enum:                      # the codes of fastnn/optimizers.py
    SGD, MOMENTUM, NESTEROV, ADAM
    OPTIMIZERS

cdef enum:
    COEFFICIENTS = 5            # numbers that one update needs, from the optimizer's `coefficients`


cdef inline Py_ssize_t slots_of(int optimizer) noexcept nogil:
    """How many arrays of state an update keeps."""
    return 0 if optimizer == SGD else 2 if optimizer == ADAM else 1


cdef struct Span:                       # n weights from w on, their gradients and their state
    Py_ssize_t w, g, m, v, n


cdef inline void update_as(int code, real[::1] w, const real[::1] g, real[::1] state, const Span* s, const real* c) noexcept nogil:
    # The coefficients c are those of the optimizer's `coefficients`, fastnn/optimizers.py.
    cdef Py_ssize_t j, w0 = s.w, g0 = s.g, m0 = s.m, v0 = s.v
    cdef real change, m, v
    for j in range(s.n):
        if code == SGD:
            w[w0 + j] = fma(-c[0], g[g0 + j], w[w0 + j])
        elif code == ADAM:
            m = fma(c[5], g[g0 + j] - state[m0 + j], state[m0 + j])
            v = fma(c[6], fma(g[g0 + j], g[g0 + j], -state[v0 + j]), state[v0 + j])
            state[m0 + j] = m
            state[v0 + j] = v
            w[w0 + j] = w[w0 + j] - c[0] * m / fma(sqrt(v), c[1], c[4])
        else:
            change = fma(c[1], state[m0 + j], -c[0] * g[g0 + j])
            state[m0 + j] = change
            if code == NESTEROV:
                change = fma(c[1], change, -c[0] * g[g0 + j])
            w[w0 + j] = w[w0 + j] + change


cdef inline void update(int code, real[::1] w, const real[::1] g, real[::1] state, const Span* s, const real* c) noexcept nogil:
    """One optimizer step of w from its gradient g."""
    if code == SGD:
        update_as(SGD, w, g, state, s, c)
    elif code == MOMENTUM:
        update_as(MOMENTUM, w, g, state, s, c)
    elif code == NESTEROV:
        update_as(NESTEROV, w, g, state, s, c)
    else:
        update_as(ADAM, w, g, state, s, c)


cdef inline void coefficients_of(const double* row, real* c) noexcept nogil:
    """The numbers of one update, and two of their complements, taken in double precision."""
    cdef Py_ssize_t j
    for j in range(COEFFICIENTS):
        c[j] = <real> row[j]
    c[5] = <real> (1.0 - row[2])
    c[6] = <real> (1.0 - row[3])
