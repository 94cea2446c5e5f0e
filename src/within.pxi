# A look at the data before they are used.

cdef bint rows_within(const Data* data, Range rows, double limit) noexcept nogil:
    """Whether all numbers of some rows lie between -limit and limit; a NaN does not."""
    cdef Py_ssize_t r, n = data.columns, last = rows.end
    cdef const char* row
    cdef bint fine
    if data.row_stride == n * data.column_stride:       # all is one row
        n, last = n * (rows.end - rows.first), rows.first + 1
    for r in range(rows.first, last):
        row = data.start + r * data.row_stride
        if data.kind == FLOAT32:
            fine = row_within[float](<const float*> row, data.column_stride, n, limit)
        else:
            fine = row_within[double](<const double*> row, data.column_stride, n, limit)
        if not fine:
            return False
    return True


cdef void look_claimed(Region r, Worker me) noexcept nogil:
    """One thread's part, until any has found what lies beyond."""
    cdef const Data* data = &me.call.data
    cdef Py_ssize_t unit = ceil_div(LOOKED, data.columns)
    cdef Range mine = claim(r, data.rows, unit)
    while mine.first < mine.end and not look_at(&r.overflows):
        if not rows_within(data, mine, r.limit):
            put(&r.overflows, True)
        mine = claim(r, data.rows, unit)


def within(x, double limit, Py_ssize_t threads):
    """Whether -limit <= x <= limit for all of x (n, I); a NaN is not."""
    global callers
    cdef Call call
    cdef bint fine
    memset(&call, 0, sizeof(call))
    call.data = data_of(x)
    _check_threads(threads)
    if call.data.kind == UINT8 or call.data.rows * call.data.columns == 0:
        return True
    threads = min(threads, ceil_div(call.data.rows * call.data.columns, LOOKED))
    if threads == 1:
        with nogil:
            fine = rows_within(&call.data, all_of(call.data.rows), limit)
        return fine
    cdef Region r = Region().reserve(worker_of(&call, 0, 0, 0), team_of(threads))
    r.limit = limit
    callers += 1
    with nogil:
        share(r, look_claimed)
    callers -= 1
    return not r.overflows
