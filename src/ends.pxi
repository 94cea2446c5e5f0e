# The ends of a network: h_0 of the rows, the loss, the gradient of the input.

cdef void gather(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """GATHER: h_0 of the rows, all or this thread's features, in whole cache lines; shuffled rows are fetched ahead.

    Where rows are augmented, every thread reads all of a row, and draws what it needs for its own features.
    """
    cdef const Call* call = me.call
    cdef Matrix h = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef Range read
    cdef Py_ssize_t r, row
    cdef Canvas canvas
    columns.first, columns.end = columns.first // 16 * 16, smaller(columns.end, i.outputs)
    read = columns
    if call.augmentation != NULL:
        canvas = canvas_of(i, me, work)
        read.first, read.end = 0, i.outputs
    for r in range(me.block.rows):
        row = me.block.start + r
        if call.order != NULL:
            if row + AHEAD < call.samples:
                prefetch_row(&call.data, call.order[row + AHEAD], read.first, read.end)
            row = call.order[row]
        if call.augmentation == NULL:
            gather_row(&call.data, row, columns.first, columns.end, work, h.start + r * h.row)
        elif columns.first < columns.end:
            augment_row(call, &canvas, row, call.first_row + me.block.first + r, columns, work, h.start + r * h.row)


cdef inline Outputs outputs_of(const Instruction* i, const Worker* me, Py_ssize_t row, int n) noexcept nogil:
    """Of n rows of the call, from `row` on, what is known of them but where they lie."""
    cdef const Call* call = me.call
    cdef Outputs o
    cdef int r
    o.n, o.targets, o.t = i.outputs, call.targets_of_row, NULL
    o.numbers, o.count = call.numbers, call.count
    for r in range(SIDE):
        o.weights[r] = <real> me.block.weight
    for r in range(n if call.weights != NULL else 0):
        o.weights[r] = <real> (me.block.weight * call.weights[row + r])
    return o


cdef inline void judge_outputs(int loss, real[::1] work, Outputs* o, int side, Judgement* found) noexcept nogil:
    losses_of(loss, work, o, side, found.losses)
    agreement(loss, work, o, side, found.agreeing)
    error_of(loss, work, o, side)       # last: h may lie where d goes


cdef void judge_row(const Instruction* i, Worker* me, real[::1] work, Py_ssize_t r, Judgement* found) noexcept nogil:
    cdef const Call* call = me.call
    cdef Py_ssize_t row = me.block.start + r
    cdef Outputs o = outputs_of(i, me, row, 1)
    o.z, o.h, o.d = part(here(me, i.source), r, 0).start, part(here(me, i.target), r, 0).start, part(here(me, i.other), r, 0).start
    if reads_logits(call.loss):
        o.z, o.h = o.h, o.d
    if call.judge == LABELS:
        o.labels[0] = call.labels[row]
    else:
        o.t = call.targets + row * o.targets
    judge_outputs(call.loss, work, &o, 1, found)


cdef void judge_side_by_side(const Instruction* i, Worker* me, real[::1] work, Range rows, Judgement* found) noexcept nogil:
    """The same for some rows, at most SIDE."""
    cdef const Call* call = me.call
    cdef Py_ssize_t n = rows.end - rows.first, row = me.block.start + rows.first, r, j
    cdef Outputs o = outputs_of(i, me, row, <int> n)
    # a constant apart: so the compiler sees that they do not overlap
    o.z, o.h, o.d = me.scratch, me.scratch + SIDE * SHORT, me.scratch + 2 * SIDE * SHORT
    if reads_logits(call.loss):
        stand(work, part(here(me, i.target), rows.first, 0), o.z, n, o.n)
    elif cancels(call.loss):
        stand(work, part(here(me, i.source), rows.first, 0), o.z, n, o.n)
    if not reads_logits(call.loss) and call.loss != CROSS_ENTROPY:
        stand(work, part(here(me, i.target), rows.first, 0), o.h, n, o.n)
    if call.judge == LABELS:
        for r in range(SIDE):
            o.labels[r] = call.labels[row + r] if r < n else 0
    else:
        o.t = &work[o.d + SIDE * SHORT]
        for r in range(n):
            for j in range(o.targets):
                work[o.d + SIDE * (SHORT + j) + r] = call.targets[(row + r) * o.targets + j]
    judge_outputs(call.loss, work, &o, SIDE, found)
    lie(work, part(here(me, i.other), rows.first, 0), o.d, n, o.n)


cdef void weigh(const double* weights, Py_ssize_t n, Judgement* found) noexcept nogil:
    """Rows count by their weights; of weight 0, not even if their loss is infinite."""
    cdef Py_ssize_t r
    for r in range(n):
        found.losses[r] = weights[r] * found.losses[r] if weights[r] > 0 else 0
        found.agreeing[r] = weights[r] * found.agreeing[r]


cdef void judge(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """JUDGE: each row's loss, whether it agrees, and d of the mean loss, which is dz where the loss cancels g'."""
    cdef const Call* call = me.call
    cdef Range rows = rows_at_hand(me, i.by_rows), some
    cdef Py_ssize_t n, r, at = 0 if i.by_rows else me.block.losses_from
    cdef Judgement found
    some.first = rows.first
    while some.first < rows.end:
        n = side_by_side(i.outputs, rows.end - some.first)
        some.end = some.first + n
        if n > 1:
            judge_side_by_side(i, me, work, some, &found)
        else:
            judge_row(i, me, work, some.first, &found)
        if call.weights != NULL:
            weigh(call.weights + me.block.start + some.first, n, &found)
        for r in range(n):
            call.losses[at + some.first + r] = found.losses[r]
            call.agreeing[at + some.first + r] = found.agreeing[r]
        some.first = some.end


cdef void take(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """TAKE: dh of the output, as it is given."""
    cdef Matrix d = here(me, i.target)
    cdef Py_ssize_t r, j
    for r in range(me.block.rows):
        for j in range(i.outputs):
            work[d.start + r * d.row + j] = me.call.targets[(me.block.start + r) * i.outputs + j]


cdef void give(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """GIVE: this thread's columns of the input's gradient, or of the output."""
    cdef Matrix d = here(me, i.source)
    cdef Range columns = neurons_of_mine(me, i.cut_out)
    cdef Py_ssize_t r, j
    for r in range(me.block.rows):
        for j in range(columns.first, columns.end):
            me.call.given[(me.block.start + r) * i.outputs + j] = work[d.start + r * d.row + j]
