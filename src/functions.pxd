# cython: language_level=3, cdivision=True
# What activations are made of, beside what numerics.pxd has: exp(z) - 1, log(1 + e), softplus, and z times a gate.
from libc.stdint cimport uint32_t, uint64_t

from numerics cimport *


# e^z - 1 for z <= 0: m 2^n + (2^n - 1), m = e^r - 1 as in exp; where n = 0 nothing cancels. Below the clamp it is -1.

cdef inline number exp_minus_1(number z) noexcept nogil:
    cdef number x, shifted, n, r, power
    if number is float:
        x = <float> -26.0 if z < -26 else z
        shifted = fmaf(x, 1.44269504088896341, 12582912.0 + 127)
        n = shifted - <float> (12582912.0 + 127)
        r = fmaf(n, -1.42860682030941723e-6, fmaf(n, -0.693145751953125, x))
        power = two_to_the32(<uint32_t> bits_of_float(shifted))
    else:
        x = -40.0 if z < -40 else z
        shifted = fma64(x, 1.44269504088896340736, 6755399441055744.0 + 1023)
        n = shifted - (6755399441055744.0 + 1023)
        r = fma64(n, -1.90821492927058770002e-10, fma64(n, -0.693147180369123816490, x))
        power = two_to_the64(<uint64_t> bits_of_double(shifted))
    return fma[number](fma[number](exp_polynomial[number](r) * r, r, r), power, power - <number> 1.0)


# log(1 + e) = 2 atanh(t / 2) for 0 <= e <= 1, t = e / (1 + e / 2) <= 2/3: t + t s (1/3 + s/5 + s^2/7 + ...), s = (t / 2)^2.

cdef inline number log_1_plus(number e) noexcept nogil:
    cdef number t = e / fma[number](<number> 0.5, e, <number> 1.0)
    cdef number s = <number> 0.25 * t * t
    cdef number p
    if number is float:
        p = 1.0 / 15
    else:
        p = 1.0 / 33
        p = fma64(p, s, 1.0 / 31)
        p = fma64(p, s, 1.0 / 29)
        p = fma64(p, s, 1.0 / 27)
        p = fma64(p, s, 1.0 / 25)
        p = fma64(p, s, 1.0 / 23)
        p = fma64(p, s, 1.0 / 21)
        p = fma64(p, s, 1.0 / 19)
        p = fma64(p, s, 1.0 / 17)
        p = fma64(p, s, 1.0 / 15)
    p = fma[number](p, s, <number> (1.0 / 13))
    p = fma[number](p, s, <number> (1.0 / 11))
    p = fma[number](p, s, <number> (1.0 / 9))
    p = fma[number](p, s, <number> (1.0 / 7))
    p = fma[number](p, s, <number> (1.0 / 5))
    p = fma[number](p, s, <number> (1.0 / 3))
    return fma[number](t * s, p, t)


cdef inline number softplus(number z) noexcept nogil:
    """log(1 + e^z)."""
    return (<number> 0.0 if z < 0 else z) + log_1_plus[number](exp[number](-fabs[number](z)))


# z times a gate that falls to 0 as z does: z is clamped where the gate has become 0, or -inf * 0 would be no number.
# Where e^-|z| would be subnormal, below -87 or -708, they are 0. With e = e^-|z|: sigmoid(z) = a / (1 + e), a = 1 or e;
# tanh(softplus(z)) = u / (u + v), u = 1 + 2 e and v = 2 e^2, or for z < 0 u = e (e + 2) and v = 2.

cdef inline number no_lower(number z, number limit) noexcept nogil:
    return limit if z < limit else z

cdef inline number gated_slope(number z, number x, number slope) noexcept nogil:
    """The derivative of z sigmoid(x), x a function of z with this slope: q + z q (1 - q) x', q = sigmoid(x)."""
    cdef number e = exp[number](-fabs[number](x))
    cdef number inverse = <number> 1.0 / (<number> 1.0 + e)
    cdef number q = (e if x < 0 else <number> 1.0) * inverse
    cdef number rest = (<number> 1.0 if x < 0 else e) * inverse
    return fma[number](q * rest, z * slope, q)

cdef inline number silu(number z) noexcept nogil:
    return no_lower[number](z, -1000) * sigmoid[number](z)

cdef inline number silu_derivative(number z) noexcept nogil:
    cdef number x = no_lower[number](z, -1000)
    x = <number> 1000.0 if x > 1000 else x
    return gated_slope[number](x, x, <number> 1.0)

cdef inline number gelu_tanh_argument(number z) noexcept nogil:
    """2 u, u = sqrt(2 / pi) (z + 0.044715 z^3): (1 + tanh(u)) / 2 = sigmoid(2 u)."""
    return z * fma[number](<number> 0.0713548162726002527, z * z, <number> 1.59576912160573071)

cdef inline number gelu_tanh(number z) noexcept nogil:
    cdef number low = no_lower[number](z, -30)
    cdef number x = <number> 30.0 if low > 30 else low
    return low * sigmoid[number](gelu_tanh_argument[number](x))

cdef inline number gelu_tanh_derivative(number z) noexcept nogil:
    cdef number x = no_lower[number](z, -30)
    x = <number> 30.0 if x > 30 else x
    return gated_slope[number](x, gelu_tanh_argument[number](x),
                               fma[number](<number> 0.214064448817800758, x * x, <number> 1.59576912160573071))

cdef inline number mish(number z) noexcept nogil:
    cdef number x = no_lower[number](z, -1000)
    cdef number e = exp[number](-fabs[number](x))
    cdef number u = fma[number](e, e, e + e) if x < 0 else fma[number](<number> 2.0, e, <number> 1.0)
    cdef number v = <number> 2.0 if x < 0 else <number> 2.0 * e * e
    return x * (u / (u + v))

cdef inline number mish_derivative(number z) noexcept nogil:
    """t + z (1 - t^2) sigmoid(z), t = tanh(softplus(z))."""
    cdef number x = no_lower[number](z, -1000)
    x = <number> 1000.0 if x > 1000 else x
    cdef number e = exp[number](-fabs[number](x))
    cdef number u = fma[number](e, e, e + e) if x < 0 else fma[number](<number> 2.0, e, <number> 1.0)
    cdef number v = <number> 2.0 if x < 0 else <number> 2.0 * e * e
    cdef number inverse = <number> 1.0 / (u + v)
    cdef number t = u * inverse
    cdef number q = (e if x < 0 else <number> 1.0) / (<number> 1.0 + e)
    return fma[number](x * q, v * inverse * (<number> 1.0 + t), t)

cdef inline number softsign(number z) noexcept nogil:
    """z / (1 + |z|)."""
    cdef number a = fabs[number](z)
    a = <number> 1e30 if a > <number> 1e30 else a           # inf / inf is no number
    return copysign[number](a / (<number> 1.0 + a), z)
