# The register tile, and the product that a dense layer's three products are made of.
#
# A matrix is an arena (a one-dimensional view), the offset of its first element, and strides. Each element
# of a product is one chain of fused multiply-adds over the summed index in ascending order, cut into chunks of
# CHUNK that are added in order; tiles, panels and blocks only choose which elements are worked on together.
#
# The vector operand B is read in whole vectors: up to MAX_LANES - 1 elements past a row's end, which the
# owner of the arena keeps readable (padding). C is written only where it is asked for.

cdef extern from *:
    """
    /* ROWS x LANES accumulators fill the vector registers of each instruction set. GCC unrolls loops of at most
       6 steps (setup.py): those over a tile's rows, and not those over its lanes, 8 or more, which are vectors. */
    #if defined(__AVX512F__)
    #define FASTNN_VECTOR 64
    #elif defined(__AVX__)
    #define FASTNN_VECTOR 32
    #else
    #define FASTNN_VECTOR 16
    #endif
    #define fastnn_prefetch_far(address) __builtin_prefetch(address, 0, 2)
    """
    enum:
        VECTOR "FASTNN_VECTOR"      # bytes
    void prefetch "__builtin_prefetch" (const void* address) noexcept nogil             # into all caches,
    void prefetch_far "fastnn_prefetch_far" (const void* address) noexcept nogil        # or all but the nearest

cdef enum:
    ROWS = 6                        # of a tile
    MAX_LANES = 32
    ROW_LANES = 3 * MAX_LANES       # of a tile of one row, which needs more columns to fill the registers
    CHUNK = 256                     # of the summed index: part of the numerics contract
    BLOCK = 64 * ROWS               # rows of A that stay in the cache while B's panels pass,
    WIDE = 3 * ROW_LANES            # and columns of C while the chunks pass
    PACK_ROWS = 48                  # from which on a panel of B is copied first
    PACKED = CHUNK * MAX_LANES
    TURN = 64                       # columns that are turned at a time


cdef struct Matrix:
    Py_ssize_t start, row, column       # of its arena: element (i, j) is start + i * row + j * column


cdef inline Matrix matrix(Py_ssize_t start, Py_ssize_t row, Py_ssize_t column=1) noexcept nogil:
    cdef Matrix m
    m.start = start
    m.row = row
    m.column = column
    return m

cdef inline Matrix part(Matrix m, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """The same matrix from element (i, j) on."""
    return matrix(m.start + i * m.row + j * m.column, m.row, m.column)

cdef inline Py_ssize_t smaller(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b

cdef inline Py_ssize_t pieces(Py_ssize_t length, Py_ssize_t size) noexcept nogil:
    """How many pieces of at most `size` make up the length."""
    return (length + size - 1) // size

cdef inline int lanes_of(int element_size) noexcept nogil:
    """Columns of a tile: two vectors, and at least 8."""
    return 2 * VECTOR // element_size if 2 * VECTOR // element_size > 8 else 8

cdef inline int rows_of(int element_size) noexcept nogil:
    """Rows of a tile: fewer where 8 lanes take four registers."""
    return ROWS // 2 if 2 * VECTOR // element_size < 8 else ROWS


cdef inline void tile(const real[::1] a, Matrix A, const real* b, Py_ssize_t b_row, real[::1] c, Matrix C,
                      real alpha, bint add, Py_ssize_t depth,
                      int rows, int lanes, Py_ssize_t columns) noexcept nogil:
    """C = alpha * A B (or C += it) for rows x lanes elements; the first `columns` of a row are written."""
    cdef real sums[ROWS][ROW_LANES]
    cdef real edge[ROWS][ROW_LANES]
    cdef real x
    cdef Py_ssize_t k
    cdef int i, j
    if depth < 1:               # with a loop that may not run, the sums would pass through memory
        return
    for i in range(rows):
        prefetch(&c[C.start] + i * C.row)       # C comes from afar while A and B are worked on
        prefetch(&c[C.start] + i * C.row + lanes // 2)
        for j in range(lanes):
            sums[i][j] = 0
    for k in range(depth):
        for i in range(rows):
            x = a[A.start + i * A.row + k * A.column]
            for j in range(lanes):
                sums[i][j] = fma[real](x, b[k * b_row + j], sums[i][j])
    if columns < lanes:         # in whole vectors beside C: an index that varies keeps sums out of registers
        for i in range(rows):
            for j in range(columns):
                edge[i][j] = c[C.start + i * C.row + j] if add else 0
        for i in range(rows):
            for j in range(lanes):
                edge[i][j] = fma[real](alpha, sums[i][j], edge[i][j])
        for i in range(rows):
            for j in range(columns):
                c[C.start + i * C.row + j] = edge[i][j]
    elif add:
        for i in range(rows):
            for j in range(lanes):
                c[C.start + i * C.row + j] = fma[real](alpha, sums[i][j], c[C.start + i * C.row + j])
    else:
        for i in range(rows):
            for j in range(lanes):
                c[C.start + i * C.row + j] = fma[real](alpha, sums[i][j], 0)


cdef inline void turn(const real[::1] a, Matrix A, real[::1] t, Matrix T,
                      Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """T = A^T for A (rows, columns): four rows are interleaved, which makes vectors, and then spread."""
    cdef real four[4 * TURN]
    cdef Py_ssize_t g, q, i, k0, n, k
    cdef int s
    for g in range(pieces(rows, 4)):
        i = 4 * g
        if i + 4 <= rows:
            for q in range(pieces(columns, TURN)):
                k0 = q * TURN
                n = smaller(TURN, columns - k0)
                for k in range(n):
                    for s in range(4):
                        four[4 * k + s] = a[A.start + (i + s) * A.row + k0 + k]
                for k in range(n):
                    for s in range(4):
                        t[T.start + (k0 + k) * T.row + i + s] = four[4 * k + s]
        else:
            for i in range(i, rows):
                for k in range(columns):
                    t[T.start + k * T.row + i] = a[A.start + i * A.row + k]


cdef inline void panel(const real[::1] a, Matrix A, const real[::1] b, Matrix B, real[::1] c, Matrix C,
                       real alpha, bint add, Py_ssize_t depth, Py_ssize_t rows, int lanes, Py_ssize_t columns,
                       real[::1] packed, Py_ssize_t p0) noexcept nogil:
    """The same for a panel of `lanes` columns and any number of rows, in tiles of nearly equal height.

    Rows of B lie far apart: where many tiles pass over them, a copy without gaps pays for itself, and the next
    panel's are fetched meanwhile. Where B is stored by columns, its panel is turned.
    """
    cdef Py_ssize_t tiles = pieces(rows, rows_of(sizeof(real))), i = 0, n, height, k, b_row = B.row
    cdef const real* p = &b[B.start]
    cdef int j
    cdef bint far = False
    if B.column != 1:
        turn[real](b, matrix(B.start, B.column), packed, matrix(p0, lanes), smaller(columns, lanes), depth)
        p, b_row = &packed[p0], lanes
    elif rows >= PACK_ROWS and B.row != lanes:
        for k in range(depth):
            if columns < lanes:
                for j in range(columns):
                    packed[p0 + k * lanes + j] = p[k * B.row + j]
            else:
                for j in range(lanes):
                    packed[p0 + k * lanes + j] = p[k * B.row + j]
        p, b_row, far = &packed[p0], lanes, True
    for n in range(tiles):
        height = (rows - i) // (tiles - n)
        for k in range(n * depth // tiles, (n + 1) * depth // tiles if far else 0):
            prefetch(&b[B.start] + k * B.row + lanes)
            prefetch(&b[B.start] + k * B.row + lanes + lanes // 2)
        if height == 6:
            tile[real](a, part(A, i, 0), p, b_row, c, part(C, i, 0), alpha, add, depth, 6, lanes, columns)
        elif height == 5:
            tile[real](a, part(A, i, 0), p, b_row, c, part(C, i, 0), alpha, add, depth, 5, lanes, columns)
        elif height == 4:
            tile[real](a, part(A, i, 0), p, b_row, c, part(C, i, 0), alpha, add, depth, 4, lanes, columns)
        elif height == 3:
            tile[real](a, part(A, i, 0), p, b_row, c, part(C, i, 0), alpha, add, depth, 3, lanes, columns)
        elif height == 2:
            tile[real](a, part(A, i, 0), p, b_row, c, part(C, i, 0), alpha, add, depth, 2, lanes, columns)
        else:
            tile[real](a, part(A, i, 0), p, b_row, c, part(C, i, 0), alpha, add, depth, 1, lanes, columns)
        i += height


cdef inline void block_product(const real[::1] a, Matrix A, const real[::1] b, Matrix B,
                               real[::1] c, Matrix C, real alpha, bint add,
                               Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
                               real[::1] packed, Py_ssize_t p0) noexcept nogil:
    """C = alpha * A B (or C += it), A (rows, depth), B (depth, columns), each of any size.

    packed has room for PACKED elements from p0 on.
    """
    cdef int lanes = lanes_of(sizeof(real))
    cdef Py_ssize_t blocks_across = pieces(columns, WIDE), block, chunk, i, j, k, end, height, length, left
    cdef Matrix A_, B_, C_
    for block in range(pieces(rows, BLOCK) * blocks_across):
        i = block // blocks_across * BLOCK
        height = smaller(BLOCK, rows - i)
        for chunk in range(pieces(depth, CHUNK)):
            k = chunk * CHUNK
            length = smaller(CHUNK, depth - k)
            A_ = part(A, i, k)
            j = block % blocks_across * WIDE
            end = smaller(columns, j + WIDE)
            while j < end:
                left = end - j
                B_ = part(B, k, j)
                C_ = part(C, i, j)
                if height == 1 and left >= 3 * lanes and B.column == 1:
                    tile[real](a, A_, &b[B_.start], B_.row, c, C_, alpha, add or k > 0, length, 1, 3 * lanes, left)
                    j += 3 * lanes
                elif 4 * left > 3 * lanes:
                    panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, lanes, left, packed, p0)
                    j += lanes
                elif left > 8 and lanes > 16:
                    panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, 16, left, packed, p0)
                    j += 16
                elif left > 8:
                    panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, lanes, left, packed, p0)
                    j += lanes
                else:
                    panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, 8, left, packed, p0)
                    j += 8
