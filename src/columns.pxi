# Along rows and columns: what has a parameter for each column (SCALE, PRELU, BLEND), a row's own scale (ROW_NORM), tables (EMBED).

cdef inline bint is_columnwise(int kind) noexcept nogil:
    """Whether an op has a parameter for each column, and takes each number for itself."""
    return kind == SCALE or kind == PRELU or kind == BLEND


# --- a parameter for each column -----------------------------------------------------------------------------------

cdef inline void scale_columns(const Instruction* i, const real[::1] parameters, real[::1] work, Py_ssize_t x, Py_ssize_t h,
                           Range columns) noexcept nogil:
    """h = x * gamma + beta."""
    cdef Py_ssize_t j, gamma = i.weights, beta = i.biases
    for j in range(columns.first, columns.end if beta >= 0 else columns.first):
        work[h + j] = fma(work[x + j], parameters[gamma + j], parameters[beta + j])
    for j in range(columns.first, columns.end if beta < 0 else columns.first):
        work[h + j] = work[x + j] * parameters[gamma + j]

cdef inline void prelu_columns(const Instruction* i, const real[::1] parameters, real[::1] work, Py_ssize_t z, Py_ssize_t h,
                           Range columns) noexcept nogil:
    """h = z, or a * z below 0."""
    cdef Py_ssize_t j, a = i.weights
    for j in range(columns.first, columns.end):
        work[h + j] = work[z + j] * (<real> 1.0 if work[z + j] > 0 else parameters[a + j])

cdef inline void blend_columns(const Instruction* i, const real[::1] parameters, real[::1] work, Py_ssize_t z, Py_ssize_t h,
                           Range columns) noexcept nogil:
    """h = z + a * (f(z) - z); z and h are not the same."""
    cdef Py_ssize_t j, a = i.weights
    activate(i.code, work, z + columns.first, work, h + columns.first, columns.end - columns.first, i.number)
    for j in range(columns.first, columns.end):
        work[h + j] = fma(parameters[a + j], work[h + j] - work[z + j], work[z + j])

cdef void columnwise_row(const Instruction* i, const real[::1] parameters, real[::1] work, Py_ssize_t x, Py_ssize_t h,
                         Range columns) noexcept nogil:
    """Some columns of a row at x, into the row at h."""
    if i.kind == SCALE:
        scale_columns(i, parameters, work, x, h, columns)
    elif i.kind == PRELU:
        prelu_columns(i, parameters, work, x, h, columns)
    else:
        blend_columns(i, parameters, work, x, h, columns)


cdef void columnwise(const Instruction* i, Worker* me, const real[::1] parameters, real[::1] work) noexcept nogil:
    """SCALE, PRELU, BLEND."""
    cdef Matrix x = here(me, i.source), h = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef Py_ssize_t r
    for r in range(me.block.rows):
        columnwise_row(i, parameters, work, x.start + r * x.row, h.start + r * h.row, columns)


cdef struct Back:               # a row on the way back
    Range columns
    Py_ssize_t x, d             # where it begins, and its gradient
    Py_ssize_t sums, shifts     # where the gradients of the two blocks are added up
    Py_ssize_t scratch          # room for two rows

cdef inline void scale_back(const Instruction* i, const real[::1] parameters, real[::1] work, const Back* at) noexcept nogil:
    """dgamma += dh * x, dbeta += dh; dx = dh * gamma."""
    cdef Py_ssize_t j, gamma = i.weights
    for j in range(at.columns.first, at.columns.end):
        work[at.sums + j] = fma(work[at.d + j], work[at.x + j], work[at.sums + j])
    for j in range(at.columns.first, at.columns.end if i.biases >= 0 else at.columns.first):
        work[at.shifts + j] = work[at.shifts + j] + work[at.d + j]
    for j in range(at.columns.first, at.columns.end):
        work[at.d + j] = work[at.d + j] * parameters[gamma + j]

cdef inline void prelu_back(const Instruction* i, const real[::1] parameters, real[::1] work, const Back* at) noexcept nogil:
    """da += dh * min(z, 0); dz = dh, or dh * a below 0."""
    cdef Py_ssize_t j, a = i.weights
    for j in range(at.columns.first, at.columns.end):
        work[at.sums + j] = fma(work[at.d + j], work[at.x + j] if work[at.x + j] < 0 else <real> 0.0, work[at.sums + j])
        work[at.d + j] = work[at.d + j] * (<real> 1.0 if work[at.x + j] > 0 else parameters[a + j])

cdef inline void blend_back(const Instruction* i, const real[::1] parameters, real[::1] work, const Back* at) noexcept nogil:
    """da += dh * (f - z); dz = dh + a * (dh * f' - dh). f and dh * f' are had in the scratch."""
    cdef Py_ssize_t j, a = i.weights, f = at.scratch, g = at.scratch + padded(i.outputs), n = at.columns.end - at.columns.first
    activate(i.code, work, at.x + at.columns.first, work, f + at.columns.first, n, i.number)
    for j in range(at.columns.first, at.columns.end):
        work[at.sums + j] = fma(work[at.d + j], work[f + j] - work[at.x + j], work[at.sums + j])
        work[g + j] = work[at.d + j]
    differentiate(i.code, work, (at.x if reads_z(i.code) else f) + at.columns.first, work, g + at.columns.first, n, i.number)
    for j in range(at.columns.first, at.columns.end):
        work[at.d + j] = fma(parameters[a + j], work[g + j] - work[at.d + j], work[at.d + j])


cdef inline Matrix lines_here(const Worker* me, Matrix place) noexcept nogil:
    """The two lines of sums of the rows at hand; where all rows of a batch are kept, each block has its own."""
    return matrix(me.base + place.start + me.block.at // CHUNK * 2 * place.row, place.row)


cdef void columnwise_back(const Instruction* i, Worker* me, const real[::1] parameters, real[::1] work) noexcept nogil:
    """SCALE_BACK, PRELU_BACK, BLEND_BACK: d in place, and the sums over the rows at hand that are the parameters' gradients."""
    cdef Matrix x = here(me, i.source), d = here(me, i.target), sums = lines_here(me, i.other)
    cdef Py_ssize_t r, j
    cdef Back at
    at.columns, at.sums, at.shifts, at.scratch = columns_of_mine(me, i.cut_out, i.whole), sums.start, sums.start + sums.row, me.scratch
    for j in range(at.columns.first, at.columns.end):
        work[at.sums + j] = 0
        work[at.shifts + j] = 0
    for r in range(me.block.rows):
        at.x, at.d = x.start + r * x.row, d.start + r * d.row
        if i.kind == SCALE_BACK:
            scale_back(i, parameters, work, &at)
        elif i.kind == PRELU_BACK:
            prelu_back(i, parameters, work, &at)
        else:
            blend_back(i, parameters, work, &at)


cdef void learn_columns(const Instruction* i, Worker* me, real[::1] parameters, real[::1] state, real[::1] gradients,
                        real[::1] work) noexcept nogil:
    """LEARN_COLUMNS: this thread's columns of the parameters, their update or what goes before it."""
    cdef Range columns = neurons_of_mine(me, i.cut_out)
    cdef Matrix sums = lines_here(me, i.source)
    cdef Py_ssize_t n = columns.end - columns.first, first = columns.first
    cdef const Weights* of = me.call.blocks + i.block
    cdef Span s = span_of(me, i.weights + first, sums.start + first, n)
    learn_sums(me, of, &s, parameters, state, gradients, work)
    if i.biases >= 0:
        s = span_of(me, i.biases + first, sums.start + sums.row + first, n)
        learn_sums(me, of + 1, &s, parameters, state, gradients, work)


cdef void update_columns(const Instruction* i, Worker* me, real[::1] parameters, real[::1] state, real[::1] gradients) noexcept nogil:
    """UPDATE_COLUMNS: of this thread's columns."""
    cdef Range columns = neurons_of_mine(me, i.cut_out)
    cdef const Weights* of = me.call.blocks + i.block
    cdef Span s = span_of(me, i.weights + columns.first, i.weights + columns.first, columns.end - columns.first)
    if not completes(me):
        return
    update_span(me, of, &s, parameters, gradients, state)
    if i.biases >= 0:
        s.w = s.g = i.biases + columns.first
        update_span(me, of + 1, &s, parameters, gradients, state)


# --- a row by its own mean and deviation: Ba, Kiros, Hinton, Layer normalization (2016) ------------------------------

cdef enum:
    FIRST, SQUARES, PRODUCTS    # what is summed along a row: x, (x - mean)^2, x * y

cdef inline double term(int what, double x, double y, double mean) noexcept nogil:
    return x if what == FIRST else (x - mean) * (x - mean) if what == SQUARES else x * y

cdef inline double sum_along(int what, const real[::1] work, Py_ssize_t x, Py_ssize_t y, double mean, Py_ssize_t n) noexcept nogil:
    """In sixteen sums of every sixteenth column, which are added in a tree: an order that n alone decides."""
    cdef double sums[16]
    cdef Py_ssize_t q, half
    cdef int j
    for j in range(16):
        sums[j] = 0
    for q in range(n // 16):
        for j in range(16):
            sums[j] += term(what, work[x + q * 16 + j], work[y + q * 16 + j], mean)
    for q in range(n // 16 * 16, n):
        sums[q % 16] += term(what, work[x + q], work[y + q], mean)
    half = 8
    while half > 0:
        for q in range(half):
            sums[q] += sums[q + half]
        half //= 2
    return sums[0]


cdef void norm_rows(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """ROW_NORM: h = (x - mean) * inverse, inverse = 1 / sqrt(variance + epsilon), which training keeps in other."""
    cdef Matrix x = here(me, i.source), h = here(me, i.target), kept = here(me, i.other)
    cdef Py_ssize_t r, j, a, b, n = i.outputs
    cdef double mean, inverse
    for r in range(me.block.rows):
        a, b = x.start + r * x.row, h.start + r * h.row
        mean = sum_along(FIRST, work, a, a, 0, n) / n
        inverse = 1 / sqrt(sum_along(SQUARES, work, a, a, mean, n) / n + <double> i.epsilon)
        for j in range(n):
            work[b + j] = <real> ((work[a + j] - mean) * inverse)
        if kept.row > 0:
            work[kept.start + r * kept.row] = <real> inverse


cdef void norm_back(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """ROW_NORM_BACK: dx = inverse * (dh - mean(dh) - h * mean(dh * h)), in place."""
    cdef Matrix h = here(me, i.source), kept = here(me, i.other), d = here(me, i.target)
    cdef Py_ssize_t r, j, a, b, n = i.outputs
    cdef real mean, product, inverse
    for r in range(me.block.rows):
        a, b = d.start + r * d.row, h.start + r * h.row
        mean, product = <real> (sum_along(FIRST, work, a, a, 0, n) / n), <real> (sum_along(PRODUCTS, work, a, b, 0, n) / n)
        inverse = work[kept.start + r * kept.row]
        for j in range(n):
            work[a + j] = inverse * fma(-product, work[b + j], work[a + j] - mean)


# --- a table of vectors by codes ---------------------------------------------------------------------------------------

cdef inline Py_ssize_t code_of(const Instruction* i, real x) noexcept nogil:
    """The row of the table: the last for what is the number of no other."""
    return <Py_ssize_t> x if 0 <= x < i.codes - 1 else i.codes - 1

cdef inline Py_ssize_t vector_of(const Instruction* i) noexcept nogil:
    """The numbers of a row of the table."""
    return i.outputs - i.inputs + 1

cdef void embed_rows(const Instruction* i, Worker* me, const real[::1] parameters, real[::1] work) noexcept nogil:
    """EMBED: x, in the place of a column the row of the table that stands there; a column that is not finite makes it NaN."""
    cdef Matrix x = here(me, i.source), h = here(me, i.target)
    cdef Py_ssize_t r, j, a, b, row, width = vector_of(i), c = i.code
    cdef real none
    for r in range(me.block.rows):
        a, b = x.start + r * x.row, h.start + r * h.row
        row, none = i.weights + code_of(i, work[a + c]) * width, work[a + c] - work[a + c]
        for j in range(c):
            work[b + j] = work[a + j]
        for j in range(width):
            work[b + c + j] = parameters[row + j] + none
        for j in range(c + 1, i.inputs):
            work[b + width - 1 + j] = work[a + j]


cdef void embed_back(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """EMBED_BACK: dx = dh, but for the column of codes; written, or added to what it has."""
    cdef Matrix d = here(me, i.source), target = here(me, i.target)
    cdef Py_ssize_t r, j, a, b, width = vector_of(i)
    for r in range(me.block.rows):
        a, b = target.start + r * target.row, d.start + r * d.row
        if not i.add:
            work[a + i.code] = 0
        for j in range(i.code):
            work[a + j] = work[b + j] + (work[a + j] if i.add else 0)
        for j in range(i.code + 1, i.inputs):
            work[a + j] = work[b + width - 1 + j] + (work[a + j] if i.add else 0)


cdef void learn_table(const Instruction* i, Worker* me, real[::1] parameters, real[::1] state, real[::1] gradients,
                      real[::1] work) noexcept nogil:
    """LEARN_TABLE: this thread's rows of the table get the sums of dh over the rows that have their codes, in ascending order."""
    cdef Matrix x = here(me, i.source), d = here(me, i.other), sums = here(me, i.target)
    cdef Range mine = rows_of_mine(me, i.codes)
    cdef const Weights* of = me.call.blocks + i.block
    cdef Py_ssize_t r, j, code, b, width = vector_of(i)
    cdef Span s
    for j in range(mine.first * width, mine.end * width):
        work[sums.start + j] = 0
    for r in range(me.block.rows):
        code, b = code_of(i, work[x.start + r * x.row + i.code]), d.start + r * d.row + i.code
        if mine.first <= code < mine.end:
            for j in range(width):
                work[sums.start + code * width + j] += work[b + j]
    if mine.first < mine.end:
        code = mine.first * width
        s = span_of(me, i.weights + code, sums.start + code, (mine.end - mine.first) * width)
        learn_sums(me, of, &s, parameters, state, gradients, work)


cdef void update_table(const Instruction* i, Worker* me, real[::1] parameters, real[::1] state, real[::1] gradients) noexcept nogil:
    """UPDATE_TABLE: of this thread's rows."""
    if completes(me):
        update_rows(me, me.call.blocks + i.block, rows_of_mine(me, i.codes), parameters, gradients, state)
