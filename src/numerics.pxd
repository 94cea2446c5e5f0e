# cython: language_level=3, cdivision=True
# One number: fused multiply-add, exp, log, sigmoid, tanh, gelu.
#
# Everything is branch-free where a loop over elements must become vector code, and spelled with explicit `fma`, so
# that every build that has the instruction gives the same bits, whatever its vector width.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

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

ctypedef fused number:
    float
    double

cdef inline number fma(number a, number b, number c) noexcept nogil:
    if number is float:
        return fmaf(a, b, c)
    else:
        return fma64(a, b, c)

cdef inline number sqrt(number x) noexcept nogil:
    if number is float:
        return sqrtf(x)
    else:
        return sqrt64(x)

cdef inline number fabs(number x) noexcept nogil:
    if number is float:
        return fabsf(x)
    else:
        return fabs64(x)

cdef inline number copysign(number x, number sign) noexcept nogil:
    if number is float:
        return copysignf(x, sign)
    else:
        return copysign64(x, sign)


# exp(x) = 2^n e^r, n = round(x / ln 2), r = x - n ln 2, |r| <= ln 2 / 2; e^r = 1 + r + r^2 P(r).
# tanh is that of h = |x| - n ln 2 / 2 by the theorem of addition; tanh(h) = h + h^3 Q(h^2).
# P and Q have the smallest relative error of exp and tanh: 2^-28 and 2^-29 in float32, 2^-58 and 2^-60 in
# float64. Their coefficients are near those of Taylor: 1/2, 1/6, 1/24, ... and -1/3, 2/15, -17/315, ...
#
# Adding 1.5 * 2^(mantissa bits) rounds to the nearest integer, which then stands in the sum's low bits.
# With the exponent's bias added as well, these bits are the exponent of 2^n.

cdef inline float two_to_the32(uint32_t biased) noexcept nogil:
    return float_of_bits(<int32_t> (biased << 23))

cdef inline double two_to_the64(uint64_t biased) noexcept nogil:
    return double_of_bits(<int64_t> (biased << 52))

cdef inline number exp_polynomial(number r) noexcept nogil:
    """P(r)."""
    cdef number p
    if number is float:
        p = 0.0013814611
        p = fmaf(p, r, 0.00836871004)
        p = fmaf(p, r, 0.0416683874)
        p = fmaf(p, r, 0.166665207)
        return fmaf(p, r, 0.499999935)
    else:
        p = 2.50000274246983312e-8
        p = fma64(p, r, 2.76302330317506266e-7)
        p = fma64(p, r, 2.75575864071524554e-6)
        p = fma64(p, r, 0.0000248014931385139343)
        p = fma64(p, r, 0.000198412695066245538)
        p = fma64(p, r, 0.0013888888943595659)
        p = fma64(p, r, 0.00833333333349440251)
        p = fma64(p, r, 0.0416666666665302727)
        p = fma64(p, r, 0.166666666666664127)
        return fma64(p, r, 0.500000000000001062)

cdef inline number tanh_polynomial(number s) noexcept nogil:
    """Q(s), s = h^2, |h| <= 0.5625."""
    cdef number q
    if number is float:
        q = -0.00617982434
        q = fmaf(q, s, 0.0210074707)
        q = fmaf(q, s, -0.0538374336)
        q = fmaf(q, s, 0.133324523)
        return fmaf(q, s, -0.333333139)
    else:
        q = -0.000018903975897412999
        q = fma64(q, s, 0.0000823609551041719481)
        q = fma64(q, s, -0.000232716241428512019)
        q = fma64(q, s, 0.000588183659935256243)
        q = fma64(q, s, -0.00145547964525260205)
        q = fma64(q, s, 0.00359208225065054318)
        q = fma64(q, s, -0.00886323163725398854)
        q = fma64(q, s, 0.0218694883272810119)
        q = fma64(q, s, -0.0539682539617245999)
        q = fma64(q, s, 0.133333333333231334)
        return fma64(q, s, -0.333333333333332778)

cdef inline number exp(number z) noexcept nogil:
    # 2^n is two factors, since 2^128 is beyond float32 and e^x not yet: n + 2 bias in halves.
    # A NaN fails both comparisons and is kept. Both are of z, as given: one that sees the other's constant becomes a
    # third case, and blends.
    cdef number x, shifted, n, r, power, power2, sum
    cdef uint32_t n32
    cdef uint64_t n64
    if number is float:
        x = <float> 89.0 if z > 89 else z
        x = <float> -104.0 if z < -104 else x
        shifted = fmaf(x, 1.44269504088896341, 12582912.0 + 2 * 127)
        n = shifted - <float> (12582912.0 + 2 * 127)
        # ln 2 in two parts: the first has 16 bits, so n times it is exact
        r = fmaf(n, -1.42860682030941723e-6, fmaf(n, -0.693145751953125, x))
        n32 = <uint32_t> bits_of_float(shifted)
        power, power2 = two_to_the32(n32 >> 1), two_to_the32(n32 - (n32 >> 1))
    else:
        x = 710.0 if z > 710 else z
        x = -746.0 if z < -746 else x
        shifted = fma64(x, 1.44269504088896340736, 6755399441055744.0 + 2 * 1023)
        n = shifted - (6755399441055744.0 + 2 * 1023)
        # the first part of ln 2 has 33 bits
        r = fma64(n, -1.90821492927058770002e-10, fma64(n, -0.693147180369123816490, x))
        n64 = <uint64_t> bits_of_double(shifted)
        power, power2 = two_to_the64(n64 >> 1), two_to_the64(n64 - (n64 >> 1))
    # r - (sum - 1) is what rounding left out of 1 + r
    sum = <number> 1.0 + r
    sum = sum + fma[number](exp_polynomial[number](r) * r, r, r - (sum - <number> 1.0))
    return sum * power * power2


# log(x) = e ln 2 + 2 atanh(s), x = 2^e m, m in [sqrt(1/2), sqrt 2), s = (m - 1) / (m + 1);
# atanh(s) = s + s^3/3 + s^5/5 + ...  Only losses need it, always in double precision, for x >= 2^-1022.

cdef inline double log64(double x) noexcept nogil:
    cdef int64_t bits = bits_of_double(x)
    cdef int64_t exponent = (bits - bits_of_double(0.70710678118654752440)) >> 52
    cdef double m = double_of_bits(<int64_t> (<uint64_t> bits - (<uint64_t> exponent << 52)))
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

# A quotient q = a / d, with d rounded, is brought nearer by one step of Newton's method: q + (a - q d) / d,
# a - q d from the exact d. Without it either function would fall here and there where it should rise.

cdef inline number sigmoid(number z) noexcept nogil:
    # a / (1 + e), e = e^-|z|: a = 1 for z >= 0, a = e for z < 0: no overflow, full precision in both tails
    cdef number e = exp[number](-fabs[number](z))
    cdef number a = e if z < 0 else <number> 1.0
    cdef number inverse = <number> 1.0 / (<number> 1.0 + e)
    cdef number q = a * inverse
    return fma[number](fma[number](-q, e, a - q), inverse, q)

cdef inline number tanh(number z) noexcept nogil:
    # tanh(k + h) = (m + s t) / (s + m t), t = tanh(h), k = n ln 2 / 2, m / s = tanh(k), s = 1 + 2^-n.
    # Below 0.5625 n = 0, which gives t itself; above, the result is so large that t's rounding hardly counts.
    cdef number a = fabs[number](z)
    cdef number x, shifted, minus_n, h, t, power, s, m, inverse, q, rest
    if number is float:
        x = <float> 10.0 if a > 10 else a           # tanh(10) rounds to 1
        shifted = fmaf(x, -2.88539008177792681, 12582912.0 + 127)
        shifted = <float> (12582912.0 + 127) if a < <float> 0.5625 else shifted
        minus_n = shifted - <float> (12582912.0 + 127)
        h = fmaf(minus_n, 0.346573590279972655, x)
        power = two_to_the32(<uint32_t> bits_of_float(shifted))
    else:
        x = 20.0 if a > 20 else a
        shifted = fma64(x, -2.88539008177792681472, 6755399441055744.0 + 1023)
        shifted = 6755399441055744.0 + 1023 if a < 0.5625 else shifted
        minus_n = shifted - (6755399441055744.0 + 1023)
        h = fma64(minus_n, 0.346573590279972654709, x)
        power = two_to_the64(<uint64_t> bits_of_double(shifted))
    t = h * h
    t = fma[number](tanh_polynomial[number](t), t * h, h)
    s = <number> 1.0 + power
    m = fma[number](-2.0, power, s)   # s - 2^(1-n): where 1 + 2^-n is rounded, m / s keeps its precision
    inverse = <number> 1.0 / fma[number](m, t, s)
    q = fma[number](s, t, m) * inverse
    rest = fma[number](t, fma[number](-q, m, s), fma[number](-q, s, m))       # m + s t - q (s + m t)
    return copysign[number](fma[number](rest, inverse, q), z)


# GELU: z Phi(z) = max(z, 0) - a Q, a = |z|; Phi(z) = Q or 1 - Q, Q = Phi(-a); gelu'(z) = D or 1 - D, D = Q - a phi(a).
#   2 Q = e^(-a^2/2) (1 + w) / d,  d = c + k a,  u = a / d;  c, k = 3/2, 3/4 in float32, 7/4, 9/16 in float64.
# w is a polynomial in u (float64: in u - 1, which is exact where it matters); 1 + w is c at a = 0 and k sqrt(2 / pi)
# at infinity. Its relative error is 2^-26.9 for a < 13.3, and 2^-54.9 for a < 38.7, where it has the type's coefficients.
# e^(-a^2/2) = (1 + m) 2^n, and 1 + m is never rounded; what rounding leaves out of a^2 goes into the small part of r.
#
# Greatest errors in ulp, in float32 (all numbers) and float64 (3 10^6 samples), where the result is not subnormal:
# gelu 2.29 and 3.1; gelu' 2.97 and 2.9, in ulp of max(Phi, |z| phi).

cdef inline number gaussian(number a, int scale, number* power) noexcept nogil:
    """m: e^(-a^2/2) = (1 + m) 2^n; power = 2^(n + scale), zero where its exponent's bits are."""
    cdef number half = <number> -0.5 * a
    cdef number x = half * a
    cdef number low = fma[number](half, a, -x)
    cdef number shifted, n, r
    if number is float:
        shifted = fmaf(x, 1.44269504088896341, <float> (12582912.0 + 127) + <float> scale)
        n = shifted - (<float> (12582912.0 + 127) + <float> scale)
        r = fmaf(n, -0.693145751953125, x) + fmaf(n, -1.42860682030941723e-6, low)
        power[0] = two_to_the32(<uint32_t> bits_of_float(shifted))
    else:
        shifted = fma64(x, 1.44269504088896340736, (6755399441055744.0 + 1023) + scale)
        n = shifted - ((6755399441055744.0 + 1023) + scale)
        r = fma64(n, -0.693147180369123816490, x) + fma64(n, -1.90821492927058770002e-10, low)
        power[0] = two_to_the64(<uint64_t> bits_of_double(shifted))
    return fma[number](exp_polynomial[number](r) * r, r, r)

cdef inline number tail_denominator(number a) noexcept nogil:
    """d."""
    if number is float:
        return fmaf(0.75, a, 1.5)
    else:
        return fma64(0.5625, a, 1.75)

cdef inline number tail_polynomial(number u) noexcept nogil:
    """w(u), u = a / d."""
    cdef number w
    if number is float:
        w = -0.0061624907
        w = fmaf(w, u, 0.0341782942)
        w = fmaf(w, u, -0.0709874406)
        w = fmaf(w, u, 0.0745797381)
        w = fmaf(w, u, -0.0540429913)
        w = fmaf(w, u, 0.0149832517)
        w = fmaf(w, u, 0.012783506)
        w = fmaf(w, u, 0.0498978123)
        w = fmaf(w, u, 0.053996399)
        w = fmaf(w, u, -0.161634922)
        w = fmaf(w, u, -0.670239389)
        return fmaf(w, u, 0.5)
    else:
        u = u - 1.0
        w = 1.9665927838502292e-08
        w = fma64(w, u, 4.391282142095165e-08)
        w = fma64(w, u, -1.71278290297676e-07)
        w = fma64(w, u, -6.846278458147554e-07)
        w = fma64(w, u, -3.276971901177794e-07)
        w = fma64(w, u, 2.0430685338256243e-06)
        w = fma64(w, u, 3.6198349003356906e-06)
        w = fma64(w, u, -1.6124400136573242e-06)
        w = fma64(w, u, -1.213829055895698e-05)
        w = fma64(w, u, -9.10702526085794e-06)
        w = fma64(w, u, 2.550091397101559e-05)
        w = fma64(w, u, 5.3542314973861856e-05)
        w = fma64(w, u, -2.9355045902122356e-05)
        w = fma64(w, u, -0.00020088898516122626)
        w = fma64(w, u, -4.744768728950224e-05)
        w = fma64(w, u, 0.0007058242923223604)
        w = fma64(w, u, 0.0004935004592344506)
        w = fma64(w, u, -0.002854492454489422)
        w = fma64(w, u, -0.002130337383760124)
        w = fma64(w, u, 0.015413838572104882)
        w = fma64(w, u, -0.001936293159069036)
        w = fma64(w, u, -0.1020496927397977)
        w = fma64(w, u, 0.3225659695176934)
        w = fma64(w, u, -0.5868411436227693)
        w = fma64(w, u, -0.24471486958424848)
        return w

cdef inline number tail_start(number z) noexcept nogil:
    """|z|, and no more than where 2^n has become zero: z Phi(z) is subnormal there. A NaN is kept."""
    cdef number a = fabs[number](z)
    if number is float:
        return <float> 13.25 if a > <float> 13.25 else a
    else:
        return 37.66 if a > 37.66 else a

cdef inline number gelu(number z) noexcept nogil:
    cdef number a = tail_start[number](z)
    cdef number power
    cdef number m = gaussian[number](a, 0, &power)
    cdef number u = a / tail_denominator[number](a)
    cdef number w = tail_polynomial[number](u)
    cdef number positive = <number> 0.0 if z < 0 else z
    u = u * power
    # a Q = u (1 + m) (1 + w) / 2, halved where it cannot underflow
    return fma[number](<number> -0.5, fma[number](u, fma[number](m, w, w) + m, u), positive)

cdef inline number gelu_derivative(number z) noexcept nogil:
    # |z| phi(z) is normal where 2^n no longer is: 2^(n + 4), and 2^-4 at the end
    cdef number a = fabs[number](z)
    cdef number power, m, t, w, d
    if number is float:
        a = <float> 13.47 if a > <float> 13.47 else a
    else:
        a = 37.73 if a > 37.73 else a
    m = gaussian[number](a, 4, &power)
    t = <number> 1.0 / tail_denominator[number](a)
    w = tail_polynomial[number](a * t)
    t = t * <number> 0.5
    t = fma[number](a, <number> -0.398942280401432677940, fma[number](t, w, t)) * power
    d = fma[number](t, m, t) * <number> 0.0625
    return d if z < 0 else <number> 1.0 - d
