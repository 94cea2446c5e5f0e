cdef bint forward_rows(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters,
                       const real[::1] x, Matrix X, real[::1] work, Py_ssize_t base, Py_ssize_t scratch,
                       Py_ssize_t rows, bint keep_z) noexcept nogil:
    """All layers, all neurons, from rows of h_0; keep_z leaves z_L where dz_L will be.

    Returns whether all z_1 are finite: a NaN or infinity of h_0 never leaves the sums that it has entered.
    """
    cdef Py_ssize_t l, z0, last = table.shape[0] - 1
    cdef bint finite = True
    for l in range(1, last + 1):
        z0 = base + table[l, DZ if keep_z and l == last else H]
        if rows == 1:
            forward_row[real](table, l, parameters, x if l == 1 else work,
                              X.start if l == 1 else base + table[l - 1, H], work, z0, 0, table[l, OUTPUTS])
        else:
            forward_layer[real](table, l, parameters, x if l == 1 else work,
                                X if l == 1 else rows_of_layer(table, l - 1, base), work, scratch, rows, z0)
        if l == 1:
            finite = finite_rows[real](work, z0, table[l, STRIDE], rows, table[l, OUTPUTS])
        if z0 == base + table[l, H] or table[l, ACTIVATION] != SOFTMAX:     # else with the loss
            activate_layer[real](table, l, slopes, work, base, rows, z0)
    return finite


cdef void gather_rows(const int64_t[:, ::1] table, Data* data, const int32_t[::1] rows, Py_ssize_t start, Py_ssize_t n,
                      bint learning, real[::1] work, Worker* me, real scale) noexcept nogil:
    """h_0 = x * scale, this thread's features of n rows: rows[start], ..., or x[start], ... where nothing is learned."""
    cdef Py_ssize_t first = share(table[0, OUTPUTS], me.thread, me.threads)
    cdef Py_ssize_t end = share(table[0, OUTPUTS], me.thread + 1, me.threads), r
    first = first // 16 * 16                # whole cache lines of h_0
    for r in range(start, start + n):
        if learning and r + AHEAD < rows.shape[0]:
            prefetch_row(data, rows[r + AHEAD], first, end)
        gather_row[real](data, rows[r] if learning else r, first, end,
                         work, me.base + table[0, H] + (r - start) * table[0, STRIDE], scale)


cdef void forward_batch(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters, real[::1] work,
                        Worker* me, Py_ssize_t n, Py_ssize_t batch_size) noexcept nogil:
    """h_l of all layers but the last, and z_L where dz_L will be: this thread's neurons, or all that it will need."""
    cdef Py_ssize_t last = table.shape[0] - 1, l, first, end
    cdef Worker lone
    cdef Worker* team
    cdef bint whole
    for l in range(1, last + 1):
        lone = alone(me[0])
        team = &lone if is_small(table, l, batch_size) else me
        sum_pieces[real](table, l, parameters, work, team, n)
        meet(team)
        whole = l == last or table[l, ACTIVATION] == SOFTMAX or is_small(table, l + 1, batch_size)
        first = 0 if whole else share(table[l, OUTPUTS], team.thread, team.threads)
        end = table[l, OUTPUTS] if whole else share(table[l, OUTPUTS], team.thread + 1, team.threads)
        combine_layer[real](table, l, slopes, work, team, n, first, padded(end) if end == table[l, OUTPUTS] else end,
                            whole, me.base + table[l, DZ if l == last else H])


cdef void learn(const int64_t[:, ::1] table, const real[::1] slopes, real[::1] parameters, real[::1] state,
                Py_ssize_t slot, int optimizer, int loss, Data* data, real scale, const int32_t[::1] rows,
                int target, const int64_t[::1] labels, const real[::1] targets, Py_ssize_t samples,
                Py_ssize_t batch_size, const double[:, ::1] coefficients, bint learning,
                real[::1] gradients, real[::1] d_input, bint with_d_input, real[::1] work,
                Worker me, double[::1] losses, int64_t[::1] agreeing, Result* result) noexcept nogil:
    """One thread's part of all steps of a call; every thread of the team runs this.

    Not learning: one batch of all rows, whose gradients are the result.
    """
    cdef Py_ssize_t last = table.shape[0] - 1, judged = me.thread * (losses.shape[0] // me.threads)
    cdef Py_ssize_t steps = pieces(samples, batch_size)
    cdef Py_ssize_t step, start, batch, q, block, n, r, l, first, end
    cdef bint small, met
    cdef Worker lone
    cdef Worker* team
    cdef real weight
    cdef real c[COEFFICIENTS + 2]
    cdef uint64_t mode = enter_mode()
    for r in range(COEFFICIENTS + 2):
        c[r] = 0
    for step in range(steps):
        start = step * batch_size
        batch = smaller(batch_size, samples - start)
        weight = (2.0 if loss == MEAN_SQUARED_ERROR else 1.0) / (
            batch if loss == CROSS_ENTROPY else batch * table[last, OUTPUTS])
        if learning:
            coefficients_of[real](optimizer, coefficients, step, c)
        for q in range(pieces(batch, CHUNK)):
            block = q * CHUNK
            n = smaller(CHUNK, batch - block)
            gather_rows[real](table, data, rows, start + block, n, learning, work, &me, scale)
            forward_batch[real](table, slopes, parameters, work, &me, n, batch_size)
            output_rows[real](table, work, me.base, n, loss, target, labels, targets,
                              start + block, weight, losses, agreeing, judged)
            if target == OUTPUT_GRADIENT or loss == MEAN_SQUARED_ERROR:
                differentiate_layer[real](table, last, slopes, work, me.base, n, 0, table[last, OUTPUTS])
            for l in range(last, 0, -1):
                small = is_small(table, l, batch_size)
                lone = alone(me)
                team = &lone if small else &me
                first = share(table[l, INPUTS], team.thread, team.threads)
                end = share(table[l, INPUTS], team.thread + 1, team.threads)
                if l > 1:
                    backward_layer[real](table, l, parameters, work, team, n, first, end,
                                         work, matrix(me.base + table[l - 1, DZ], table[l - 1, STRIDE]))
                    if table[l - 1, ACTIVATION] != SOFTMAX:
                        differentiate_layer[real](table, l - 1, slopes, work, me.base, n, first, end)
                elif with_d_input:
                    backward_layer[real](table, l, parameters, work, team, n, first, end,
                                         d_input, matrix(block * table[1, INPUTS], table[1, INPUTS]))
                if not small:           # as soon as a gradient is there
                    change_layer[real](table, l, parameters, state, slot, optimizer, c, work, &me, learning,
                                       batch, block, n, gradients)
                if l > 1:
                    gather_layer[real](table, l - 1, work, team, n)
                    if table[l - 1, ACTIVATION] == SOFTMAX:
                        differentiate_layer[real](table, l - 1, slopes, work, me.base, n, 0, table[l - 1, OUTPUTS])
            met = False
            for l in range(2, last + 1):
                if is_small(table, l, batch_size):
                    if not met:         # others may still read these weights
                        meet(&me)
                    met = True
                    change_layer[real](table, l, parameters, state, slot, optimizer, c, work, &me, learning,
                                       batch, block, n, gradients)
            if me.thread == 0 and target != OUTPUT_GRADIENT:
                for r in range(n):
                    result.loss += losses[r]
                    result.agreeing += agreeing[r]
    leave_mode(mode)


cdef void update_share(real[::1] parameters, const real[::1] gradients, real[::1] state, int optimizer,
                       const real* c) noexcept nogil:
    """One thread's part of an update of all parameters."""
    cdef Py_ssize_t size = parameters.shape[0], first = vector_share(size, threadid(), team_size())
    cdef Py_ssize_t end = vector_share(size, threadid() + 1, team_size())
    cdef uint64_t mode = enter_mode()
    update[real](optimizer, parameters, first, gradients, first, state, first, first + size, end - first, c)
    leave_mode(mode)


cdef bint forward_blocks(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters,
                         Data* data, const real[::1] x, real scale, real* out, int loss, int target,
                         const int64_t[::1] labels, const real[::1] targets, real[::1] work,
                         Py_ssize_t work_size, Py_ssize_t block_rows, double[::1] losses, int64_t[::1] agreeing,
                         Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """One thread's blocks of rows, forward: into out, or, where that is NULL, judged against targets.

    x is None, or the data as they lie, if that is h_0. Returns whether all z_1 are finite.
    """
    cdef Py_ssize_t last = table.shape[0] - 1, inputs = table[0, OUTPUTS], outputs = table[last, OUTPUTS]
    cdef Py_ssize_t base = thread * work_size, scratch = base + work_size - PACKED, r, j, n
    cdef Py_ssize_t first = data.rows * thread // threads, end = data.rows * (thread + 1) // threads
    cdef bint judge = out == NULL, finite = True
    cdef uint64_t mode = enter_mode()
    while first < end:
        n = smaller(block_rows, end - first)
        if x is None:
            for r in range(n):
                gather_row[real](data, first + r, 0, data.columns, work, base + table[0, H] + r * table[0, STRIDE], scale)
            finite &= forward_rows[real](table, slopes, parameters, work, rows_of_layer(table, 0, base), work, base,
                                         scratch, n, judge)
        else:
            finite &= forward_rows[real](table, slopes, parameters, x, matrix(first * inputs, inputs), work, base,
                                         scratch, n, judge)
        if judge:
            output_rows[real](table, work, base, n, loss, target, labels, targets, first, 1,
                              losses, agreeing, first)
        else:
            for r in range(n):
                for j in range(outputs):
                    out[(first + r) * outputs + j] = work[base + table[last, H] + r * table[last, STRIDE] + j]
        first += n
    leave_mode(mode)
    return finite


cdef bint forward_together(const int64_t[:, ::1] table, const real[::1] slopes, const real[::1] parameters,
                           Data* data, real scale, real* out, real[::1] work, Py_ssize_t work_size,
                           Meeting* meeting) noexcept nogil:
    """One thread's part of one row: some neurons of every layer. Returns whether their z_1 are finite."""
    cdef Py_ssize_t thread = threadid(), threads = team_size(), last = table.shape[0] - 1
    cdef Py_ssize_t h0 = thread * work_size + table[0, H], z0, l, j, first, end
    cdef bint finite = True
    cdef uint64_t mode = enter_mode()
    gather_row[real](data, 0, 0, data.columns, work, h0, scale)
    for l in range(1, last + 1):
        z0 = table[l, H]
        first = vector_share(table[l, OUTPUTS], thread, threads)
        end = vector_share(table[l, OUTPUTS], thread + 1, threads)
        forward_row[real](table, l, parameters, work, h0, work, z0, first, end)
        if l == 1:
            finite = finite_rows[real](work, z0 + first, 0, 1, end - first)
        if table[l, ACTIVATION] != SOFTMAX:
            activate[real](<int> table[l, ACTIVATION], work, z0 + first, work, z0 + first, end - first, slopes[l])
        wait_for(meeting, thread, threads)
        if table[l, ACTIVATION] == SOFTMAX:
            if thread == 0:
                activate_layer[real](table, l, slopes, work, 0, 1, z0)
            wait_for(meeting, thread, threads)
        h0 = z0
    if thread == 0:
        for j in range(table[last, OUTPUTS]):
            out[j] = work[h0 + j]
    leave_mode(mode)
    return finite
