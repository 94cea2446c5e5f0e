# cython: language_level=3, cdivision=True
"""The arithmetic of one element: fused multiply-add, exp, log, tanh, the activations, the optimizers' updates.

Everything here is branch-free where a loop over elements must become vector code, and spelled with explicit
`fma`, so that every build that has the instruction gives the same bits, whatever its vector width. The row
functions at the end choose the formula once and then run one plain loop.

An activation or an optimizer is added here: its code, its formula, one line in the row function's choice.
"""
from libc.stdint cimport int32_t, int64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Without the instruction a call of the C library's fma would cost a hundred times the arithmetic:
       the baseline build rounds twice, and agrees with the others within tolerance instead of in bits. */
    #if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    #define fastnn_fmaf(a, b, c) __builtin_fmaf(a, b, c)
    #define fastnn_fma(a, b, c) __builtin_fma(a, b, c)
    #else
    #define fastnn_fmaf(a, b, c) ((a) * (b) + (c))
    #define fastnn_fma(a, b, c) ((a) * (b) + (c))
    #endif

    static inline int32_t fastnn_bits_of_float(float x) { int32_t n; memcpy(&n, &x, sizeof n); return n; }
    static inline float fastnn_float_of_bits(int32_t n) { float x; memcpy(&x, &n, sizeof x); return x; }
    static inline int64_t fastnn_bits_of_double(double x) { int64_t n; memcpy(&n, &x, sizeof n); return n; }
    static inline double fastnn_double_of_bits(int64_t n) { double x; memcpy(&x, &n, sizeof x); return x; }
    """
    float fmaf "fastnn_fmaf" (float a, float b, float c) noexcept nogil
    double fma64 "fastnn_fma" (double a, double b, double c) noexcept nogil
    float sqrtf "__builtin_sqrtf" (float x) noexcept nogil
    double sqrt64 "__builtin_sqrt" (double x) noexcept nogil
    float fabsf "__builtin_fabsf" (float x) noexcept nogil
    double fabs64 "__builtin_fabs" (double x) noexcept nogil
    float copysignf "__builtin_copysignf" (float x, float sign) noexcept nogil
    double copysign64 "__builtin_copysign" (double x, double sign) noexcept nogil
    int32_t bits_of_float "fastnn_bits_of_float" (float x) noexcept nogil
    float float_of_bits "fastnn_float_of_bits" (int32_t n) noexcept nogil
    int64_t bits_of_double "fastnn_bits_of_double" (double x) noexcept nogil
    double double_of_bits "fastnn_double_of_bits" (int64_t n) noexcept nogil

ctypedef fused real:
    float
    double

# The codes of fastnn/activations.py, losses.py and optimizers.py.
cdef enum:
    IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX
    ACTIVATIONS                 # how many there are

cdef enum:
    CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED_ERROR
    LOSSES

cdef enum:
    SGD, MOMENTUM, NESTEROV, ADAM
    OPTIMIZERS

cdef enum:
    COEFFICIENTS = 5            # numbers that one update needs, from the optimizer's `coefficients`


cdef inline real fma(real a, real b, real c) noexcept nogil:
    if real is float:
        return fmaf(a, b, c)
    else:
        return fma64(a, b, c)

cdef inline real sqrt(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt64(x)

cdef inline real fabs(real x) noexcept nogil:
    if real is float:
        return fabsf(x)
    else:
        return fabs64(x)

cdef inline real copysign(real x, real sign) noexcept nogil:
    if real is float:
        return copysignf(x, sign)
    else:
        return copysign64(x, sign)


# exp(x) = 2^n e^r, n = round(x / ln 2), r = x - n ln 2, |r| <= ln 2 / 2; e^r - 1 is its Taylor polynomial.
# Adding 1.5 * 2^(mantissa bits) rounds to the nearest integer, which then stands in the sum's low bits.

cdef inline int32_t power_of_two32(float x, float* r) noexcept nogil:
    cdef float shifted = fmaf(x, 1.44269504088896341, 12582912.0)
    cdef float n = shifted - <float> 12582912.0
    # ln 2 in two parts: the first has 16 bits, so n times it is exact
    r[0] = fmaf(n, -1.42860682030941723e-6, fmaf(n, -0.693145751953125, x))
    return bits_of_float(shifted) - bits_of_float(12582912.0)

cdef inline float expm1_polynomial32(float r) noexcept nogil:
    cdef float p = 1.0 / 5040.0
    p = fmaf(p, r, 1.0 / 720.0)
    p = fmaf(p, r, 1.0 / 120.0)
    p = fmaf(p, r, 1.0 / 24)
    p = fmaf(p, r, 1.0 / 6)
    p = fmaf(p, r, 0.5)
    return fmaf(p * r, r, r)

cdef inline int64_t power_of_two64(double x, double* r) noexcept nogil:
    cdef double shifted = fma64(x, 1.44269504088896340736, 6755399441055744.0)
    cdef double n = shifted - 6755399441055744.0
    # the first part of ln 2 has 33 bits
    r[0] = fma64(n, -1.90821492927058770002e-10, fma64(n, -0.693147180369123816490, x))
    return bits_of_double(shifted) - bits_of_double(6755399441055744.0)

cdef inline double expm1_polynomial64(double r) noexcept nogil:
    cdef double p = 1.0 / 6227020800.0
    p = fma64(p, r, 1.0 / 479001600.0)
    p = fma64(p, r, 1.0 / 39916800.0)
    p = fma64(p, r, 1.0 / 3628800.0)
    p = fma64(p, r, 1.0 / 362880.0)
    p = fma64(p, r, 1.0 / 40320.0)
    p = fma64(p, r, 1.0 / 5040.0)
    p = fma64(p, r, 1.0 / 720.0)
    p = fma64(p, r, 1.0 / 120.0)
    p = fma64(p, r, 1.0 / 24)
    p = fma64(p, r, 1.0 / 6)
    p = fma64(p, r, 0.5)
    return fma64(p * r, r, r)

cdef inline real exp(real x) noexcept nogil:
    # The power is applied as two halves, so that the smallest subnormals come out rounded once.
    # A NaN fails both comparisons and is kept.
    cdef real r = 0, bounded
    cdef int32_t n32, half32
    cdef int64_t n64, half64
    if real is float:
        bounded = <float> 89.0 if x > 89 else x
        bounded = <float> -104.0 if bounded < -104 else bounded
        n32 = power_of_two32(bounded, &r)
        half32 = n32 >> 1
        return ((expm1_polynomial32(r) + <float> 1.0) * float_of_bits((half32 + 127) << 23)
                * float_of_bits((n32 - half32 + 127) << 23))
    else:
        bounded = 710.0 if x > 710 else x
        bounded = -746.0 if bounded < -746 else bounded
        n64 = power_of_two64(bounded, &r)
        half64 = n64 >> 1
        return ((expm1_polynomial64(r) + 1.0) * double_of_bits((half64 + 1023) << 52)
                * double_of_bits((n64 - half64 + 1023) << 52))


# log(x) = e ln 2 + 2 atanh(s), x = 2^e m, m in [sqrt(1/2), sqrt 2), s = (m - 1) / (m + 1);
# atanh(s) = s + s^3/3 + s^5/5 + ...  Only losses need it, always in double precision, for x >= 2^-1022.

cdef inline double log64(double x) noexcept nogil:
    cdef int64_t bits = bits_of_double(x)
    cdef int64_t exponent = (bits - bits_of_double(0.70710678118654752440)) >> 52
    cdef double m = double_of_bits(bits - (exponent << 52))
    # |exponent| < 2^51: beside 1.5 * 2^52 its bits are a double's low bits
    cdef double e = double_of_bits(exponent + bits_of_double(6755399441055744.0)) - 6755399441055744.0
    cdef double s = (m - 1.0) / (m + 1.0)
    cdef double s2 = s * s
    cdef double p = 1.0 / 23
    p = fma64(p, s2, 1.0 / 21)
    p = fma64(p, s2, 1.0 / 19)
    p = fma64(p, s2, 1.0 / 17)
    p = fma64(p, s2, 1.0 / 15)
    p = fma64(p, s2, 1.0 / 13)
    p = fma64(p, s2, 1.0 / 11)
    p = fma64(p, s2, 1.0 / 9)
    p = fma64(p, s2, 1.0 / 7)
    p = fma64(p, s2, 1.0 / 5)
    p = fma64(p, s2, 1.0 / 3)
    p = fma64(p, s2 * s, s)
    return fma64(e, 0.693147180559945309417, p + p)


# --- activations: h = g(z), and g'(z) written in h ------------------------------------------------------

cdef inline real sigmoid(real z) noexcept nogil:
    # 1 / (1 + e^-z) for z >= 0, e^z / (1 + e^z) for z < 0: no overflow, full precision in both tails
    cdef real e = exp[real](-fabs[real](z))
    return (e if z < 0 else <real> 1.0) / (<real> 1.0 + e)

cdef inline real tanh(real z) noexcept nogil:
    # t / (t + 2) with t = e^(2|z|) - 1 = 2^n q + (2^n - 1), which keeps its relative precision near zero
    cdef real a = fabs[real](z)
    cdef real r = 0, t, power
    if real is float:
        a = <float> 10.0 if a > 10 else a           # tanh(10) rounds to 1
        power = float_of_bits((power_of_two32(a + a, &r) + 127) << 23)
        t = fmaf(power, expm1_polynomial32(r), power - <float> 1.0)
    else:
        a = 20.0 if a > 20 else a
        power = double_of_bits((power_of_two64(a + a, &r) + 1023) << 52)
        t = fma64(power, expm1_polynomial64(r), power - 1.0)
    return copysign[real](t / (t + <real> 2.0), z)

cdef inline real activation(int code, real z, real slope) noexcept nogil:
    if code == SIGMOID:
        return sigmoid[real](z)
    if code == TANH:
        return tanh[real](z)
    if code == RELU:
        return <real> 0.0 if z < 0 else z
    if code == LEAKY_RELU:
        return slope * z if z < 0 else z
    return z

cdef inline real derivative(int code, real h, real slope) noexcept nogil:
    if code == SIGMOID:
        return h * (<real> 1.0 - h)
    if code == TANH:
        return fma[real](-h, h, <real> 1.0)
    if code == RELU:
        return <real> 1.0 if h > 0 else <real> 0.0
    if code == LEAKY_RELU:
        return <real> 1.0 if h > 0 else slope
    return <real> 1.0

# --- a range of elements: one choice of the formula, then one plain loop --------------------------------

cdef inline void activate_as(int code, const real[::1] z, Py_ssize_t z0, real[::1] h, Py_ssize_t h0,
                             Py_ssize_t n, real slope) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        h[h0 + j] = activation[real](code, z[z0 + j], slope)

cdef inline void differentiate_as(int code, const real[::1] h, Py_ssize_t h0, real[::1] d,
                                  Py_ssize_t d0, Py_ssize_t n, real slope) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        d[d0 + j] = d[d0 + j] * derivative[real](code, h[h0 + j], slope)

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


cdef inline void activate(int code, const real[::1] z, Py_ssize_t z0, real[::1] h, Py_ssize_t h0,
                          Py_ssize_t n, real slope) noexcept nogil:
    """h = g(z), elementwise."""
    if code == SIGMOID:
        activate_as[real](SIGMOID, z, z0, h, h0, n, slope)
    elif code == TANH:
        activate_as[real](TANH, z, z0, h, h0, n, slope)
    elif code == RELU:
        activate_as[real](RELU, z, z0, h, h0, n, slope)
    elif code == LEAKY_RELU:
        activate_as[real](LEAKY_RELU, z, z0, h, h0, n, slope)
    else:
        activate_as[real](IDENTITY, z, z0, h, h0, n, slope)


cdef inline void differentiate(int code, const real[::1] h, Py_ssize_t h0, real[::1] d,
                               Py_ssize_t d0, Py_ssize_t n, real slope) noexcept nogil:
    """dz = dh * g'(z), elementwise, in place."""
    if code == SIGMOID:
        differentiate_as[real](SIGMOID, h, h0, d, d0, n, slope)
    elif code == TANH:
        differentiate_as[real](TANH, h, h0, d, d0, n, slope)
    elif code == RELU:
        differentiate_as[real](RELU, h, h0, d, d0, n, slope)
    elif code == LEAKY_RELU:
        differentiate_as[real](LEAKY_RELU, h, h0, d, d0, n, slope)


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


# --- softmax and losses: reductions along a row ---------------------------------------------------------
# Sums run in ascending order, in double precision, whatever the vector width.

cdef inline double softmax(const real[::1] z, Py_ssize_t z0, real[::1] p, Py_ssize_t p0,
                           Py_ssize_t n) noexcept nogil:
    """p = e^z / sum(e^z); returns the sum of e^(z - max z)."""
    cdef Py_ssize_t j
    cdef real top = z[z0], inverse
    cdef double total = 0
    for j in range(1, n):
        top = z[z0 + j] if z[z0 + j] > top else top
    for j in range(n):
        p[p0 + j] = exp[real](z[z0 + j] - top)
    for j in range(n):
        total += p[p0 + j]
    inverse = <real> (1.0 / total)
    for j in range(n):
        p[p0 + j] = p[p0 + j] * inverse
    return total


cdef inline void softmax_backward(const real[::1] h, Py_ssize_t h0, real[::1] d, Py_ssize_t d0,
                                  Py_ssize_t n) noexcept nogil:
    """dz = h * (dh - sum(dh * h)), in place."""
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(n):
        total += <double> d[d0 + j] * h[h0 + j]
    for j in range(n):
        d[d0 + j] = h[h0 + j] * (d[d0 + j] - <real> total)
