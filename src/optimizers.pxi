# Optimizers: one update of w from its gradient g.

cdef enum:                      # the codes of fastnn/optimizers.py
    SGD, MOMENTUM, NESTEROV, ADAM
    OPTIMIZERS

cdef enum:
    COEFFICIENTS = 5            # numbers that one update needs, from the optimizer's `coefficients`


cdef inline Py_ssize_t slots_of(int optimizer) noexcept nogil:
    """How many arrays of state an update keeps."""
    return 0 if optimizer == SGD else 2 if optimizer == ADAM else 1


cdef inline void update_as(int code, real[::1] w, Py_ssize_t w0, const real[::1] g, Py_ssize_t g0,
                           real[::1] state, Py_ssize_t m0, Py_ssize_t v0, Py_ssize_t n,
                           const real* c) noexcept nogil:
    # The coefficients c are those of the optimizer's `coefficients`, fastnn/optimizers.py.
    cdef Py_ssize_t j
    cdef real change, m, v
    for j in range(n):
        if code == SGD:
            w[w0 + j] = fma[real](-c[0], g[g0 + j], w[w0 + j])
        elif code == ADAM:
            m = fma[real](c[5], g[g0 + j] - state[m0 + j], state[m0 + j])
            v = fma[real](c[6], fma[real](g[g0 + j], g[g0 + j], -state[v0 + j]), state[v0 + j])
            state[m0 + j] = m
            state[v0 + j] = v
            w[w0 + j] = w[w0 + j] - c[0] * m / fma[real](sqrt[real](v), c[1], c[4])
        else:
            change = fma[real](c[1], state[m0 + j], -c[0] * g[g0 + j])
            state[m0 + j] = change
            if code == NESTEROV:
                change = fma[real](c[1], change, -c[0] * g[g0 + j])
            w[w0 + j] = w[w0 + j] + change


cdef inline void update(int code, real[::1] w, Py_ssize_t w0, const real[::1] g, Py_ssize_t g0,
                        real[::1] state, Py_ssize_t m0, Py_ssize_t v0, Py_ssize_t n,
                        const real* c) noexcept nogil:
    """One optimizer step of w from its gradient g; m and v are the optimizer's state."""
    if code == SGD:
        update_as[real](SGD, w, w0, g, g0, state, m0, v0, n, c)
    elif code == MOMENTUM:
        update_as[real](MOMENTUM, w, w0, g, g0, state, m0, v0, n, c)
    elif code == NESTEROV:
        update_as[real](NESTEROV, w, w0, g, g0, state, m0, v0, n, c)
    else:
        update_as[real](ADAM, w, w0, g, g0, state, m0, v0, n, c)


cdef inline void coefficients_of(int optimizer, const double[:, ::1] coefficients, Py_ssize_t step,
                                 real* c) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(COEFFICIENTS):
        c[j] = <real> coefficients[step, j]
    c[5] = <real> (1.0 - coefficients[step, 2])
    c[6] = <real> (1.0 - coefficients[step, 3])
