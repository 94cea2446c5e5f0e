# What each instruction does to the columns that it is given, forward and back: the textbook's equations.

cdef inline Matrix here(const Worker* me, Matrix place) noexcept nogil:
    """The rows at hand of a value, in this thread's part of the work arena."""
    return matrix(me.base + place.start + me.block.at * place.row, place.row)

cdef inline Matrix weights_from(const Instruction* i, Py_ssize_t row) noexcept nogil:
    """W from one of its rows on."""
    return matrix(i.weights + row * i.outputs, i.outputs)

cdef inline Py_ssize_t runs_of(Range rows, Range columns, Py_ssize_t width) noexcept nogil:
    """In how many runs some columns of a value of this width lie: whole rows follow each other in memory."""
    return smaller(1, rows.end - rows.first) if columns.end - columns.first == padded(width) else rows.end - rows.first

cdef inline Range run_of(Range rows, Range columns, Py_ssize_t row, Py_ssize_t runs, Py_ssize_t n) noexcept nogil:
    """From where to where the n-th goes, where rows are so far apart."""
    cdef Range run
    run.first = (rows.first + n) * row + columns.first
    run.end = (rows.end - runs + n) * row + columns.end
    return run


# --- dense: z = h W + b ---------------------------------------------------------------------------------------

cdef inline void start_rows(real[::1] work, Matrix z, Py_ssize_t rows, const real[::1] parameters, Py_ssize_t biases,
                            Py_ssize_t columns) noexcept nogil:
    """z = b, or 0 where there is none, in whole vectors, some rows after others."""
    cdef Py_ssize_t block, q, r
    cdef real b[16]
    cdef int j
    for block in range(ceil_div(rows, PASSED)):
        for q in range(columns // 16):
            for j in range(16):
                b[j] = parameters[biases + q * 16 + j] if biases >= 0 else 0
            for r in range(block * PASSED, smaller(rows, (block + 1) * PASSED)):
                for j in range(16):
                    work[z.start + r * z.row + q * 16 + j] = b[j]


cdef inline bint finite_rows(const real[::1] work, Matrix z, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef bint finite = True
    cdef Py_ssize_t r
    for r in range(rows):
        finite &= row_within(&work[z.start + r * z.row], sizeof(real), columns, FLT_MAX if sizeof(real) == 4 else DBL_MAX)
    return finite


cdef bint multiply_rows(const Instruction* i, Worker* me, const real[::1] h, Matrix H, const real[::1] parameters,
                        real[::1] work) noexcept nogil:
    """MULTIPLY. Returns whether z is finite if it is among the first, whose sums keep each NaN or infinity of h_0."""
    cdef Matrix z = here(me, i.target)
    cdef Py_ssize_t columns = padded(i.outputs)
    cdef Product p = product_of(H, weights_from(i, 0), z, me.block.rows, columns, i.inputs)
    if i.panels:
        p.panels, p.B.start = True, i.panels
    start_rows(work, z, me.block.rows, parameters, i.panels + i.inputs * columns if i.panels else i.biases, columns)
    if me.block.rows == 1 and not i.panels:
        row_product(h, parameters, work, &p)
    else:
        p.add = True
        multiply(h, parameters, work, &p, work, me.scratch)
    return not i.tells or finite_rows(work, z, me.block.rows, i.outputs)


cdef bint multiply_share(const Instruction* i, Worker* me, Py_ssize_t h, const real[::1] parameters, real[::1] work) noexcept nogil:
    """MULTIPLY of one row that all threads share: some of its columns. The values lie in the first thread's part."""
    cdef Range columns = vectors_of_mine(me, i.outputs)
    cdef Py_ssize_t width = padded(columns.end - columns.first)
    cdef Matrix z = matrix(i.target.start + columns.first, 0)
    cdef Product p = product_of(matrix(h, 0), part(weights_from(i, 0), 0, columns.first), z, 1, width, i.inputs)
    start_rows(work, z, 1, parameters, i.biases + columns.first if i.biases >= 0 else -1, width)
    row_product(work, parameters, work, &p)
    return not i.tells or finite_rows(work, z, 1, columns.end - columns.first)


cdef void sum_piece(const Instruction* i, Worker* me, Product* p, Py_ssize_t piece, const real[::1] parameters,
                    real[::1] work) noexcept nogil:
    """h W over one piece of the inputs, written, added or folded to p.C; the first piece begins with b.

    Whole vectors reach beyond a row's end, and what follows W's last row of this thread may be changing: the last
    columns of its last piece are copied.
    """
    cdef Py_ssize_t first = piece_start(i.cut_in, piece), whole = i.outputs // 16 * 16, tail = me.scratch + PACKED, k, j
    cdef Py_ssize_t columns = 8 if i.outputs <= 8 else padded(i.outputs)       # a tile has no fewer
    cdef bint last = whole < i.outputs and piece_start(i.cut_in, piece + 1) == neurons_of_mine(me, i.cut_in).end
    cdef Product q
    p.A.start = here(me, i.source).start + first
    p.B.start = i.weights + first * i.outputs
    p.depth = piece_start(i.cut_in, piece + 1) - first
    p.columns = whole if last else columns
    if piece == 0:
        start_rows(work, p.C, p.rows, parameters, i.biases, padded(i.outputs))
        p.add = True
    multiply(work, parameters, work, p, work, me.scratch)
    if last:
        for k in range(p.depth):
            for j in range(16):
                work[tail + k * 16 + j] = parameters[p.B.start + k * i.outputs + whole + j] if j < i.outputs - whole else 0
        q = p[0]
        q.B, q.C.start, q.columns = matrix(tail, 16), p.C.start + whole, columns - whole
        multiply(work, work, work, &q, work, me.scratch)


cdef void sum_node(const Instruction* i, Worker* me, const Node* node, const real[::1] parameters, real[::1] work) noexcept nogil:
    """h W over a subtree. Of two pairs of pieces the second's sum is added to the first's by its last product: C + (T + sums)."""
    cdef Py_ssize_t pair, q, waiting = 0, stride = i.target.row
    cdef Py_ssize_t sums[DEPTH]
    cdef Product p = product_of(matrix(0, i.source.row), matrix(0, i.outputs), matrix(0, stride), me.block.rows, 0, 0)
    sums[0] = node.place
    for q in range(waiting_sums(i.cut_in)):
        sums[q + 1] = waiting_sum(me, q, stride)
    for pair in range(ceil_div(node.size, 2)):
        p.C.start, p.add, p.fold = sums[waiting], False, 0
        sum_piece(i, me, &p, node.first + 2 * pair, parameters, work)
        if node.size > 1:
            p.add = True
            if pair % 2:
                p.C.start, p.fold = sums[waiting - 1], sums[waiting] - sums[waiting - 1]
            else:
                waiting += 1
            sum_piece(i, me, &p, node.first + 2 * pair + 1, parameters, work)
        q = pair + 1
        while q % 4 == 0:                   # two subtrees of one size
            add(work, sums[waiting - 2], sums[waiting - 2], sums[waiting - 1], me.block.rows * stride)
            waiting -= 1
            q //= 2


cdef void sum_pieces(const Instruction* i, Worker* me, const real[::1] parameters, real[::1] work) noexcept nogil:
    """SUM: h W + b over this thread's pieces of h."""
    cdef Node nodes[MOST_NODES]
    cdef Py_ssize_t n
    for n in range(nodes_of_mine(me, i.cut_in, i.target.row, nodes)):
        sum_node(i, me, &nodes[n], parameters, work)


cdef void combine(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """COMBINE: z = the sum of all pieces' sums, h = g(z), for all columns or this thread's own.

    Sums that all threads read are added up at i.source; the others in place.
    """
    cdef Node nodes[MOST_NODES]
    cdef Py_ssize_t n = all_nodes(me, i.cut_in, i.target.row, nodes), k, runs
    cdef Range rows = rows_at_hand(me, i.by_rows)
    cdef Matrix h = here(me, i.target)
    cdef bint read_again = i.source.start != i.target.start or n > 1
    cdef Py_ssize_t z = here(me, i.source).start if i.whole and read_again else sum_target(me, nodes, n)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole), at
    runs = runs_of(rows, columns, i.outputs) if n <= 2 else rows.end - rows.first       # the spare room is a row
    for k in range(runs):
        at = run_of(rows, columns, h.row, runs, k)
        add_tree(work, z, nodes, n, at, me.scratch if i.whole else 0)
        if z != h.start or i.code != IDENTITY:
            activate(i.code, work, z + at.first, work, h.start + at.first, at.end - at.first, i.number)
    me.parity = 1 - me.parity


cdef void back(const Instruction* i, Worker* me, const real[::1] parameters, real[::1] work) noexcept nogil:
    """BACK: dh = dz W^T, for the neurons of this thread, whose rows of W it owns, or all."""
    cdef Range rows_of_w = neurons_of_mine(me, i.cut_in)
    cdef Product p = product_of(here(me, i.source), weights_from(i, rows_of_w.first),
                                part(here(me, i.target), 0, rows_of_w.first), me.block.rows,
                                rows_of_w.end - rows_of_w.first, i.outputs)
    p.add = i.add
    multiply_transposed(work, parameters, work, &p, work, me.scratch)


# --- dense: dW = h^T dz, db = the sum of the rows of dz, and the update --------------------------------------------

cdef inline Product gradient_of(const Instruction* i, Worker* me, Matrix dW, Range rows, Range columns) noexcept nogil:
    """Some rows and columns of dW, which begin at dW."""
    cdef Matrix h = here(me, i.source), dz = here(me, i.other)
    return product_of(matrix(h.start + rows.first, 1, h.row), part(dz, 0, columns.first), dW, rows.end - rows.first,
                      columns.end - columns.first, me.block.rows)


cdef void multiply_gradient(const Product* g, Worker* me, real[::1] c, real[::1] work) noexcept nogil:
    """dW = h^T dz. Few columns beyond whole vectors are had as dW^T = dz^T h, whose vectors run along the neurons."""
    cdef Py_ssize_t rest = g.columns % 16, whole, first = 0, n, r, j, w, t
    cdef Product q = g[0]
    if rest > MOST_REST or g.rows < GRADIENT_ROWS or g.columns + rest > GRADIENT_COLUMNS:
        rest = 0
    q.columns = whole = g.columns - rest
    if whole > 0:
        multiply(work, work, c, &q, work, me.scratch)
    while rest > 0 and first < g.rows:
        n = smaller(GRADIENT_ROWS, g.rows - first)
        t = me.scratch + PACKED + GRADIENT_ROWS * GRADIENT_COLUMNS - rest * n       # behind the block of dW
        q = product_of(matrix(g.B.start + whole, 1, g.B.row), matrix(g.A.start + first, g.A.column), matrix(t, n), rest, n, g.depth)
        multiply(work, work, work, &q, work, me.scratch)
        for r in range(n):
            w = g.C.start + (first + r) * g.C.row + whole
            for j in range(rest):
                c[w + j] = fma(g.alpha, work[t + j * n + r], c[w + j] if g.add else 0)
        first += n


cdef inline void sum_rows(real[::1] work, Matrix d, Py_ssize_t rows, Py_ssize_t target, int lanes) noexcept nogil:
    """Adds some columns to their sums."""
    cdef real sums[MAX_LANES]
    cdef Py_ssize_t r
    cdef int j
    for j in range(lanes):
        sums[j] = work[target + j]
    for r in range(rows):
        for j in range(lanes):
            sums[j] = sums[j] + work[d.start + r * d.row + j]
    for j in range(lanes):
        work[target + j] = sums[j]


cdef Py_ssize_t bias_gradient(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """db, of at most a chunk of rows; returns where in the scratch it is."""
    cdef Py_ssize_t block, rows, j, db = me.scratch + PACKED
    cdef Matrix dz = here(me, i.other)
    for j in range(padded(i.outputs)):
        work[db + j] = 0
    for block in range(ceil_div(me.block.rows, PASSED)):
        rows, j = smaller(PASSED, me.block.rows - block * PASSED), 0
        while i.outputs - j > 16:           # two chains: each step waits for the one before
            sum_rows(work, part(dz, block * PASSED, j), rows, db + j, MAX_LANES)
            j += MAX_LANES
        if j < i.outputs:
            sum_rows(work, part(dz, block * PASSED, j), rows, db + j, 16)
    return db


cdef void learn_rows(const Instruction* i, Worker* me, Range mine, real[::1] parameters, real[::1] state, real[::1] work) noexcept nogil:
    """dW of these rows, and their update; the gradient never leaves the cache."""
    cdef Py_ssize_t block = me.scratch + PACKED, p, q, r, flat
    cdef Range rows, columns
    cdef Product g
    cdef const Weights* of = me.call.blocks + i.block
    cdef Span s
    if me.call.optimizer == SGD and me.call.rule == 0 and not of.penalized:     # W += -rate dW in the tile itself
        columns.first, columns.end = 0, i.outputs
        g = gradient_of(i, me, weights_from(i, mine.first), mine, columns)
        g.alpha, g.add = -me.block.c[RATE] * of.rate, True
        multiply_gradient(&g, me, parameters, work)
        return
    for q in range(ceil_div(i.outputs, GRADIENT_COLUMNS)):
        columns.first = q * GRADIENT_COLUMNS
        columns.end = smaller(i.outputs, columns.first + GRADIENT_COLUMNS)
        for p in range(ceil_div(mine.end - mine.first, GRADIENT_ROWS)):
            rows.first = mine.first + p * GRADIENT_ROWS
            rows.end = smaller(mine.end, rows.first + GRADIENT_ROWS)
            g = gradient_of(i, me, matrix(block, columns.end - columns.first), rows, columns)
            multiply_gradient(&g, me, work, work)
            # whole rows follow each other in memory
            flat = g.rows if g.columns == i.outputs else 1
            for r in range(g.rows // flat):
                s = span_of(me, i.weights + (rows.first + r) * i.outputs + columns.first, block + r * g.columns, flat * g.columns)
                update(me, of, parameters, work, state, &s)


cdef inline bint at_once(const Worker* me) noexcept nogil:
    """Whether the rows at hand are the whole batch, whose gradients are used where they are made."""
    return me.call.learning and me.block.rows == me.block.batch and not me.call.waits

cdef inline bint completes(const Worker* me) noexcept nogil:
    """Whether the gradients of a batch in blocks are complete with these rows, and it learns."""
    return me.call.learning and me.block.first + me.block.rows == me.block.batch


cdef void learn_sums(Worker* me, const Weights* of, Span* s, real[::1] parameters, real[::1] state, real[::1] gradients,
                     real[::1] work) noexcept nogil:
    """Parameters whose gradients of the rows at hand lie in `work`: their update, or what goes before it."""
    cdef Py_ssize_t j
    if at_once(me):
        update(me, of, parameters, work, state, s)
        return
    for j in range(s.n):
        gradients[s.w + j] = work[s.g + j] + (gradients[s.w + j] if me.block.first > 0 else 0)
    if completes(me):
        s.g = s.w
        settle_span(me, of, s, parameters, gradients, state)


cdef void accumulate_rows(const Instruction* i, Worker* me, Range rows, real[::1] gradients, real[::1] work) noexcept nogil:
    """dW of these rows, written to (or added to) an arena like the parameters."""
    cdef Range columns
    columns.first, columns.end = 0, i.outputs
    cdef Product g = gradient_of(i, me, weights_from(i, rows.first), rows, columns)
    g.add = me.block.first > 0
    multiply_gradient(&g, me, gradients, work)


cdef void learn(const Instruction* i, Worker* me, real[::1] parameters, real[::1] state, real[::1] gradients,
                real[::1] work) noexcept nogil:
    """LEARN: this thread's rows of dW, their update or what goes before it; db with the first row."""
    cdef Range rows = neurons_of_mine(me, i.cut_in)
    cdef const Weights* of = me.call.blocks + i.block
    cdef Span s
    if at_once(me):
        learn_rows(i, me, rows, parameters, state, work)
    else:
        accumulate_rows(i, me, rows, gradients, work)
        if completes(me):
            settle(me, of, rows, parameters, gradients, state)
    if i.biases >= 0 and rows.first == 0 < rows.end:
        s = span_of(me, i.biases, bias_gradient(i, me, work), i.outputs)
        learn_sums(me, of + 1, &s, parameters, state, gradients, work)


cdef void update_dense(const Instruction* i, Worker* me, real[::1] parameters, real[::1] state, real[::1] gradients) noexcept nogil:
    """UPDATE: of this thread's rows of W, and of b with the first."""
    cdef Range rows = neurons_of_mine(me, i.cut_in)
    cdef const Weights* of = me.call.blocks + i.block
    cdef Span s
    if not completes(me) or rows.first >= rows.end:
        return
    update_rows(me, of, rows, parameters, gradients, state)
    if rows.first == 0 and i.biases >= 0:
        s = span_of(me, i.biases, i.biases, i.outputs)
        update_span(me, of + 1, &s, parameters, gradients, state)


# --- along the columns: activations, dropout, sums of values -------------------------------------------------------

cdef void activate_rows(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """ACTIVATE: h = g(z)."""
    cdef Matrix z = here(me, i.source), h = here(me, i.target)
    cdef Range rows = rows_at_hand(me, False), columns = columns_of_mine(me, i.cut_out, i.whole), at
    cdef Py_ssize_t k, runs = runs_of(rows, columns, i.outputs)
    for k in range(runs):
        at = run_of(rows, columns, h.row, runs, k)
        activate(i.code, work, z.start + at.first, work, h.start + at.first, at.end - at.first, i.number)


cdef void differentiate_rows(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """ACTIVATE_BACK: dz = dh * g'(z), in place; i.source is what g' is written in, z or h."""
    cdef Matrix read = here(me, i.source), d = here(me, i.target)
    cdef Range rows = rows_at_hand(me, False), columns = columns_of_mine(me, i.cut_out, i.whole), at
    cdef Py_ssize_t k, runs = runs_of(rows, columns, i.outputs)
    for k in range(runs):
        at = run_of(rows, columns, d.row, runs, k)
        differentiate(i.code, work, read.start + at.first, work, d.start + at.first, at.end - at.first, i.number)


cdef inline Py_ssize_t side_by_side(Py_ssize_t outputs, Py_ssize_t left) noexcept nogil:
    """How many of the rows that are left are worked on together, SIDE at most, or one."""
    return smaller(SIDE, left) if outputs <= SHORT and left >= FEW_SIDE else 1

cdef void stand(real[::1] work, Matrix rows, Py_ssize_t side, Py_ssize_t n, Py_ssize_t outputs) noexcept nogil:
    """Side by side, from `side` on."""
    cdef Py_ssize_t r, j
    for r in range(n):
        for j in range(outputs):
            work[side + j * SIDE + r] = work[rows.start + r * rows.row + j]

cdef void lie(real[::1] work, Matrix rows, Py_ssize_t side, Py_ssize_t n, Py_ssize_t outputs) noexcept nogil:
    """As rows again."""
    cdef Py_ssize_t r, j
    for r in range(n):
        for j in range(outputs):
            work[rows.start + r * rows.row + j] = work[side + j * SIDE + r]


cdef void softmax_rows(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """SOFTMAX: h = e^z / sum(e^z)."""
    cdef Matrix z = here(me, i.source), h = here(me, i.target)
    cdef Py_ssize_t r = 0, n, side = me.scratch
    cdef real top[SIDE]
    cdef double total[SIDE]
    while r < me.block.rows:
        n = side_by_side(i.outputs, me.block.rows - r)
        if n > 1:
            stand(work, part(z, r, 0), side, n, i.outputs)
            softmax(work, side, side, i.outputs, SIDE, top, total)
            lie(work, part(h, r, 0), side, n, i.outputs)
        else:
            softmax(work, z.start + r * z.row, h.start + r * h.row, i.outputs, 1, top, total)
        r += n


cdef void softmax_back(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """SOFTMAX_BACK: dz = h * (dh - sum(dh * h)), in place."""
    cdef Matrix h = here(me, i.source), d = here(me, i.target)
    cdef Py_ssize_t r
    for r in range(me.block.rows):
        softmax_backward(work, h.start + r * h.row, work, d.start + r * d.row, i.outputs)


cdef void drop(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """DROPOUT: h = x * mask, where the mask is 1 / (1 - rate) with probability 1 - rate, else 0; i.other keeps it.

    Of alpha dropout h = x * mask + shift, one shift for what is kept and another for what goes.
    """
    cdef Matrix x = here(me, i.source), mask = here(me, i.other), h = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef Py_ssize_t r, j
    cdef Key key = key_of(me.call.seed, DROP, me.block.update, i.op)
    for r in range(me.block.rows):
        draw_mask(key, me.call.first_row + me.block.first + r, i, columns, work, mask.start + r * mask.row)
        for j in range(columns.first, columns.end):
            work[h.start + r * h.row + j] = work[x.start + r * x.row + j] * work[mask.start + r * mask.row + j]
        for j in range(columns.first, columns.end if i.dropped < 0 else columns.first):
            work[h.start + r * h.row + j] += i.kept if work[mask.start + r * mask.row + j] > 0 else i.dropped


cdef void drop_back(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """DROPOUT_BACK: dx = dh * mask, in place."""
    cdef Matrix mask = here(me, i.source), d = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef Py_ssize_t r, j
    for r in range(me.block.rows):
        for j in range(columns.first, columns.end):
            work[d.start + r * d.row + j] = work[d.start + r * d.row + j] * work[mask.start + r * mask.row + j]


cdef void add_rows(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """ADD: the sum of two values."""
    cdef Matrix x = here(me, i.source), y = here(me, i.other), h = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef Py_ssize_t r
    for r in range(me.block.rows):
        add(work, h.start + r * h.row + columns.first, x.start + r * x.row + columns.first,
            y.start + r * y.row + columns.first, columns.end - columns.first)


cdef void pass_on(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """PASS: a source of several ops gets d of one of them, or adds it to what it has."""
    cdef Matrix d = here(me, i.source), target = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef Py_ssize_t r, j, a, b
    for r in range(me.block.rows):
        a, b = target.start + r * target.row, d.start + r * d.row
        for j in range(columns.first, columns.end):
            work[a + j] = work[a + j] + work[b + j] if i.add else work[b + j]
