# Walking a tape: the steps of a training, and predictions.

cdef inline void perform(const Instruction* i, Worker* me, real[::1] parameters, real[::1] state, real[::1] gradients,
                         real[::1] work) noexcept nogil:
    """One thread's part of one instruction, in training."""
    cdef Worker* team = me.lone if i.alone else me
    me.lone.parity = me.parity
    if i.kind == GATHER:
        gather(i, me, work)
    elif i.kind == SUM:
        sum_pieces(i, team, parameters, work)
    elif i.kind == MEET:
        meet(me)
    elif i.kind == COMBINE:
        combine(i, team, work)
    elif i.kind == ACTIVATE:
        activate_rows(i, me, work)
    elif i.kind == SOFTMAX:
        softmax_rows(i, me, work)
    elif i.kind == DROPOUT:
        drop(i, me, work)
    elif i.kind == ADD:
        add_rows(i, me, work)
    elif i.kind == STATISTICS:
        take_statistics(i, me, parameters, work)
    elif i.kind == COLUMN_NORM:
        normalise_rows(i, me, parameters, work)
    elif i.kind == ROW_NORM:
        norm_rows(i, me, work)
    elif is_columnwise(i.kind):
        columnwise(i, me, parameters, work)
    elif i.kind == EMBED:
        embed_rows(i, me, parameters, work)
    elif i.kind == JUDGE:
        judge(i, me, work)
    elif i.kind == TALLY:
        if is_first(me):
            add_up(me.call, me.block.rows)
    elif i.kind == TAKE:
        take(i, me, work)
    elif i.kind == BACK:
        back(i, team, parameters, work)
    elif i.kind == ACTIVATE_BACK:
        differentiate_rows(i, me, work)
    elif i.kind == SOFTMAX_BACK:
        softmax_back(i, me, work)
    elif i.kind == DROPOUT_BACK:
        drop_back(i, me, work)
    elif i.kind == STATISTICS_BACK:
        measure_back(i, me, work)
    elif i.kind == COLUMN_NORM_BACK:
        normalise_back(i, me, parameters, work)
    elif i.kind == ROW_NORM_BACK:
        norm_back(i, me, work)
    elif i.kind == SCALE_BACK or i.kind == PRELU_BACK or i.kind == BLEND_BACK:
        columnwise_back(i, me, parameters, work)
    elif i.kind == EMBED_BACK:
        embed_back(i, me, work)
    elif i.kind == PASS:
        pass_on(i, me, work)
    elif i.kind == EXCHANGE:
        if i.by_rows:
            exchange_rows(work, me, here(me, i.target), i.outputs)
        else:
            exchange(work, me, here(me, i.target), i.cut_out)
    elif i.kind == LEARN:
        learn(i, me, parameters, state, gradients, work)
    elif i.kind == LEARN_TABLE:
        learn_table(i, me, parameters, state, gradients, work)
    elif i.kind == LEARN_COLUMNS:
        learn_columns(i, me, parameters, state, gradients, work)
    elif i.kind == UPDATE:
        update_dense(i, me, parameters, state, gradients)
    elif i.kind == UPDATE_COLUMNS:
        update_columns(i, me, parameters, state, gradients)
    elif i.kind == UPDATE_TABLE:
        update_table(i, me, parameters, state, gradients)
    elif i.kind == MEASURE and completes(me) and updates(me.call, me.block.c[SHARE]):
        measure(me, me.call.blocks + i.block, pieces_of_mine(me, i.cut_in), parameters)
    elif i.kind == CONSTRAIN and completes(me) and updates(me.call, me.block.c[SHARE]):
        constrain(me, me.call.blocks + i.block, neurons_of_mine(me, i.cut_in), parameters)
    elif i.kind == GIVE:
        give(i, me, work)


cdef inline double weight_of_rows(const Call* call, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """The sum of their weights: by it their mean loss is divided. Of weights that are all 0, anything."""
    cdef double total = 0
    cdef Py_ssize_t r
    if call.weights == NULL:
        return n
    for r in range(first, first + n):
        total += call.weights[r]
    return total if total > 0 else 1


cdef inline void begin_step(Worker* me, Py_ssize_t step) noexcept nogil:
    cdef const Call* call = me.call
    me.block.batch = smaller(call.batch_size, call.samples - step * call.batch_size)
    me.block.total = weight_of_rows(call, step * call.batch_size, me.block.batch)
    me.block.weight = weight_of(call.loss, me.block.total, call.outputs, call.targets_of_row)
    me.block.update = call.update + step
    if call.learning:
        coefficients_of(call.coefficients + step * COEFFICIENTS, me.block.c)


cdef inline void add_up(const Call* call, Py_ssize_t rows) noexcept nogil:
    """The sums over the rows at hand, after those before them."""
    cdef double loss = call.result.loss
    cdef double agreeing = call.result.agreeing
    cdef Py_ssize_t r
    for r in range(rows):
        loss += call.losses[r]
        agreeing += call.agreeing[r]
    call.result.loss, call.result.agreeing = loss, agreeing


cdef inline void begin_block(Worker* me, Py_ssize_t step, Py_ssize_t first) noexcept nogil:
    """The rows at hand, from this one of the batch on."""
    me.block.first, me.block.rows = first, smaller(CHUNK, me.block.batch - first)
    me.block.start = step * me.call.batch_size + first
    me.block.at = first if me.call.keeps else 0


cdef inline Py_ssize_t end_of_sweep(const Call* call, Py_ssize_t first) noexcept nogil:
    """The end of the instructions that a block goes through before the next one does."""
    cdef Py_ssize_t end = first + 1
    while end < call.length and not call.tape[end - 1].ends_sweep:
        end += 1
    return end


cdef void train_steps(Region r, Worker me) noexcept nogil:
    """One thread's part of a stretch of steps."""
    cdef const Call* call = me.call
    cdef Py_ssize_t step = r.step, first, end, i, q
    cdef Block block
    cdef Worker lone
    cdef uint64_t mode = enter_mode()
    me.block, me.lone = &block, &lone
    lone = alone(me)
    block.losses_from = losses_of_mine(&me)
    while step <= look_at(&r.last):
        maybe_last(r, &me, step)
        begin_step(&me, step)
        first = end = 0
        while end < call.length:
            first, end = end, end_of_sweep(call, end)
            for q in range(ceil_div(block.batch, CHUNK)):
                begin_block(&me, step, q * CHUNK)
                for i in range(first, end):
                    perform(call.tape + i, &me, r.parameters, r.state, r.gradients, r.work)
        step += 1
    leave_mode(mode)


# --- prediction: threads share the rows, or the columns of one row --------------------------------------------------

cdef void lay_panel(const Instruction* i, Py_ssize_t j, const real[::1] parameters, real[::1] copy) noexcept nogil:
    """The panel of W that begins with column j, and its part of b."""
    cdef Py_ssize_t width = width_of(padded(i.outputs) - j), n = smaller(width, i.outputs - j), k, q
    cdef Py_ssize_t w = i.weights + j, panel = i.panels + j * i.inputs, b = i.panels + i.inputs * padded(i.outputs) + j
    for q in range(n):
        copy[b + q] = parameters[i.biases + j + q] if i.biases >= 0 else 0
    for k in range(i.inputs):
        for q in range(n):
            copy[panel + k * width + q] = parameters[w + k * i.outputs + q]


cdef Py_ssize_t lay_panels(const Call* call, Range mine, const real[::1] parameters, real[::1] copy) noexcept nogil:
    """Some of the panels of all W; returns how many there are."""
    cdef const Instruction* i
    cdef Py_ssize_t n, j, panel = 0
    for n in range(call.length):
        i = call.tape + n
        j = 0
        while i.kind == MULTIPLY and j < padded(i.outputs):
            if mine.first <= panel < mine.end:
                lay_panel(i, j, parameters, copy)
            j += width_of(padded(i.outputs) - j)
            panel += 1
    return panel


cdef void lay_claimed(Region r, Worker me) noexcept nogil:
    """One thread's part of the panels."""
    cdef Range mine = rows_of_thread(0, 0, 1)
    cdef Py_ssize_t panels = lay_panels(me.call, mine, r.weights, r.parameters)
    mine = claim(r, panels, 1)
    while mine.first < mine.end:
        lay_panels(me.call, mine, r.weights, r.parameters)
        mine = claim(r, panels, 1)


cdef bint predict_block(Worker* me, const real[::1] x, const real[::1] parameters, const real[::1] panels, real[::1] work) noexcept nogil:
    """A thread carries its rows at hand through all values. x: the data, where they are h_0; else None. panels: of the tape's W.

    Returns whether all z of the first layers are finite.
    """
    cdef const Instruction* i
    cdef Py_ssize_t n, r
    cdef bint finite = True
    cdef const real[::1] w
    for n in range(me.call.length):
        i = me.call.tape + n
        if i.kind == GATHER:
            for r in range(me.block.rows if x is None else 0):
                gather_row(&me.call.data, me.block.start + r, 0, i.outputs, work, me.base + i.target.start + r * i.target.row)
        elif i.kind == MULTIPLY:
            w = panels if i.panels else parameters
            if i.reads_input and x is not None:
                finite &= multiply_rows(i, me, x, matrix(me.block.start * i.inputs, i.inputs), w, work)
            else:
                finite &= multiply_rows(i, me, work, here(me, i.source), w, work)
        elif i.kind == ACTIVATE:
            activate_rows(i, me, work)
        elif i.kind == SOFTMAX:
            softmax_rows(i, me, work)
        elif i.kind == ADD:
            add_rows(i, me, work)
        elif i.kind == COLUMN_NORM:
            normalise_rows(i, me, parameters, work)
        elif i.kind == ROW_NORM:
            norm_rows(i, me, work)
        elif is_columnwise(i.kind):
            columnwise(i, me, parameters, work)
        elif i.kind == EMBED:
            embed_rows(i, me, parameters, work)
        elif i.kind == JUDGE:
            judge(i, me, work)
    return finite


cdef bint predict_rows(const Call* call, Worker me, Range mine, const real[::1] x, const real[::1] parameters,
                       const real[::1] panels, real[::1] work) noexcept nogil:
    """Some rows: into call.out, or, where that is NULL, judged. Returns whether all z of the first layers are finite."""
    cdef Matrix h = matrix(me.base + call.output.start, call.output.row)
    cdef Block block
    cdef bint finite = True
    cdef Py_ssize_t r, j
    cdef uint64_t mode = enter_mode()
    me.block, block.weight, block.at = &block, 1, 0
    while mine.first < mine.end:
        block.start = block.losses_from = mine.first
        block.rows = smaller(call.most_rows, mine.end - mine.first)
        finite &= predict_block(&me, x, parameters, panels, work)
        for r in range(block.rows if call.out != NULL else 0):
            for j in range(call.outputs):
                call.out[(mine.first + r) * call.outputs + j] = work[h.start + r * h.row + j]
        mine.first += block.rows
    leave_mode(mode)
    return finite


cdef void predict_claimed(Region r, Worker me) noexcept nogil:
    """One thread's part of many rows."""
    cdef Py_ssize_t n = me.call.samples, unit = smaller(FORWARD_ROWS, ceil_div(n, r.threads))
    cdef Range mine = claim(r, n, unit)
    while mine.first < mine.end:
        if not predict_rows(me.call, me, mine, r.x, r.weights, r.parameters, r.work):
            put(&r.overflows, True)
        mine = claim(r, n, unit)


cdef void predict_together(Region r, Worker me) noexcept nogil:
    """One thread's part of one row: some columns of every value, which lie in the first thread's part; h_0 in each."""
    cdef const Call* call = me.call
    cdef const Instruction* i
    cdef Range columns
    cdef Py_ssize_t n, j, own = me.base
    cdef Block block
    cdef uint64_t mode = enter_mode()
    me.block, block.start, block.rows, block.at = &block, 0, 1, 0
    me.base = 0
    for n in range(call.length):
        i = call.tape + n
        columns = vectors_of_mine(&me, i.outputs)
        if i.kind == GATHER:
            gather_row(&call.data, 0, 0, i.outputs, r.work, own + i.target.start)
        elif i.kind == MULTIPLY:
            if not multiply_share(i, &me, own + i.source.start if i.reads_input else i.source.start, r.weights, r.work):
                put(&r.overflows, True)
        elif i.kind == ACTIVATE:
            activate(i.code, r.work, (own if i.reads_input else 0) + i.source.start + columns.first, r.work,
                     i.target.start + columns.first, columns.end - columns.first, i.number)
        elif i.kind == COLUMN_NORM:
            normalise(i, &me, matrix((own if i.reads_input else 0) + i.source.start, 0), i.target, columns, r.weights, r.work)
        elif i.kind == SOFTMAX and is_first(&me):
            softmax_rows(i, &me, r.work)
        elif i.kind == ADD and is_first(&me):
            add_rows(i, &me, r.work)
        elif i.kind == ROW_NORM and is_first(&me):
            norm_rows(i, &me, r.work)
        elif i.kind == EMBED and is_first(&me):
            embed_rows(i, &me, r.weights, r.work)
        elif is_columnwise(i.kind):
            columnwise_row(i, r.weights, r.work, (own if i.reads_input else 0) + i.source.start, i.target.start, columns)
        if i.meets:
            meet(&me)
    if is_first(&me):
        for j in range(call.outputs):
            call.out[j] = r.work[call.output.start + j]
    leave_mode(mode)
