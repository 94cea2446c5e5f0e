# What benchmarks and the chooser ask.

cdef enum:
    PLAIN, FIRST_TRANSPOSED, SECOND_TRANSPOSED


cdef list idle_regions = []     # that no product is using

cdef void multiply_claimed(Region r, Worker me) noexcept nogil:
    """Some rows of a product, or columns where there are more of them: as many shares as there may be threads."""
    cdef Product p
    cdef Range next_share = claim(r, r.threads, 1), mine
    cdef uint64_t mode = enter_mode()
    while next_share.first < next_share.end:
        p = r.product[0]
        if r.form == FIRST_TRANSPOSED and collides(&p):
            p.copy = me.scratch + PACKED
        if p.columns > p.rows:
            mine = vectors_of_thread(p.columns, next_share.first, r.threads)
            p.columns = mine.end - mine.first
            p.B.start, p.C.start = mine.first * (p.B.row if r.form == SECOND_TRANSPOSED else 1), mine.first
        else:
            mine = rows_of_thread(p.rows, next_share.first, r.threads)
            p.rows = mine.end - mine.first
            p.A, p.C = part(p.A, mine.first, 0), part(p.C, mine.first, 0)
        if r.form == SECOND_TRANSPOSED:
            multiply_transposed(r.x, r.weights, r.parameters, &p, r.work, me.scratch)
        else:
            multiply(r.x, r.weights, r.parameters, &p, r.work, me.scratch)
        next_share = claim(r, r.threads, 1)
    leave_mode(mode)


cdef inline bint few_pass(Py_ssize_t rows) noexcept:
    """Whether a panel of B is read where it lies, in whole vectors, by some of so many rows: else it is copied first."""
    return 0 < rows % ROW_BLOCK < PACK_ROWS

cdef bint reads_beyond(int form, const Product* p, Py_ssize_t threads) noexcept:
    """Whether what lies behind B's last row is read by some thread's share."""
    cdef Py_ssize_t shares = threads if p.columns <= p.rows else 1
    if p.columns % 8 == 0 or (form == SECOND_TRANSPOSED and p.depth > 1):
        return False
    return few_pass(p.rows // shares) or few_pass(ceil_div(p.rows, shares))


cdef with_room_behind(b):
    """A copy with zeros behind it."""
    cdef cnp.npy_intp n = b.size + MAX_LANES
    copy = cnp.PyArray_SimpleNew(1, &n, REAL)
    memcpy(start_of(copy), start_of(b), b.nbytes)
    memset(<real*> start_of(copy) + n - MAX_LANES, 0, MAX_LANES * sizeof(real))
    return copy


cdef _product(int form, a, b, out, const Product* p, Py_ssize_t threads):
    cdef Py_ssize_t size = PACKED
    global callers
    if form == SECOND_TRANSPOSED:
        size += (p.depth + TRANSPOSED_ROWS) * MAX_LANES
    if form == FIRST_TRANSPOSED and collides(p):
        size += COPIED
    if reads_beyond(form, p, threads):
        b = with_room_behind(b)
    cdef Region r = idle_regions.pop() if idle_regions else Region()
    r.reserve(worker_of(NULL, 0, 0, size), threads)
    r.x, r.weights, r.parameters, r.product, r.form = a, b, out, p, form
    callers += 1
    with nogil:
        share(r, multiply_claimed)
    callers -= 1
    r.x = r.weights = r.parameters = None
    idle_regions.append(r)


cdef _product_of(int form, a, b, out, Py_ssize_t threads):
    cdef Data A = data_of(a, cnp.NPY_ARRAY_CARRAY_RO), B = data_of(b, cnp.NPY_ARRAY_CARRAY_RO)
    cdef Data C = data_of(out, cnp.NPY_ARRAY_CARRAY)
    cdef Py_ssize_t rows = A.columns if form == FIRST_TRANSPOSED else A.rows
    cdef Py_ssize_t depth = A.rows if form == FIRST_TRANSPOSED else A.columns
    cdef Py_ssize_t columns = B.rows if form == SECOND_TRANSPOSED else B.columns
    if not (A.kind == B.kind == C.kind == OWN and C.rows == rows and C.columns == columns
            and depth == (B.columns if form == SECOND_TRANSPOSED else B.rows)):
        raise ValueError(f"expected factors and out of {DTYPE} that fit, got {a.dtype} {a.shape}, {b.dtype} {b.shape}, "
                         f"{out.dtype} {out.shape}")
    if threads < 1:
        _check_threads(threads)
    threads = team_of(min(threads, 1 + <Py_ssize_t> (2.0 * rows * columns * depth / PRODUCT_WORK)))
    cdef Product p = product_of(matrix(0, 1, rows) if form == FIRST_TRANSPOSED else matrix(0, depth),
                                matrix(0, depth if form == SECOND_TRANSPOSED else columns), matrix(0, columns),
                                rows, columns, depth)
    a, b, flat = cnp.PyArray_Ravel(a, cnp.NPY_CORDER), cnp.PyArray_Ravel(b, cnp.NPY_CORDER), cnp.PyArray_Ravel(out, cnp.NPY_CORDER)
    _product(form, a, b, flat, &p, threads)


def product(x, w, out, threads):
    """out = x @ w, as in z: x (n, k), w (k, m), C-contiguous, of one dtype."""
    _product_of(PLAIN, x, w, out, threads)


def product_tn(x, dz, out, threads):
    """out = x.T @ dz, as in dW: x (k, n), dz (k, m)."""
    _product_of(FIRST_TRANSPOSED, x, dz, out, threads)


def product_nt(dz, w, out, threads):
    """out = dz @ w.T, as in dx: dz (n, m), w (k, m)."""
    _product_of(SECOND_TRANSPOSED, dz, w, out, threads)


cdef inline void fma_chains(real[::1] sums, Py_ssize_t repeats, int lanes) noexcept nogil:
    """As many independent chains of fused multiply-adds as a tile has."""
    cdef real chains[TILE_ROWS][MAX_LANES]
    cdef real x, y = sums[1]
    cdef int i, j
    cdef Py_ssize_t k
    for i in range(TILE_ROWS):
        for j in range(lanes):
            chains[i][j] = sums[i * MAX_LANES + j]
    for k in range(repeats):
        x = sums[k & 1]             # a new x each time: or the compiler runs the chains one after another
        for i in range(TILE_ROWS):
            for j in range(lanes):
                chains[i][j] = fma(chains[i][j], x, y)
    for i in range(TILE_ROWS):
        for j in range(lanes):
            sums[i * MAX_LANES + j] = chains[i][j]

cdef void fma_loop(real[::1] sums, Py_ssize_t repeats) noexcept nogil:
    fma_chains(sums, repeats, lanes_of())


def fma_peak(double seconds):
    """Floating-point operations a second that one thread reaches in registers: the peak to measure against."""
    cdef Py_ssize_t repeats = 1 << 20
    cdef real[::1] sums = np.full(TILE_ROWS * MAX_LANES, 1e-3, DTYPE)
    best, end = 0.0, perf_counter() + seconds
    while perf_counter() < end:
        start = perf_counter()
        with nogil:
            fma_loop(sums, repeats)
        best = max(best, 2.0 * repeats * TILE_ROWS * lanes_of() / (perf_counter() - start))
    return best


def evaluate_function(str name, const real[::1] x, real[::1] out):
    """out = exp, log, or an activation of x, elementwise: one-dimensional arrays, as the layers compute it.

    A subnormal x counts as zero, and what would be subnormal is zero.
    """
    from fastnn.activations import ACTIVATIONS
    from fastnn.program import ACTIVATE
    cdef Py_ssize_t j
    known = {key: found for key, found in ACTIVATIONS.items() if found.kind == ACTIVATE}
    if len(x) != len(out) or name not in ("exp", "log", *known):
        raise ValueError(f"expected exp, log, {', '.join(known)} and arrays of one length, got {name}")
    cdef uint64_t mode = enter_mode()
    if name == "exp":
        for j in range(x.shape[0]):
            out[j] = exp(x[j])
    elif name == "log":
        for j in range(x.shape[0]):
            out[j] = <real> log64(x[j])
    else:
        activate(known[name].code, x, 0, out, 0, x.shape[0], <real> <double> known[name].slope)
    leave_mode(mode)


def build_info():
    """How this engine was compiled."""
    return {"name": NAME, "compiler": COMPILER.decode(), "vector_bytes": VECTOR, "tile": (rows_of(), lanes_of())}


def team_mode(bint patience, bint comes_and_goes):
    """For tests: all threads that are asked for take part; in training another number of them every two steps."""
    global patient, restless
    patient, restless = patience, comes_and_goes


def threads_of_latest():
    """How many threads took part in the latest call that asked for more than one."""
    return took_part


def team_times(bint on):
    """(s, meetings, s of each thread) since they were last asked for: of trainings, if every thread had a core of its own.

    The first is the sum, over the phases between two meetings, of the time on its core that the slowest thread took.
    """
    global timed, critical, meetings
    cdef int t
    found = 1e-9 * critical, meetings, [1e-9 * work_time[t] for t in range(MOST_THREADS) if work_time[t]]
    timed, critical, meetings = on, 0, 0
    for t in range(MOST_THREADS):
        work_time[t] = 0
    return found


def rest_of_helper(const int64_t[::1] times, const int64_t[::1] waits):
    """For tests: how many ns a helper rests after callers have waited so many ns for it, up to these times."""
    if len(times) != len(waits):
        raise ValueError(f"expected as many times as waits, got {len(times)} and {len(waits)}")
    return rest_after(&times[0], &waits[0], <int> len(times)) if len(times) else 0
