# Products of sparse rows: of each row its numbers that are not zero, and their columns.

cdef struct Sparse:
    const int64_t* starts       # (n + 1,), where each row's numbers begin,
    const int32_t* columns      # and in which columns they stand
    Py_ssize_t rows, width      # of x, and of the product


cdef void multiply_sparse_claimed(Region r, Worker me) noexcept nogil:
    """Some rows of x @ W, added to what is there, number by number; W's rows lie where no hardware expects them."""
    cdef const Sparse* s = r.sparse
    cdef Range mine = claim(r, s.rows, SPARSE_ROWS)
    cdef Py_ssize_t row, p, j, line, end = s.starts[s.rows], lanes = 64 // <int> sizeof(real)
    cdef const real* w
    cdef real* out
    cdef uint64_t mode = enter_mode()
    while mine.first < mine.end:
        for row in range(mine.first, mine.end):
            out = &r.work[row * s.width]
            for p in range(s.starts[row], s.starts[row + 1]):
                if p + SPARSE_AHEAD < end:
                    w = &r.weights[s.columns[p + SPARSE_AHEAD] * s.width]
                    for line in range(ceil_div(s.width, lanes)):
                        prefetch(w + line * lanes)
                w = &r.weights[s.columns[p] * s.width]
                for j in range(s.width):
                    out[j] = fma(r.x[p], w[j], out[j])
        mine = claim(r, s.rows, SPARSE_ROWS)
    leave_mode(mode)


def multiply_sparse(numbers, columns, starts, weights, out, Py_ssize_t threads):
    """out (n, O) += x @ W (I, O), row r of x being numbers[starts[r]:starts[r + 1]] (m,) in those columns, zeros elsewhere."""
    global callers
    cdef Sparse sparse
    cdef Call call
    cdef Py_ssize_t n = len(starts) - 1, m = len(numbers)
    memset(&call, 0, sizeof(call))
    _check_threads(threads)
    sparse.starts = <const int64_t*> start_of(_is(starts, "starts", cnp.NPY_INT64, (n + 1,)))
    sparse.columns = <const int32_t*> start_of(_is(columns, "columns", cnp.NPY_INT32, (m,)))
    _is(numbers, "numbers", REAL, (m,))
    _is(weights, "weights", REAL, (len(weights), out.shape[1]))
    _is(out, "out", REAL, (n, out.shape[1]))
    sparse.rows, sparse.width = n, out.shape[1]
    if n < 1 or starts[0] < 0 or starts[n] > m or (starts[1:] < starts[:n]).any():
        raise ValueError(f"expected ascending starts up to {m}, got {starts}")
    if not all_below(sparse.columns, m, len(weights)):
        raise ValueError(f"expected columns from 0 to {len(weights) - 1}, got {columns.min()} to {columns.max()}")
    threads = team_of(min(threads, ceil_div(n, SPARSE_ROWS)))
    cdef Region r = Region().reserve(worker_of(&call, 0, 0, 0), threads)
    r.x, r.weights, r.work, r.sparse = numbers, weights.reshape(-1), out.reshape(-1), &sparse
    callers += 1
    with nogil:
        share(r, multiply_sparse_claimed)
    callers -= 1
