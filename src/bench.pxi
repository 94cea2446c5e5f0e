cdef enum:
    PLAIN, FIRST_TRANSPOSED, SECOND_TRANSPOSED

cdef double PRODUCT_WORK = 1 << 19          # floating-point operations of a product that are worth another thread


cdef void product_share(int form, const real[::1] a, const real[::1] b, real[::1] out, real[::1] work,
                        Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """One thread's rows of a product, or its columns where there are more of them."""
    cdef Py_ssize_t thread = threadid(), threads = team_size(), i = 0, j = 0, height = rows, width = columns
    cdef Py_ssize_t aligned = (-<size_t> &work[0]) % 64 // sizeof(real)     # to whole cache lines
    cdef Py_ssize_t scratch = aligned + thread * ((work.shape[0] - 64) // threads)
    if columns > rows:
        j = vector_share(columns, thread, threads)
        width = vector_share(columns, thread + 1, threads) - j
    else:
        i = rows * thread // threads
        height = rows * (thread + 1) // threads - i
    cdef Matrix A = matrix(i, 1, rows) if form == FIRST_TRANSPOSED else matrix(i * depth, depth)
    cdef Matrix C = matrix(i * columns + j, columns)
    cdef uint64_t mode = enter_mode()
    if form == SECOND_TRANSPOSED:
        multiply_transposed[real](a, A, b, matrix(j * depth, depth), out, C, work, scratch, height, width, depth)
    else:
        multiply[real](a, A, b, matrix(j, columns), out, C, 1, False, height, width, depth, work, scratch)
    leave_mode(mode)


cdef _product(int form, const real[::1] a, const real[::1] b, real[::1] out, Py_ssize_t rows, Py_ssize_t columns,
              Py_ssize_t depth, Py_ssize_t threads, dtype):
    cdef cnp.npy_intp size = PACKED
    if form == SECOND_TRANSPOSED:
        size += (depth + TURNED_ROWS) * MAX_LANES
    if columns % 8 and (form != SECOND_TRANSPOSED or depth == 1):   # whole vectors are read: make the last one safe
        b = np.append(b, np.zeros(MAX_LANES, dtype))
    size = size * threads + 64
    cdef real[::1] work = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT32 if real is float else cnp.NPY_FLOAT64, 0)
    if threads == 1:
        with nogil:
            product_share[real](form, a, b, out, work, rows, columns, depth)
    else:
        with nogil, parallel(num_threads=threads):
            product_share[real](form, a, b, out, work, rows, columns, depth)


cdef _product_of(int form, a, b, out, Py_ssize_t threads):
    cdef Data A = data_of(a, cnp.NPY_ARRAY_CARRAY_RO), B = data_of(b, cnp.NPY_ARRAY_CARRAY_RO)
    cdef Data C = data_of(out, cnp.NPY_ARRAY_CARRAY)
    cdef Py_ssize_t rows = A.columns if form == FIRST_TRANSPOSED else A.rows
    cdef Py_ssize_t depth = A.rows if form == FIRST_TRANSPOSED else A.columns
    cdef Py_ssize_t columns = B.rows if form == SECOND_TRANSPOSED else B.columns
    if not (A.kind == B.kind == C.kind != UINT8 and C.rows == rows and C.columns == columns
            and depth == (B.columns if form == SECOND_TRANSPOSED else B.rows)):
        raise ValueError(f"expected factors and out that fit, got {a.dtype} {a.shape}, {b.dtype} {b.shape}, "
                         f"{out.dtype} {out.shape}")
    if threads < 1:
        _check_threads(threads)
    threads = team_of(min(threads, 1 + <Py_ssize_t> (2.0 * rows * columns * depth / PRODUCT_WORK)))
    a, b, flat = cnp.PyArray_Ravel(a, cnp.NPY_CORDER), cnp.PyArray_Ravel(b, cnp.NPY_CORDER), cnp.PyArray_Ravel(out, cnp.NPY_CORDER)
    if C.kind == FLOAT32:
        _product[float](form, a, b, flat, rows, columns, depth, threads, out.dtype)
    else:
        _product[double](form, a, b, flat, rows, columns, depth, threads, out.dtype)


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
    cdef real chains[ROWS][MAX_LANES]
    cdef real x, y = sums[1]
    cdef int i, j
    cdef Py_ssize_t k
    for i in range(ROWS):
        for j in range(lanes):
            chains[i][j] = sums[i * MAX_LANES + j]
    for k in range(repeats):
        x = sums[k & 1]             # a new x each time: or the compiler runs the chains one after another
        for i in range(ROWS):
            for j in range(lanes):
                chains[i][j] = fma[real](chains[i][j], x, y)
    for i in range(ROWS):
        for j in range(lanes):
            sums[i * MAX_LANES + j] = chains[i][j]

cdef void fma_loop(real[::1] sums, Py_ssize_t repeats) noexcept nogil:
    fma_chains[real](sums, repeats, lanes_of(sizeof(real)))


def _fma_rate(real[::1] sums, double seconds):
    cdef Py_ssize_t repeats = 1 << 20
    best, end = 0.0, perf_counter() + seconds
    while perf_counter() < end:
        start = perf_counter()
        with nogil:
            fma_loop[real](sums, repeats)
        best = max(best, 2.0 * repeats * ROWS * lanes_of(sizeof(real)) / (perf_counter() - start))
    return best


def fma_peak(str dtype, double seconds):
    """Floating-point operations a second that one thread reaches in registers: the peak to measure against."""
    return _fma_rate(np.full(ROWS * MAX_LANES, 1e-3, dtype), seconds)


cdef void apply_function(str name, const real[::1] x, real[::1] out):
    cdef Py_ssize_t j
    cdef uint64_t mode = enter_mode()
    if name == "exp":
        for j in range(x.shape[0]):
            out[j] = exp[real](x[j])
    elif name == "log":
        for j in range(x.shape[0]):
            out[j] = <real> log64(x[j])
    else:
        activate[real](SIGMOID if name == "sigmoid" else TANH, x, 0, out, 0, x.shape[0], 0)
    leave_mode(mode)


def _function(str name, const real[::1] x, real[::1] out):
    if len(x) != len(out) or name not in ("exp", "log", "tanh", "sigmoid"):
        raise ValueError(f"expected exp, log, tanh or sigmoid and arrays of one length, got {name}")
    apply_function[real](name, x, out)


def evaluate_function(str name, x, out):
    """out = exp, log, tanh or sigmoid of x, elementwise: one-dimensional arrays, as the layers compute it.

    A subnormal x counts as zero, and what would be subnormal is zero.
    """
    _function(name, x, out)


def build_info():
    """How this engine was compiled."""
    return {"name": NAME, "compiler": COMPILER.decode(), "openmp": OPENMP, "vector_bytes": VECTOR,
            "tile_float32": (rows_of(4), lanes_of(4)), "tile_float64": (rows_of(8), lanes_of(8))}
