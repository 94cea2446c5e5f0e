# The products that are no tile's: of one row, and by a transposed matrix.

cdef struct Chains:                     # z += h W for some columns: groups of sums that are some steps apart
    Py_ssize_t h, h_step, z, z_step, w_step, depth
    Matrix W


cdef inline void chains(const real[::1] h, const real[::1] w, real[::1] z, const Chains* c, int groups, int lanes) noexcept nogil:
    """`groups` of `lanes` chains side by side."""
    cdef real sums[TILE_ROWS][MAX_LANES]
    cdef real x
    cdef Py_ssize_t k, h0 = c.h, h_step = c.h_step, w0 = c.W.start, w_step = c.w_step, w_row = c.W.row
    cdef int i, j
    for i in range(groups):
        for j in range(lanes):
            sums[i][j] = 0
    for k in range(c.depth):
        for i in range(groups):
            x = h[h0 + i * h_step + k]
            for j in range(lanes):
                sums[i][j] = fma(x, w[w0 + i * w_step + k * w_row + j], sums[i][j])
    for i in range(groups):
        for j in range(lanes):
            z[c.z + i * c.z_step + j] = z[c.z + i * c.z_step + j] + sums[i][j]


cdef inline void chunks(const real[::1] h, const real[::1] w, real[::1] z, const Product* p, Py_ssize_t j, int lanes) noexcept nogil:
    """z += h W for `lanes` columns from j on: the chunks of their sums are the groups."""
    cdef Py_ssize_t k = 0
    cdef Chains c
    c.W, c.w_step, c.z, c.z_step = part(p.B, 0, j), CHUNK * p.B.row, p.C.start + j, 0
    while k < p.depth:
        c.h, c.h_step, c.W.start = p.A.start + k, CHUNK, p.B.start + k * p.B.row + j
        c.depth = smaller(CHUNK, p.depth - k)
        if p.depth - k >= 3 * CHUNK:
            chains(h, w, z, &c, 3, lanes)
            k += 3 * CHUNK
        else:
            chains(h, w, z, &c, 1, lanes)
            k += CHUNK


cdef inline void columns_of_row(const real[::1] h, const real[::1] w, real[::1] z, const Product* p, Py_ssize_t j, int groups) noexcept nogil:
    """z += h W for some groups of columns from j on."""
    cdef Py_ssize_t chunk
    cdef Chains c
    c.h_step, c.z_step, c.w_step = 0, pair_of(), pair_of()
    for chunk in range(ceil_div(p.depth, CHUNK)):
        c.h, c.z, c.W = p.A.start + chunk * CHUNK, p.C.start + j, part(p.B, chunk * CHUNK, j)
        c.depth = smaller(CHUNK, p.depth - chunk * CHUNK)
        chains(h, w, z, &c, groups, pair_of())


cdef void row_product(const real[::1] h, const real[::1] w, real[::1] z, const Product* p) noexcept nogil:
    """z += h W for one row, in whole vectors. A step of a chain waits for the one before: many must be under way.

    They run down neighbouring columns, as many as the registers hold, as W lies in memory; where few are left, down chunks of the
    sum as well.
    """
    cdef int lanes = pair_of(), groups
    cdef Py_ssize_t j = 0
    while j < p.columns:
        groups = <int> ((p.columns - j) // lanes)
        groups = <int> larger(1, smaller(groups, rows_of()))
        if groups == 6:
            columns_of_row(h, w, z, p, j, 6)
        elif groups == 5:
            columns_of_row(h, w, z, p, j, 5)
        elif groups == 4:
            columns_of_row(h, w, z, p, j, 4)
        elif groups == 3:
            columns_of_row(h, w, z, p, j, 3)
        elif groups == 2:
            chunks(h, w, z, p, j, 2 * pair_of())
        elif p.columns - j > 16 or lanes <= 16:
            chunks(h, w, z, p, j, pair_of())
        else:
            chunks(h, w, z, p, j, 16)
        j += groups * lanes


cdef void multiply_transposed(const real[::1] a, const real[::1] w, real[::1] d, const Product* p, real[::1] work,
                              Py_ssize_t scratch) noexcept nogil:
    """D = A W^T, or D += it: p.B is W (columns, depth) as it lies.

    Vectors run across the columns of D, where W has to be transposed, or across its rows, as D^T = W A^T, where A
    has to be transposed and a block of D^T transposed back: the fewer elements, the better.
    """
    cdef Py_ssize_t right = scratch + PACKED, result = right + p.depth * lanes_of(), r = 0, block, j, n, width
    cdef Matrix A_T
    cdef Product q = p[0]
    if p.add or 1 < p.depth and p.columns * p.depth <= p.rows * (p.columns + p.depth):
        q.B = matrix(p.B.start, 1, p.B.row)
        multiply(a, w, d, &q, work, scratch)
        return
    while r < p.rows:
        width = width_of(p.rows - r)
        n = smaller(width, p.rows - r)
        A_T = matrix(right, width)
        transpose(a, part(p.A, r, 0), work, A_T, n, p.depth)
        for block in range(ceil_div(p.columns, TRANSPOSED_ROWS)):
            j = block * TRANSPOSED_ROWS
            q = product_of(part(p.B, j, 0), A_T, matrix(result, width), smaller(TRANSPOSED_ROWS, p.columns - j), width, p.depth)
            multiply(w, work, work, &q, work, scratch)
            transpose(work, q.C, d, part(p.C, r, j), q.rows, n)
        r += n
