# Activations: h = g(z) and g'(z). The row functions choose the formula once and run one plain loop.

cdef enum:                      # the codes of fastnn/activations.py
    IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, GELU
    ELU, SELU, GELU_TANH, SILU, SOFTPLUS, SOFTSIGN, MISH, EXPONENTIAL, HARD_SIGMOID, HARD_TANH
    ACTIVATIONS                 # how many there are

cdef inline real selu_scale() noexcept nogil:
    return <real> 1.0507009873554804934

cdef inline real selu_floor() noexcept nogil:
    """The scale times alpha."""
    return <real> 1.7580993408473768600

cdef inline real clipped(real z, real low) noexcept nogil:
    """Not below low, and not above 1; a NaN is kept."""
    cdef real h = low if z < low else z
    return <real> 1.0 if h > 1 else h

cdef inline real activation(int code, real z, real slope) noexcept nogil:
    # slope: leaky_relu's, or elu's alpha
    if code == SIGMOID:
        return sigmoid(z)
    if code == TANH:
        return tanh(z)
    if code == RELU:
        return <real> 0.0 if z < 0 else z
    if code == LEAKY_RELU:
        return slope * z if z < 0 else z
    if code == GELU:
        return gelu(z)
    if code == ELU:
        return slope * exp_minus_1(z) if z < 0 else z
    if code == SELU:
        return selu_floor() * exp_minus_1(z) if z < 0 else selu_scale() * z
    if code == GELU_TANH:
        return gelu_tanh(z)
    if code == SILU:
        return silu(z)
    if code == SOFTPLUS:
        return softplus(z)
    if code == SOFTSIGN:
        return softsign(z)
    if code == MISH:
        return mish(z)
    if code == EXPONENTIAL:
        return exp(z)
    if code == HARD_SIGMOID:
        return clipped(fma(<real> (1.0 / 6), z, <real> 0.5), 0)
    if code == HARD_TANH:
        return clipped(z, -1)
    return z

cdef inline bint reads_z(int code) noexcept nogil:
    """Whether the derivative is written in z; else it is in h, and z need not be kept."""
    return code == GELU or code == GELU_TANH or code == SILU or code == MISH

cdef inline real derivative(int code, real read, real slope) noexcept nogil:
    # read: h, or z where reads_z says so
    if code == SIGMOID:
        return read * (<real> 1.0 - read)
    if code == TANH:
        return fma(-read, read, <real> 1.0)
    if code == RELU:
        return <real> 1.0 if read > 0 else <real> 0.0
    if code == LEAKY_RELU:
        return <real> 1.0 if read > 0 else slope
    if code == GELU:
        return gelu_derivative(read)
    if code == ELU:
        return read + slope if read < 0 else <real> 1.0
    if code == SELU:
        return read + selu_floor() if read < 0 else selu_scale()
    if code == GELU_TANH:
        return gelu_tanh_derivative(read)
    if code == SILU:
        return silu_derivative(read)
    if code == SOFTPLUS:                # sigmoid(z) = 1 - e^-h
        return -exp_minus_1(-read)
    if code == SOFTSIGN:
        return (<real> 1.0 - fabs(read)) * (<real> 1.0 - fabs(read))
    if code == MISH:
        return mish_derivative(read)
    if code == EXPONENTIAL:
        return read
    if code == HARD_SIGMOID:
        return <real> (1.0 / 6) if 0 < read < 1 else <real> 0.0
    if code == HARD_TANH:
        return <real> 1.0 if -1 < read < 1 else <real> 0.0
    return <real> 1.0

cdef inline void activate_as(int code, const real[::1] z, Py_ssize_t z0, real[::1] h, Py_ssize_t h0,
                             Py_ssize_t n, real slope) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        h[h0 + j] = activation(code, z[z0 + j], slope)

cdef inline void differentiate_as(int code, const real[::1] h, Py_ssize_t h0, real[::1] d,
                                  Py_ssize_t d0, Py_ssize_t n, real slope) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        d[d0 + j] = d[d0 + j] * derivative(code, h[h0 + j], slope)


cdef void activate(int code, const real[::1] z, Py_ssize_t z0, real[::1] h, Py_ssize_t h0,
                          Py_ssize_t n, real slope) noexcept nogil:
    """h = g(z), elementwise."""
    if code == SIGMOID:
        activate_as(SIGMOID, z, z0, h, h0, n, slope)
    elif code == TANH:
        activate_as(TANH, z, z0, h, h0, n, slope)
    elif code == RELU:
        activate_as(RELU, z, z0, h, h0, n, slope)
    elif code == LEAKY_RELU:
        activate_as(LEAKY_RELU, z, z0, h, h0, n, slope)
    elif code == GELU:
        activate_as(GELU, z, z0, h, h0, n, slope)
    elif code == ELU:
        activate_as(ELU, z, z0, h, h0, n, slope)
    elif code == SELU:
        activate_as(SELU, z, z0, h, h0, n, slope)
    elif code == GELU_TANH:
        activate_as(GELU_TANH, z, z0, h, h0, n, slope)
    elif code == SILU:
        activate_as(SILU, z, z0, h, h0, n, slope)
    elif code == SOFTPLUS:
        activate_as(SOFTPLUS, z, z0, h, h0, n, slope)
    elif code == SOFTSIGN:
        activate_as(SOFTSIGN, z, z0, h, h0, n, slope)
    elif code == MISH:
        activate_as(MISH, z, z0, h, h0, n, slope)
    elif code == EXPONENTIAL:
        activate_as(EXPONENTIAL, z, z0, h, h0, n, slope)
    elif code == HARD_SIGMOID:
        activate_as(HARD_SIGMOID, z, z0, h, h0, n, slope)
    elif code == HARD_TANH:
        activate_as(HARD_TANH, z, z0, h, h0, n, slope)
    else:
        activate_as(IDENTITY, z, z0, h, h0, n, slope)


cdef void differentiate(int code, const real[::1] h, Py_ssize_t h0, real[::1] d,
                               Py_ssize_t d0, Py_ssize_t n, real slope) noexcept nogil:
    """dz = dh * g'(z), elementwise, in place."""
    if code == SIGMOID:
        differentiate_as(SIGMOID, h, h0, d, d0, n, slope)
    elif code == TANH:
        differentiate_as(TANH, h, h0, d, d0, n, slope)
    elif code == RELU:
        differentiate_as(RELU, h, h0, d, d0, n, slope)
    elif code == LEAKY_RELU:
        differentiate_as(LEAKY_RELU, h, h0, d, d0, n, slope)
    elif code == GELU:
        differentiate_as(GELU, h, h0, d, d0, n, slope)
    elif code == ELU:
        differentiate_as(ELU, h, h0, d, d0, n, slope)
    elif code == SELU:
        differentiate_as(SELU, h, h0, d, d0, n, slope)
    elif code == GELU_TANH:
        differentiate_as(GELU_TANH, h, h0, d, d0, n, slope)
    elif code == SILU:
        differentiate_as(SILU, h, h0, d, d0, n, slope)
    elif code == SOFTPLUS:
        differentiate_as(SOFTPLUS, h, h0, d, d0, n, slope)
    elif code == SOFTSIGN:
        differentiate_as(SOFTSIGN, h, h0, d, d0, n, slope)
    elif code == MISH:
        differentiate_as(MISH, h, h0, d, d0, n, slope)
    elif code == EXPONENTIAL:
        differentiate_as(EXPONENTIAL, h, h0, d, d0, n, slope)
    elif code == HARD_SIGMOID:
        differentiate_as(HARD_SIGMOID, h, h0, d, d0, n, slope)
    elif code == HARD_TANH:
        differentiate_as(HARD_TANH, h, h0, d, d0, n, slope)


# Softmax is a reduction along a row: in ascending order, in double precision, whatever the vector width, and whether a row
# stands alone or beside others.

cdef inline void softmax(real[::1] work, Py_ssize_t z, Py_ssize_t p, Py_ssize_t n, int side, real* top,
                         double* total) noexcept nogil:
    """p = e^z / sum(e^z) of `side` rows side by side; total: their sums of e^(z - top), top the largest z.

    A row that is alone is padded, with numbers of no meaning.
    """
    cdef Py_ssize_t j, width = padded(n) if side == 1 else n
    cdef int r
    cdef real inverse[SIDE]
    for r in range(side):
        top[r], total[r] = work[z + r], 0
    for j in range(1, n):
        for r in range(side):
            top[r] = work[z + j * side + r] if work[z + j * side + r] > top[r] else top[r]
    for j in range(width):
        for r in range(side):
            work[p + j * side + r] = exp(work[z + j * side + r] - top[r])
    for j in range(n):
        for r in range(side):
            total[r] += work[p + j * side + r]
    for r in range(side):
        inverse[r] = <real> (1.0 / total[r])
    for j in range(width):
        for r in range(side):
            work[p + j * side + r] = work[p + j * side + r] * inverse[r]


cdef inline void softmax_backward(const real[::1] h, Py_ssize_t h0, real[::1] d, Py_ssize_t d0,
                                  Py_ssize_t n) noexcept nogil:
    """dz = h * (dh - sum(dh * h)), in place."""
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(n):
        total += <double> d[d0 + j] * h[h0 + j]
    for j in range(n):
        d[d0 + j] = h[h0 + j] * (d[d0 + j] - <real> total)
