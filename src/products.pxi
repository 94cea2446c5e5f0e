cdef void multiply(const real[::1] a, Matrix A, const real[::1] b, Matrix B, real[::1] c, Matrix C,
                   real alpha, bint add, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
                   real[::1] work, Py_ssize_t scratch) noexcept nogil:
    # the one place where the tiles are compiled
    block_product[real](a, A, b, B, c, C, alpha, add, rows, columns, depth, work, scratch)

cdef inline void chains(const real[::1] h, Py_ssize_t h0, Py_ssize_t h_step, const real[::1] w, Matrix W, Py_ssize_t w_step,
                        real[::1] z, Py_ssize_t z0, Py_ssize_t z_step, Py_ssize_t depth, int groups, int lanes) noexcept nogil:
    """z += h W for groups of `lanes` chains side by side, which are some steps apart."""
    cdef real sums[ROWS][MAX_LANES]
    cdef real x
    cdef Py_ssize_t k
    cdef int i, j
    for i in range(groups):
        for j in range(lanes):
            sums[i][j] = 0
    for k in range(depth):
        for i in range(groups):
            x = h[h0 + i * h_step + k]
            for j in range(lanes):
                sums[i][j] = fma[real](x, w[W.start + i * w_step + k * W.row + j], sums[i][j])
    for i in range(groups):
        for j in range(lanes):
            z[z0 + i * z_step + j] = z[z0 + i * z_step + j] + sums[i][j]


cdef inline void chunks(const real[::1] h, Py_ssize_t h0, const real[::1] w, Matrix W, real[::1] z, Py_ssize_t z0,
                        Py_ssize_t depth, int lanes) noexcept nogil:
    """The same for `lanes` columns and any depth: the chunks of the sums are the groups."""
    cdef Py_ssize_t k = 0, step = CHUNK * W.row
    while depth - k >= 3 * CHUNK:
        chains[real](h, h0 + k, CHUNK, w, part(W, k, 0), step, z, z0, 0, CHUNK, 3, lanes)
        k += 3 * CHUNK
    while k < depth:
        chains[real](h, h0 + k, 0, w, part(W, k, 0), 0, z, z0, 0, smaller(CHUNK, depth - k), 1, lanes)
        k += CHUNK


cdef void row_product(const real[::1] h, Py_ssize_t h0, const real[::1] w, Matrix W, real[::1] z, Py_ssize_t z0,
                      Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """z += h W for one row, in whole vectors. A step of a chain waits for the one before: many must be under way."""
    cdef int lanes = lanes_of(sizeof(real))
    cdef Py_ssize_t chunk, k, j = 0
    while columns - j >= 4 * lanes:
        for chunk in range(pieces(depth, CHUNK)):
            k = chunk * CHUNK
            chains[real](h, h0 + k, 0, w, part(W, k, j), lanes, z, z0 + j, lanes, smaller(CHUNK, depth - k), 4, lanes)
        j += 4 * lanes
    while j < columns:
        if columns - j > 16 or lanes <= 16:
            chunks[real](h, h0, w, part(W, 0, j), z, z0 + j, depth, lanes)
            j += lanes
        else:
            chunks[real](h, h0, w, part(W, 0, j), z, z0 + j, depth, 16)
            j += 16


cdef void multiply_transposed(const real[::1] a, Matrix A, const real[::1] w, Matrix W, real[::1] d, Matrix D,
                              real[::1] work, Py_ssize_t scratch, Py_ssize_t rows, Py_ssize_t inputs,
                              Py_ssize_t outputs) noexcept nogil:
    """D = A W^T, A (rows, outputs), W (inputs, outputs).

    Vectors run across the columns of D, where W has to be turned, or across its rows, as D^T = W A^T, where A
    has to be turned and a block of D^T turned back: the fewer elements, the better.
    """
    cdef Py_ssize_t turned = scratch + PACKED, result = turned + outputs * MAX_LANES
    cdef Py_ssize_t q, block, r0, i0, group, height
    if inputs * outputs <= rows * (inputs + outputs):
        multiply[real](a, A, w, matrix(W.start, 1, W.row), d, D, 1, False, rows, inputs, outputs, work, scratch)
        return
    for q in range(pieces(rows, MAX_LANES)):
        r0 = q * MAX_LANES
        group = smaller(MAX_LANES, rows - r0)
        turn[real](a, part(A, r0, 0), work, matrix(turned, MAX_LANES), group, outputs)
        for block in range(pieces(inputs, TURNED_ROWS)):
            i0 = block * TURNED_ROWS
            height = smaller(TURNED_ROWS, inputs - i0)
            multiply[real](w, part(W, i0, 0), work, matrix(turned, MAX_LANES), work, matrix(result, MAX_LANES),
                           1, False, height, (group + 7) // 8 * 8, outputs, work, scratch)
            turn[real](work, matrix(result, MAX_LANES), d, part(D, r0, i0), height, group)
