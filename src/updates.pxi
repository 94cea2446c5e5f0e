# From gradients to weights: penalties, what accumulates, clipping, the update, averages, max-norm.
#
# All of it goes span by span right behind the product that made the gradient. Norms do not: they want all gradients first.
# Then LEARN leaves gradients, and squares of their rows, and UPDATE does the rest after a meeting.

cdef inline Span span_of(const Worker* me, Py_ssize_t w, Py_ssize_t g, Py_ssize_t n) noexcept nogil:
    """n weights from w on, whose gradients begin at g."""
    cdef Span s
    s.w, s.g, s.slot, s.n = w, g, me.call.slot, n
    return s


cdef enum:
    NORM_SUMS = 4               # that a norm is left in: adding up the last ones takes longer than a row of 100


cdef inline void add_norms(const real[::1] x, Py_ssize_t start, Py_ssize_t n, double l1, double l2, double factor,
                           double* norm) noexcept nogil:
    """norm += factor * (l1 * |x| + l2 * x^2), in NORM_SUMS; n decides the order, whatever the width of a vector."""
    cdef double sums[16]
    cdef double x64
    cdef Py_ssize_t q, whole = n // 16
    cdef int j
    for j in range(16):
        sums[j] = 0
    for q in range(whole):
        for j in range(16):
            x64 = x[start + q * 16 + j]
            sums[j] = fma(fma(l2, x64, copysign(l1, x64)), x64, sums[j])
    for j in range(n - whole * 16):
        x64 = x[start + whole * 16 + j]
        sums[j] = fma(fma(l2, x64, copysign(l1, x64)), x64, sums[j])
    for j in range(8):
        sums[j] += sums[j + 8]
    for j in range(NORM_SUMS):
        norm[j] = fma(factor, sums[j] + sums[j + 4], norm[j])


cdef double norms(const real[::1] x, Py_ssize_t start, Py_ssize_t n, double l1, double l2) noexcept nogil:
    """l1 * sum |x| + l2 * sum x^2."""
    cdef double norm[NORM_SUMS]
    memset(norm, 0, sizeof(norm))
    add_norms(x, start, n, l1, l2, 1, norm)
    return total_of(norm, NORM_SUMS)


cdef double total_of(const double* numbers, Py_ssize_t n) noexcept nogil:
    """Their sum, in this order; that of Python's `sum` depends on its version."""
    cdef double total = 0
    cdef Py_ssize_t j
    for j in range(n):
        total += numbers[j]
    return total


cdef inline void count_penalties(const Worker* me, const Weights* of, const real[::1] w, const Span* s) noexcept nogil:
    """The penalties of these weights, each row's by itself: rows are what threads share in any way."""
    cdef Py_ssize_t first = s.w - of.start, end = first + s.n, row, n
    cdef double factor = me.block.c[PENALTY] * me.block.total
    while first < end:
        row = first // of.columns
        n = smaller(end, (row + 1) * of.columns) - first
        add_norms(w, of.start + first, n, of.l1, of.l2, factor, me.call.penalties + NORM_SUMS * (of.first_row + row))
        first += n


cdef inline void penalize(const Weights* of, real factor, const real[::1] w, real[::1] g, const Span* s) noexcept nogil:
    """g += the gradient of l1 * sum |w| + l2 * sum w^2, times a factor."""
    cdef real l1 = factor * of.l1, l2 = 2 * factor * of.l2
    cdef Py_ssize_t j
    for j in range(s.n):
        g[s.g + j] = g[s.g + j] + fma(l2, w[s.w + j], l1 * sign(w[s.w + j]))


cdef inline bint updates(const Call* call, double share) noexcept nogil:
    """Whether an update follows a step whose gradient counts so much in a mean; 0: others' are awaited."""
    return not call.rule & ACCUMULATES or share > 0


cdef inline bint complete(const Worker* me, const Weights* of, const real[::1] w, real[::1] g, real[::1] state,
                          const Span* s) noexcept nogil:
    """The gradient g with its penalty, and with those of the steps before. Returns whether an update follows."""
    cdef const Call* call = me.call
    cdef real share = me.block.c[SHARE]
    cdef Py_ssize_t j, sum = s.w + call.accumulated
    if call.penalties != NULL and of.penalized:
        count_penalties(me, of, w, s)
        penalize(of, me.block.c[PENALTY], w, g, s)
    if call.rule & ACCUMULATES:
        for j in range(s.n):
            g[s.g + j] = g[s.g + j] + state[sum + j]
        for j in range(s.n):
            state[sum + j] = 0 if share > 0 else g[s.g + j]
        for j in range(s.n):
            g[s.g + j] = share * g[s.g + j]
        return share > 0
    return True


cdef inline void apply(const Worker* me, const Weights* of, real[::1] w, real[::1] g, real[::1] state, const Span* s) noexcept nogil:
    """The update from a complete gradient, clipped by value; the decay before it, the averages after it."""
    cdef const Call* call = me.call
    cdef const real* c = me.block.c
    cdef real own[COEFFICIENTS]
    cdef Py_ssize_t j
    cdef real limit = c[CLIP], x
    if of.has_factors:
        memcpy(own, c, sizeof(own))
        own[RATE], own[EPSILON], own[DECAY] = c[RATE] * of.rate, c[EPSILON] * of.epsilon, c[DECAY] * of.rate * of.decay
        c = own
    if call.rule & CLIPS:
        for j in range(s.n):
            x = limit if g[s.g + j] > limit else g[s.g + j]
            g[s.g + j] = -limit if x < -limit else x
    if call.rule & DECAYS and call.optimizer != SCHEDULE_FREE:
        for j in range(s.n):
            w[s.w + j] = fma(-c[DECAY], w[s.w + j], w[s.w + j])
    update_by(call.optimizer, w, g, state, s, c, call.averages)
    if call.rule & AVERAGES and call.optimizer != SCHEDULE_FREE:
        for j in range(s.n):
            call.averages[s.w + j] = mean(call.averages[s.w + j], c[AVERAGE], w[s.w + j])


cdef inline void update(const Worker* me, const Weights* of, real[::1] w, real[::1] g, real[::1] state, const Span* s) noexcept nogil:
    """All that turns the gradient g of a span of a block, which is used up, into other weights w.

    Not for a call that waits for all gradients.
    """
    if not me.call.plain and not complete(me, of, w, g, state, s):
        return
    apply(me, of, w, g, state, s)


# --- gradients in an arena like the parameters --------------------------------------------------------------------

cdef inline Py_ssize_t part_start(const Weights* of, Py_ssize_t part) noexcept nogil:
    """Where a part begins in an arena like the parameters."""
    return of.start + (piece_start(of.cut, part) if of.by_pieces else part * of.columns)


cdef void settle(const Worker* me, const Weights* of, Range rows, real[::1] w, real[::1] g, real[::1] state) noexcept nogil:
    """What follows the gradient of some rows of a block: the update, or the squares that it waits for."""
    cdef Py_ssize_t r, start, n = of.columns
    cdef Span s
    if not me.call.waits:
        start = of.start + rows.first * n
        s = span_of(me, start, start, (rows.end - rows.first) * n)
        update(me, of, w, g, state, &s)
        return
    for r in range(rows.first, rows.end):
        start = of.start + r * n
        s = span_of(me, start, start, n)
        settle_span(me, of, &s, w, g, state)


cdef void settle_span(const Worker* me, const Weights* of, const Span* s, real[::1] w, real[::1] g, real[::1] state) noexcept nogil:
    """The same of whole parts of a block: its rows, or, of a single row that threads share, its pieces."""
    cdef Py_ssize_t p, start, end
    if not me.call.waits:
        update(me, of, w, g, state, s)
        return
    if complete(me, of, w, g, state, s):
        for p in range(of.parts):
            start, end = part_start(of, p), part_start(of, p + 1)
            if s.w <= start and end <= s.w + s.n:
                me.call.squares[of.first_part + p] = norms(g, start, end - start, 0, 1)


cdef double clipping(const Worker* me, const Weights* of) noexcept nogil:
    """What a gradient is multiplied by, so that its block's norm, or that of all, is no more than wanted."""
    cdef const Call* call = me.call
    cdef Py_ssize_t first = of.first_part, end = first + of.parts, r
    cdef double squares = 0, limit = me.block.c[CLIP], norm
    if call.rule & CLIPS_GLOBAL_NORM:
        first, end = 0, call.block_parts
    for r in range(first, end):
        squares += call.squares[r]
    norm = sqrt(squares)
    return limit / norm if norm > limit else 1


cdef void update_rows(const Worker* me, const Weights* of, Range rows, real[::1] w, real[::1] g, real[::1] state) noexcept nogil:
    """UPDATE: the gradients that `settle` has completed, scaled, and their update."""
    cdef Py_ssize_t start = of.start + rows.first * of.columns
    cdef Span s = span_of(me, start, start, (rows.end - rows.first) * of.columns)
    update_span(me, of, &s, w, g, state)


cdef void update_span(const Worker* me, const Weights* of, const Span* s, real[::1] w, real[::1] g, real[::1] state) noexcept nogil:
    cdef Py_ssize_t j
    cdef real factor = <real> clipping(me, of)
    if not updates(me.call, me.block.c[SHARE]):
        return
    for j in range(s.n):
        g[s.g + j] = factor * g[s.g + j]
    apply(me, of, w, g, state, s)


# --- max-norm: neurons' incoming weights, the columns of W -----------------------------------------------------------

cdef void measure(const Worker* me, const Weights* of, Range pieces, const real[::1] w) noexcept nogil:
    """MEASURE: sums of squares of each column, over pieces of the rows."""
    cdef Py_ssize_t piece, r, j, n = of.columns
    cdef double* sums
    for piece in range(pieces.first, pieces.end):
        sums = me.call.columns + of.first_sum + piece * n
        for j in range(n):
            sums[j] = 0
        for r in range(piece_start(of.cut, piece), piece_start(of.cut, piece + 1)):
            for j in range(n):
                sums[j] += <double> w[of.start + r * n + j] * w[of.start + r * n + j]


cdef void constrain(const Worker* me, const Weights* of, Range rows, real[::1] w) noexcept nogil:
    """CONSTRAIN: columns whose norm is too large are scaled down to it."""
    cdef real factors[GRADIENT_COLUMNS]
    cdef Py_ssize_t q, first, n, j, r, piece
    cdef double squares
    for q in range(ceil_div(of.columns, GRADIENT_COLUMNS)):
        first = q * GRADIENT_COLUMNS
        n = smaller(GRADIENT_COLUMNS, of.columns - first)
        for j in range(n):
            squares = 0
            for piece in range(of.cut.pieces):
                squares += me.call.columns[of.first_sum + piece * of.columns + first + j]
            factors[j] = <real> (of.max_norm / sqrt(squares)) if squares > of.max_norm * of.max_norm else 1
        for r in range(rows.first, rows.end):
            for j in range(n):
                w[of.start + r * of.columns + first + j] = factors[j] * w[of.start + r * of.columns + first + j]


# --- all blocks, from an arena of gradients --------------------------------------------------------------------------

cdef inline Range all_of(Py_ssize_t n) noexcept nogil:
    return rows_of_thread(n, 0, 1)


cdef void update_claimed(Region r, Worker me) noexcept nogil:
    """One thread's part of an update of all parameters, of which `settle` was told where they wait."""
    cdef const Call* call = me.call
    cdef const Weights* of
    cdef Range mine = claim(r, call.slot, UPDATED), rows
    cdef Block block
    cdef uint64_t mode = enter_mode()
    cdef Py_ssize_t b
    me.block, block.total = &block, 1
    coefficients_of(call.coefficients, block.c)
    while mine.first < mine.end:
        for b in range(call.blocks_count):          # the rows that begin in this part
            of = call.blocks + b
            rows.first = smaller(of.rows, larger(0, ceil_div(mine.first - of.start, of.columns)))
            rows.end = smaller(of.rows, larger(0, ceil_div(mine.end - of.start, of.columns)))
            if of.fixed:
                continue
            if rows.first < rows.end and call.waits:
                update_rows(&me, of, rows, r.parameters, r.gradients, r.state)
            elif rows.first < rows.end:
                settle(&me, of, rows, r.parameters, r.gradients, r.state)
        mine = claim(r, call.slot, UPDATED)
    leave_mode(mode)


cdef void settle_all(Region r, Worker me) noexcept nogil:
    """Before an update that waits: `settle` of all blocks."""
    cdef Block block
    cdef uint64_t mode = enter_mode()
    cdef Py_ssize_t b
    me.block, block.total = &block, 1
    coefficients_of(me.call.coefficients, block.c)
    for b in range(me.call.blocks_count):
        if not me.call.blocks[b].fixed:
            settle(&me, me.call.blocks + b, all_of(me.call.blocks[b].rows), r.parameters, r.gradients, r.state)
    leave_mode(mode)


cdef void constrain_all(Region r, Worker me) noexcept nogil:
    """After an update: max-norm of all blocks that have one."""
    cdef const Weights* of
    cdef uint64_t mode = enter_mode()
    cdef Py_ssize_t b
    for b in range(me.call.blocks_count):
        of = me.call.blocks + b
        if of.max_norm > 0:
            measure(&me, of, all_of(of.cut.pieces), r.parameters)
            constrain(&me, of, all_of(of.rows), r.parameters)
    leave_mode(mode)


cdef double penalty_of(const Weights* blocks, Py_ssize_t n, const real[::1] w) noexcept nogil:
    """l1 * sum |w| + l2 * sum w^2 of all blocks."""
    cdef double total = 0
    cdef Py_ssize_t b, r
    for b in range(n):
        for r in range(blocks[b].rows if blocks[b].penalized else 0):
            total += norms(w, blocks[b].start + r * blocks[b].columns, blocks[b].columns, blocks[b].l1, blocks[b].l2)
    return total


cdef void penalize_all(const Weights* blocks, Py_ssize_t n, const real[::1] w, real[::1] g) noexcept nogil:
    """The gradient of it, added to those of all blocks."""
    cdef Py_ssize_t b
    cdef Span s
    for b in range(n):
        if blocks[b].penalized:
            s.w = s.g = blocks[b].start
            s.n = blocks[b].rows * blocks[b].columns
            penalize(blocks + b, 1, w, g, &s)
