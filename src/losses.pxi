# The output: a row's loss, whether it agrees with its target, and dz_L.

cdef enum:                      # the codes of fastnn/losses.py
    CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED_ERROR
    LOSSES

# Where a training batch's dz_L comes from.
cdef enum:
    LABELS, TARGETS, OUTPUT_GRADIENT

cdef struct Result:
    double loss                 # the sum over rows of a row's loss
    int64_t agreeing            # rows with the target's winner, or right outputs: see agreement()


cdef inline Py_ssize_t winner(const real[::1] h, Py_ssize_t h0, Py_ssize_t n) noexcept nogil:
    """The first of the largest; of one output, whether it is above one half."""
    cdef Py_ssize_t j, best = 0
    cdef real top = h[h0]
    if n == 1:
        return top > 0.5
    for j in range(1, n):           # without branches: nobody can foresee them
        best = j if h[h0 + j] > top else best
        top = h[h0 + j] if h[h0 + j] > top else top
    return best


cdef inline Py_ssize_t agreement(const real[::1] h, Py_ssize_t h0, int loss, int target, Py_ssize_t label,
                                 const real[::1] targets, Py_ssize_t y, Py_ssize_t n) noexcept nogil:
    """Whether h has the target's winner; for targets of binary_cross_entropy, how many outputs are right."""
    cdef Py_ssize_t j, right = 0
    if target == LABELS:
        return winner[real](h, h0, n) == label
    if loss != BINARY_CROSS_ENTROPY:
        return winner[real](h, h0, n) == winner[real](targets, y, n)
    for j in range(n):
        right += (h[h0 + j] > 0.5) == (targets[y + j] > 0.5)
    return right


cdef void output_rows(const int64_t[:, ::1] table, real[::1] work,
                      Py_ssize_t base, Py_ssize_t rows, int loss, int target,
                      const int64_t[::1] labels, const real[::1] targets, Py_ssize_t y0, real weight,
                      double[::1] losses, int64_t[::1] agreeing, Py_ssize_t l0) noexcept nogil:
    """From z_L (where dz will be) the losses, and d of the mean loss: weight is 1/B, 1/(B O), or 2/(B O).

    d is dz_L itself for the cross-entropies, whose derivative cancels the activation's, else dh_L.
    losses and agreeing hold a number for each row, from l0 on.
    """
    cdef Py_ssize_t last = table.shape[0] - 1, outputs = table[last, OUTPUTS], stride = table[last, STRIDE]
    cdef Py_ssize_t h = base + table[last, H], dz = base + table[last, DZ]
    cdef Py_ssize_t r, j, y, label = -1
    cdef int code = <int> table[last, ACTIVATION]
    cdef real top, t, e
    cdef double total, value
    for r in range(rows):
        if target == OUTPUT_GRADIENT:
            if code == SOFTMAX:
                softmax[real](work, dz, work, h, outputs, &top)
            for j in range(outputs):
                work[dz + j] = targets[(y0 + r) * outputs + j]
        else:
            y = (y0 + r) * outputs
            if target == LABELS:
                label = labels[y0 + r]
            value = 0
            if code == SOFTMAX:
                total = softmax[real](work, dz, work, h, outputs, &top)
                if loss == CROSS_ENTROPY:       # -sum t log p, log p = (z - top) - log total
                    if target == LABELS:
                        value = log64(total) - (work[dz + label] - top)
                    else:
                        for j in range(outputs):
                            value += targets[y + j] * (log64(total) - (work[dz + j] - top))
            elif loss == BINARY_CROSS_ENTROPY:  # from z: max(z, 0) - t z + log(1 + e^-|z|)
                for j in range(outputs):
                    t = (j == label) if target == LABELS else targets[y + j]
                    e = work[dz + j]
                    value += (e if e > 0 else 0) - t * e + log64(1.0 + exp[double](-fabs[double](e)))
                value /= outputs
            if loss == MEAN_SQUARED_ERROR:
                for j in range(outputs):
                    t = (j == label) if target == LABELS else targets[y + j]
                    e = work[h + j] - t
                    value += <double> e * e / outputs
            if target == LABELS:
                for j in range(padded(outputs)):
                    work[dz + j] = work[h + j] * weight
                work[dz + label] = (work[h + label] - <real> 1.0) * weight
            else:
                for j in range(outputs):
                    work[dz + j] = (work[h + j] - targets[y + j]) * weight
            losses[l0 + r] = value
            agreeing[l0 + r] = agreement[real](work, h, loss, target, label, targets, y, outputs)
        h += stride
        dz += stride
