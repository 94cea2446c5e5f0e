# cython: language_level=3, cdivision=True
"""The register tile, and the product that a dense layer's three products are made of.

A matrix is an arena (a one-dimensional view), the offset of its first element, and strides. Each element
of a product is one chain of fused multiply-adds over the summed index in ascending order, cut into chunks of
CHUNK that are added in order; tiles, panels and blocks only choose which elements are worked on together.

The vector operand B is read in whole vectors: up to MAX_LANES - 1 elements past a row's end, which the
owner of the arena keeps readable (padding). C is written only where it is asked for.
"""
from numerics cimport fma, real

cdef extern from *:
    """
    /* ROWS x LANES accumulators fill the vector registers of each instruction set. ROWS is below 8 and
       LANES not, so that one limit (setup.py) lets GCC unroll the first and vectorise the second. */
    #if defined(__AVX512F__)
    #define FASTNN_VECTOR 64
    #elif defined(__AVX__)
    #define FASTNN_VECTOR 32
    #else
    #define FASTNN_VECTOR 16
    #endif
    """
    enum:
        VECTOR "FASTNN_VECTOR"      # bytes
    void prefetch "__builtin_prefetch" (const void* address) noexcept nogil

cdef enum:
    ROWS = 6                        # of a tile
    MAX_LANES = 32
    ROW_LANES = 3 * MAX_LANES       # of a tile of one row, which needs more columns to fill the registers
    CHUNK = 256                     # of the summed index: part of the numerics contract
    BLOCK = 64 * ROWS               # rows of A that stay in the cache while B's panels pass
    PACK_ROWS = 48                  # from which on a panel of B is copied first
    PACKED = CHUNK * MAX_LANES


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


cdef inline void tile(const real[::1] a, Matrix A, const real[::1] b, Matrix B, real[::1] c, Matrix C,
                      real alpha, bint add, Py_ssize_t depth,
                      int rows, int lanes, Py_ssize_t columns) noexcept nogil:
    """C = alpha * A B (or C += it) for rows x lanes elements; the first `columns` of a row are written."""
    cdef real sums[ROWS][ROW_LANES]
    cdef real row[ROW_LANES]
    cdef real x
    cdef Py_ssize_t k
    cdef int i, j
    for i in range(rows):
        if add:             # C comes from afar while A and B are worked on
            prefetch(&c[C.start + i * C.row])
            prefetch(&c[C.start + i * C.row + lanes // 2])
        for j in range(lanes):
            sums[i][j] = 0
    for k in range(depth):
        for i in range(rows):
            x = a[A.start + i * A.row + k * A.column]
            for j in range(lanes):
                sums[i][j] = fma[real](x, b[B.start + k * B.row + j], sums[i][j])
    if columns < lanes:
        for i in range(rows):
            for j in range(lanes):
                row[j] = sums[i][j]
            for j in range(columns):
                c[C.start + i * C.row + j] = fma[real](alpha, row[j], c[C.start + i * C.row + j] if add else 0)
    elif add:
        for i in range(rows):
            for j in range(lanes):
                c[C.start + i * C.row + j] = fma[real](alpha, sums[i][j], c[C.start + i * C.row + j])
    else:
        for i in range(rows):
            for j in range(lanes):
                c[C.start + i * C.row + j] = fma[real](alpha, sums[i][j], 0)


cdef inline void panel(const real[::1] a, Matrix A, const real[::1] b, Matrix B, real[::1] c, Matrix C,
                       real alpha, bint add, Py_ssize_t depth,
                       Py_ssize_t rows, int lanes, Py_ssize_t columns) noexcept nogil:
    """The same for a panel of `lanes` columns and any number of rows, in tiles of nearly equal height."""
    cdef Py_ssize_t tiles = pieces(rows, rows_of(sizeof(real))), i = 0, n, height
    for n in range(tiles):
        height = (rows - i) // (tiles - n)
        if height == 6:
            tile[real](a, part(A, i, 0), b, B, c, part(C, i, 0), alpha, add, depth, 6, lanes, columns)
        elif height == 5:
            tile[real](a, part(A, i, 0), b, B, c, part(C, i, 0), alpha, add, depth, 5, lanes, columns)
        elif height == 4:
            tile[real](a, part(A, i, 0), b, B, c, part(C, i, 0), alpha, add, depth, 4, lanes, columns)
        elif height == 3:
            tile[real](a, part(A, i, 0), b, B, c, part(C, i, 0), alpha, add, depth, 3, lanes, columns)
        elif height == 2:
            tile[real](a, part(A, i, 0), b, B, c, part(C, i, 0), alpha, add, depth, 2, lanes, columns)
        else:
            tile[real](a, part(A, i, 0), b, B, c, part(C, i, 0), alpha, add, depth, 1, lanes, columns)
        i += height


cdef inline void pack(const real[::1] b, Matrix B, real[::1] packed, Py_ssize_t p0,
                      Py_ssize_t depth, int lanes) noexcept nogil:
    """A panel of B, row after row without gaps."""
    cdef Py_ssize_t k
    cdef int j
    for k in range(depth):
        for j in range(lanes):
            packed[p0 + k * lanes + j] = b[B.start + k * B.row + j]


cdef inline void packed_panel(const real[::1] a, Matrix A, const real[::1] b, Matrix B, real[::1] c, Matrix C,
                              real alpha, bint add, Py_ssize_t depth,
                              Py_ssize_t rows, int lanes, Py_ssize_t columns,
                              real[::1] packed, Py_ssize_t p0) noexcept nogil:
    # Rows of B lie far apart: where many tiles pass over them, a copy without gaps pays for itself.
    if rows < PACK_ROWS or B.row == lanes:
        panel[real](a, A, b, B, c, C, alpha, add, depth, rows, lanes, columns)
    else:
        pack[real](b, B, packed, p0, depth, lanes)
        panel[real](a, A, packed, matrix(p0, lanes), c, C, alpha, add, depth, rows, lanes, columns)


cdef inline void block_product(const real[::1] a, Matrix A, const real[::1] b, Matrix B,
                               real[::1] c, Matrix C, real alpha, bint add,
                               Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
                               real[::1] packed, Py_ssize_t p0) noexcept nogil:
    """C = alpha * A B (or C += it), A (rows, depth), B (depth, columns), each of any size.

    packed has room for PACKED elements from p0 on.
    """
    cdef int lanes = lanes_of(sizeof(real))
    cdef Py_ssize_t chunk, block, k, i, j, height, length, left
    cdef Matrix A_, B_, C_
    for chunk in range(pieces(depth, CHUNK)):
        k = chunk * CHUNK
        length = smaller(CHUNK, depth - k)
        for block in range(pieces(rows, BLOCK)):
            i = block * BLOCK
            height = smaller(BLOCK, rows - i)
            A_ = part(A, i, k)
            j = 0
            while j < columns:
                left = columns - j
                B_ = part(B, k, j)
                C_ = part(C, i, j)
                if height == 1 and left >= 3 * lanes:
                    tile[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, 1, 3 * lanes, left)
                    j += 3 * lanes
                elif 4 * left > 3 * lanes:
                    packed_panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, lanes, left, packed, p0)
                    j += lanes
                elif left > 8 and lanes > 16:
                    packed_panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, 16, left, packed, p0)
                    j += 16
                elif left > 8:
                    packed_panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, lanes, left, packed, p0)
                    j += lanes
                else:
                    packed_panel[real](a, A_, b, B_, c, C_, alpha, add or k > 0, length, height, 8, left, packed, p0)
                    j += 8
