cdef inline void start_rows(real[::1] work, Py_ssize_t z0, Py_ssize_t stride, Py_ssize_t rows,
                            const real[::1] parameters, Py_ssize_t biases, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t r, j
    for r in range(rows):
        for j in range(columns):
            work[z0 + r * stride + j] = parameters[biases + j]


cdef inline Matrix rows_of_layer(const int64_t[:, ::1] table, Py_ssize_t l, Py_ssize_t base) noexcept nogil:
    """h_l in the work arena."""
    return matrix(base + table[l, H], table[l, STRIDE])


cdef inline bint finite_rows(const real[::1] z, Py_ssize_t z0, Py_ssize_t stride, Py_ssize_t rows,
                             Py_ssize_t columns) noexcept nogil:
    cdef bint finite = True
    cdef Py_ssize_t r
    for r in range(rows):
        finite &= row_within[real](&z[z0 + r * stride], sizeof(real), columns, FLT_MAX if real is float else DBL_MAX)
    return finite


cdef void forward_row(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters, const real[::1] h,
                      Py_ssize_t h0, real[::1] work, Py_ssize_t z0, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """z_l = h_{l-1} W_l + b_l of one row, for the neurons first to end in whole vectors; z_l begins at z0."""
    cdef Py_ssize_t columns = padded(end - first), j
    for j in range(columns):
        work[z0 + first + j] = parameters[table[l, BIASES] + first + j]
    row_product[real](h, h0, parameters, matrix(table[l, WEIGHTS] + first, table[l, OUTPUTS]), work, z0 + first,
                      columns, table[l, INPUTS])


cdef void forward_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters,
                        const real[::1] h, Matrix rows_of_h, real[::1] work, Py_ssize_t scratch, Py_ssize_t rows,
                        Py_ssize_t z0) noexcept nogil:
    """z_l = h_{l-1} W_l + b_l; z_l begins at z0 of the work arena."""
    cdef Py_ssize_t stride = table[l, STRIDE], outputs = table[l, OUTPUTS]
    start_rows[real](work, z0, stride, rows, parameters, table[l, BIASES], padded(outputs))
    multiply[real](h, rows_of_h, parameters, matrix(table[l, WEIGHTS], outputs), work, matrix(z0, stride),
                   1, True, rows, padded(outputs), table[l, INPUTS], work, scratch)


cdef void activate_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] slopes, real[::1] work,
                         Py_ssize_t base, Py_ssize_t rows, Py_ssize_t z0) noexcept nogil:
    """h_l = g(z_l)."""
    cdef Py_ssize_t stride = table[l, STRIDE], h0 = base + table[l, H], r
    cdef real top
    if table[l, ACTIVATION] == SOFTMAX:
        for r in range(rows):
            softmax[real](work, z0 + r * stride, work, h0 + r * stride, table[l, OUTPUTS], &top)
    elif table[l, ACTIVATION] != IDENTITY or z0 != h0:
        activate[real](<int> table[l, ACTIVATION], work, z0, work, h0, rows * stride, slopes[l])


cdef void differentiate_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] slopes,
                              real[::1] work, Py_ssize_t base, Py_ssize_t rows,
                              Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """dz_l = dh_l * g'(z_l), in place, for the neurons first to end; softmax takes them all."""
    cdef Py_ssize_t r, stride = table[l, STRIDE]
    cdef Py_ssize_t h = base + table[l, H], dz = base + table[l, DZ]
    for r in range(rows):
        if table[l, ACTIVATION] == SOFTMAX:
            softmax_backward[real](work, h + r * stride, work, dz + r * stride, table[l, OUTPUTS])
        else:
            differentiate[real](<int> table[l, ACTIVATION], work, h + r * stride + first,
                                work, dz + r * stride + first, end - first, slopes[l])


cdef void sum_pieces(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters, real[::1] work,
                     Worker* me, Py_ssize_t rows) noexcept nogil:
    """h_{l-1} W_l over this thread's pieces of layer l - 1; the first of all begins with b_l.

    Whole vectors reach beyond a row's end, and what follows the last row may be changing: its last columns are copied.
    """
    cdef Py_ssize_t stride = table[l, STRIDE], outputs = table[l, OUTPUTS], inputs = table[l, INPUTS]
    cdef Py_ssize_t first = first_piece(inputs, me.thread, me.threads), last = first_piece(inputs, me.thread + 1, me.threads) - 1
    cdef Py_ssize_t whole = outputs // 16 * 16, tail = me.scratch + PACKED, p, i, n, z, k, j
    cdef Matrix h, W
    cdef bint add
    for p in range(first, last + 1):
        i = piece_start(inputs, p)
        n = piece_start(inputs, p + 1) - i
        z = sum_start(table, l, me, me.thread, p)
        if p == 0:
            start_rows[real](work, z, stride, rows, parameters, table[l, BIASES], padded(outputs))
        add = p == 0 or not begins(inputs, p, me.thread, me.threads)
        h = matrix(me.base + table[l - 1, H] + i, table[l - 1, STRIDE])
        W = matrix(table[l, WEIGHTS] + i * outputs, outputs)
        multiply[real](work, h, parameters, W, work, matrix(z, stride), 1, add, rows,
                       whole if p == last else padded(outputs), n, work, me.scratch)
        if p == last and whole < outputs:
            for k in range(n):
                for j in range(16):
                    work[tail + k * 16 + j] = parameters[W.start + k * outputs + whole + j] if j < outputs - whole else 0
            multiply[real](work, h, work, matrix(tail, 16), work, matrix(z + whole, stride), 1, add, rows, 16, n,
                           work, me.scratch)


cdef void combine_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] slopes, real[::1] work,
                        Worker* me, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t end, bint shared,
                        Py_ssize_t z0) noexcept nogil:
    """z_l = the sum of the pieces' sums, h_l = g(z_l), for the neurons first to end.

    Sums of neurons that all threads read are shared, and added up at z0; the others in place.
    """
    cdef Py_ssize_t inputs = table[l, INPUTS], stride = table[l, STRIDE], h0 = me.base + table[l, H]
    cdef Py_ssize_t sums[2][SUMS]
    cdef Py_ssize_t n[2]
    cdef Py_ssize_t thread, p, r, half, offset, width, z, other
    cdef bint flat
    n[0] = n[1] = 0
    for thread in range(me.threads):
        for p in range(first_piece(inputs, thread, me.threads), first_piece(inputs, thread + 1, me.threads)):
            if begins(inputs, p, thread, me.threads):
                half = half_start(inputs, p) > 0
                sums[half][n[half]] = sum_start(table, l, me, thread, p)
                n[half] += 1
    # one sum of each half, of whole rows: the rows follow each other in memory
    flat = n[1] <= 1 and end - first == padded(table[l, OUTPUTS])
    width = rows * stride if flat else end - first
    for r in range(1 if flat else rows):
        offset = r * stride + first
        z = z0 + offset if shared else sums[0][0] + offset
        add_up[real](work, z, sums[0], n[0], offset, width)
        if n[1] > 0:
            other = me.scratch if shared and n[1] > 1 else sums[1][0] + offset
            add_up[real](work, other, sums[1], n[1], offset, width)
            if not shared and me.thread == 0:       # into a sum of another thread's, if there is one
                z, other = other, z
            add[real](work, z, other, width)
        if table[l, ACTIVATION] != SOFTMAX:
            activate[real](<int> table[l, ACTIVATION], work, z, work, h0 + offset, width, slopes[l])
    if table[l, ACTIVATION] == SOFTMAX and z0 == h0:        # else with the loss
        activate_layer[real](table, l, slopes, work, me.base, rows, z0)
    me.turn = 1 - me.turn


cdef void backward_layer(const int64_t[:, ::1] table, Py_ssize_t l, const real[::1] parameters, real[::1] work,
                         Worker* me, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t end,
                         real[::1] d, Matrix D) noexcept nogil:
    """D = dh_{l-1} = dz_l W_l^T for the neurons first to end of layer l - 1."""
    cdef Matrix W = matrix(table[l, WEIGHTS] + first * table[l, OUTPUTS], table[l, OUTPUTS])
    multiply_transposed[real](work, matrix(me.base + table[l, DZ], table[l, STRIDE]), parameters, W,
                              d, part(D, 0, first), work, me.scratch, rows, end - first, table[l, OUTPUTS])


cdef void gradient_block(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me, Py_ssize_t batch,
                         Py_ssize_t i, Py_ssize_t height, Py_ssize_t j, Py_ssize_t width,
                         real[::1] g, Matrix G, real alpha, bint add) noexcept nogil:
    """G = alpha * dW (or G += it) for `height` rows and `width` columns of dW = h_{l-1}^T dz_l."""
    multiply[real](work, matrix(me.base + table[l - 1, H] + i, 1, table[l - 1, STRIDE]),
                   work, matrix(me.base + table[l, DZ] + j, table[l, STRIDE]), g, G, alpha, add, height, width, batch,
                   work, me.scratch)


cdef Py_ssize_t bias_gradient(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me,
                              Py_ssize_t batch) noexcept nogil:
    """db = the sum of the rows of dz, at most a chunk of them; returns where in the scratch it is."""
    cdef Py_ssize_t r, j, dz = me.base + table[l, DZ], outputs = table[l, OUTPUTS], db = me.scratch + PACKED
    for j in range(outputs):
        work[db + j] = 0
    for r in range(batch):
        for j in range(outputs):
            work[db + j] = work[db + j] + work[dz + r * table[l, STRIDE] + j]
    return db


cdef void learn_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] parameters, real[::1] state,
                      Py_ssize_t slot, int optimizer, const real* c, real[::1] work, Worker* me,
                      Py_ssize_t batch, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """dW_l of the rows first to end, and their update; the gradient never leaves the cache."""
    cdef Py_ssize_t outputs = table[l, OUTPUTS], block = me.scratch + PACKED, i, j, p, q, r, w, height, width, rows
    if optimizer == SGD:                    # W += -rate dW in the tile itself
        gradient_block[real](table, l, work, me, batch, first, end - first, 0, outputs, parameters,
                             matrix(table[l, WEIGHTS] + first * outputs, outputs), -c[0], True)
    else:
        for q in range(pieces(outputs, GRADIENT_COLUMNS)):
            j = q * GRADIENT_COLUMNS
            width = smaller(GRADIENT_COLUMNS, outputs - j)
            for p in range(pieces(end - first, GRADIENT_ROWS)):
                i = first + p * GRADIENT_ROWS
                height = smaller(GRADIENT_ROWS, end - i)
                gradient_block[real](table, l, work, me, batch, i, height, j, width,
                                     work, matrix(block, width), 1, False)
                rows = 1 if width == outputs else height        # whole rows follow each other in memory
                for r in range(rows):
                    w = table[l, WEIGHTS] + (i + r) * outputs + j
                    update[real](optimizer, parameters, w, work, block + r * width, state, w, w + slot,
                                 height // rows * width, c)
    if first == 0 < end:                    # whoever owns the first neuron owns b_l
        w = table[l, BIASES]
        block = bias_gradient[real](table, l, work, me, batch)
        update[real](optimizer, parameters, w, work, block, state, w, w + slot, outputs, c)


cdef void accumulate_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me, Py_ssize_t batch,
                           Py_ssize_t first, Py_ssize_t end, real[::1] gradients, bint add) noexcept nogil:
    """dW_l of the rows first to end, and db_l, written to (or added to) an arena like the parameters."""
    cdef Py_ssize_t outputs = table[l, OUTPUTS], b = table[l, BIASES], db, j
    gradient_block[real](table, l, work, me, batch, first, end - first, 0, outputs, gradients,
                         matrix(table[l, WEIGHTS] + first * outputs, outputs), 1, add)
    if first == 0 < end:
        db = bias_gradient[real](table, l, work, me, batch)
        for j in range(outputs):
            gradients[b + j] = work[db + j] + (gradients[b + j] if add else 0)


cdef void update_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] parameters, const real[::1] gradients,
                       real[::1] state, Py_ssize_t slot, int optimizer, const real* c,
                       Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """The optimizer's update of the rows first to end, from an arena of gradients."""
    cdef Py_ssize_t outputs = table[l, OUTPUTS], w = table[l, WEIGHTS] + first * outputs
    update[real](optimizer, parameters, w, gradients, w, state, w, w + slot, (end - first) * outputs, c)
    if first == 0 < end:
        w = table[l, BIASES]
        update[real](optimizer, parameters, w, gradients, w, state, w, w + slot, outputs, c)


cdef void change_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] parameters, real[::1] state,
                       Py_ssize_t slot, int optimizer, const real* c, real[::1] work, Worker* me, bint learning,
                       Py_ssize_t batch, Py_ssize_t block, Py_ssize_t rows, real[::1] gradients) noexcept nogil:
    """This thread's rows of dW_l, from the batch's rows that begin at `block`, and their update or what goes before it."""
    cdef Py_ssize_t first = share(table[l, INPUTS], me.thread, me.threads)
    cdef Py_ssize_t end = share(table[l, INPUTS], me.thread + 1, me.threads)
    if learning and rows == batch:
        learn_layer[real](table, l, parameters, state, slot, optimizer, c, work, me, rows, first, end)
    else:
        accumulate_layer[real](table, l, work, me, rows, first, end, gradients, block > 0)
        if learning and block + rows == batch:
            update_layer[real](table, l, parameters, gradients, state, slot, optimizer, c, first, end)
