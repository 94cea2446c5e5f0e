# The doors of prediction: forward, evaluate, activations.

cdef inline Worker predictor(Tape tape, const Call* call) noexcept:
    return worker_of(call, tape.size, 0, PACKED)


cdef int64_t patience_for(double flops) noexcept nogil:
    """How many ns helpers are waited for that so many operations are dealt out to."""
    cdef int64_t ns = <int64_t> (flops / PATIENCE)
    return ns if ns < LONG_PATIENCE else LONG_PATIENCE + (ns - LONG_PATIENCE) // 16


cdef void _forward(Region r, double flops) noexcept nogil:
    if r.me.call.samples == 1:
        deal(r, predict_together, 1, patience_for(flops))
    else:
        share(r, predict_claimed)


cdef lay_out(Region r, Tape tape):
    """The weights into panels, for this call alone: they may change at any time."""
    global callers
    if r.parameters is None:
        r.parameters = _zeros(tape.panels)
    callers += 1
    with nogil:
        share(r, lay_claimed)
    callers -= 1


def forward(program, x, out, Py_ssize_t threads):
    """The outputs (n, O). Returns whether z_1 is finite, which it is not where x is not."""
    global callers
    cdef Plan plan = plan_of(program)
    cdef Data data = rows_at(plan, x), result = data_of(out, cnp.NPY_ARRAY_CARRAY)
    cdef double flops = plan.flops * data.rows
    cdef Call call = call_of(plan, data)
    cdef Range all_rows
    if threads < 1:
        _check_threads(threads)
    if result.rows != data.rows or result.columns != plan.outputs or result.kind != OWN:
        raise ValueError(f"expected out to be {DTYPE} {(data.rows, plan.outputs)}, got {out.dtype} {out.shape}")
    if 1 < data.rows <= FEW_ROWS:
        threads = 1
    threads = min(threads, 1 + <Py_ssize_t> (flops / WORK))
    if threads > 1:
        threads = team_of(threads)
    cdef bint panels = goes_by_panels(plan, data.rows)
    if panels and plan.by_panels is None:
        plan.by_panels = panel_tape(plan, plan.loss, False)
    cdef Tape tape = plan.by_panels if panels else plan.prediction
    use(&call, tape)
    call.output, call.out = tape.output, <real*> result.start
    cdef Region r = plan.idle.pop() if plan.idle else Region()
    r.reserve(predictor(tape, &call), threads)
    if r.weights is None:
        r.weights = plan.weights
    if panels:
        lay_out(r, tape)
    if (data.rows > FEW_ROWS and plan.scale == 1 and data.center == NULL and data.kind == OWN and plan.direct
            and x.flags.c_contiguous):
        r.x = x.reshape(-1)     # x itself is h_0, and worth the view
    if threads == 1:
        all_rows.first, all_rows.end = 0, data.rows
    if flops < WORK:            # some microseconds: other Python threads wait less than it takes to wake them
        finite = predict_rows(&call, r.me, all_rows, r.x, r.weights, r.parameters, r.work)
    else:
        callers += 1
        with nogil:
            if threads == 1:
                r.overflows = not predict_rows(&call, r.me, all_rows, r.x, r.weights, r.parameters, r.work)
            else:
                _forward(r, flops)
        callers -= 1
        finite = not r.overflows
    if data.rows > FEW_ROWS:    # a view costs some ns, which is much for one row
        r.x = r.weights = None
    plan.idle.append(r)
    return finite


def evaluate(program, x, y, Py_ssize_t threads):
    """The sum of the losses over the rows, and how many rows (or outputs) agree with y, each by its weight if y is (y, weights)."""
    global callers
    cdef Plan plan = plan_of_loss(program)
    cdef Call call = call_of(plan, rows_at(plan, x))
    _check_threads(threads)
    cdef Judged judged = Judged(plan, y, call.samples, call.samples)
    call.loss = program.loss
    cdef Py_ssize_t rows = smaller(FORWARD_ROWS, call.samples)
    cdef bint panels = goes_by_panels(plan, call.samples)
    key = panels, rows, call.loss
    cdef Tape tape = plan.tapes.get(key) or plan.remember(
        key, panel_tape(plan, call.loss, True) if panels else forward_tape(plan, rows, call.loss, True))
    judged.tell(&call)
    use(&call, tape)
    threads = team_of(min(threads, ceil_div(call.samples, tape.rows), 1 + <Py_ssize_t> (plan.flops * call.samples / WORK)))
    cdef Region r = Region().reserve(predictor(tape, &call), threads)
    r.weights = plan.weights
    if panels:
        lay_out(r, tape)
    callers += 1
    with nogil:
        share(r, predict_claimed)
    callers -= 1
    add_up(&call, call.samples)
    loss, agreeing = judged.sums()
    return loss + _penalty(plan, program, plan.weights, None) * judged.total(call.samples), agreeing


def activations(program, x, outs, threads):
    """The scaled input and the outputs of every layer, each (n, width)."""
    cdef Plan plan = plan_of(program)
    cdef Call call = call_of(plan, rows_at(plan, x))
    _check_threads(threads)
    cdef Tape tape = plan.prediction
    cdef Worker me = predictor(tape, &call)
    cdef Block block
    cdef Matrix place
    cdef uint64_t mode
    arena = _zeros(me.size)
    cdef real[::1] work = arena
    cdef const real[::1] parameters = plan.weights, no_x = None
    if len(outs) != len(plan.shown):
        raise ValueError(f"expected {len(plan.shown)} arrays in outs, got {len(outs)}")
    for n, (out, v) in enumerate(zip(outs, plan.shown)):
        _is(out, f"outs[{n}]", REAL, (call.samples, plan.width(v)))
    use(&call, tape)
    me.block, block.at = &block, 0
    for first in range(0, call.samples, tape.rows):
        block.start, block.rows = first, smaller(tape.rows, call.samples - first)
        with nogil:
            mode = enter_mode()
            predict_block(&me, no_x, parameters, no_x, work)
            leave_mode(mode)
        for out, v in zip(outs, plan.shown):
            place = tape.places[v]
            rows = arena[place.start:place.start + block.rows * place.row].reshape(block.rows, place.row)
            out[first:first + block.rows] = rows[:, :plan.width(v)]
