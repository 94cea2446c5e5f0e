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
    #define fastnn_prefetch_far(address) __builtin_prefetch(address, 0, 2)
    """
    void prefetch "__builtin_prefetch" (const void* address) noexcept nogil             # into all caches,
    void prefetch_far "fastnn_prefetch_far" (const void* address) noexcept nogil        # or all but the nearest

cdef struct Matrix:
    Py_ssize_t start, row, column       # of its arena: element (i, j) is start + i * row + j * column


cdef struct Product:                    # C = alpha * A B, or C += it
    Matrix A, B, C                      # A (rows, depth), B (depth, columns), C (rows, columns), each of any size
    Py_ssize_t rows, columns, depth
    real alpha
    bint add
    Py_ssize_t fold                     # not 0: C += T + alpha * A B, T so far behind C in the same arena
    bint panels                         # B lies in panels of width_of columns, each of all rows without gaps
    Py_ssize_t copy                     # not 0: where in the work arena A, stored by columns, is copied by chunks


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

cdef inline Py_ssize_t larger(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a > b else b

cdef inline Py_ssize_t ceil_div(Py_ssize_t length, Py_ssize_t size) noexcept nogil:
    """How many pieces of at most `size` make up the length."""
    return (length + size - 1) // size

cdef inline Py_ssize_t padded(Py_ssize_t n) noexcept nogil:
    """A row's elements in whole vectors."""
    return (n + 15) // 16 * 16

cdef inline int lanes_of() noexcept nogil:
    """Columns of a tile, at least 8: GCC unrolls loops of at most 6 steps (setup.py), and must not these, which are vectors."""
    return ACROSS * VECTOR // <int> sizeof(real) if ACROSS * VECTOR // <int> sizeof(real) > 8 else 8

cdef inline int pair_of() noexcept nogil:
    """Columns of two vectors, at least 8."""
    return 2 * VECTOR // <int> sizeof(real) if 2 * VECTOR // <int> sizeof(real) > 8 else 8

cdef inline int width_of(Py_ssize_t columns) noexcept nogil:
    """Columns of the next panel of so many: the whole tile's, or what their rest fills better."""
    cdef int lanes = lanes_of()
    if 4 * columns > 3 * lanes:
        return lanes
    if columns > 24 and lanes > 32:
        return 32
    if columns > 8:
        return 16 if lanes > 16 else lanes
    return 8

cdef inline int rows_of() noexcept nogil:
    """Rows of a tile: fewer where 8 lanes take four registers."""
    return TILE_ROWS // 2 if ACROSS * VECTOR // <int> sizeof(real) < 8 else TILE_ROWS

cdef inline void prefetch_lanes(const real* row, int lanes) noexcept nogil:
    cdef int line
    for line in range(lanes * <int> sizeof(real) // 64):
        prefetch(row + line * (64 // <int> sizeof(real)))

cdef inline Product product_of(Matrix A, Matrix B, Matrix C, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    """C = A B."""
    cdef Product p
    p.A, p.B, p.C, p.rows, p.columns, p.depth, p.alpha, p.add, p.fold = A, B, C, rows, columns, depth, 1, False, 0
    p.copy, p.panels = 0, False
    return p


cdef inline void tile(const real* a, const real* b, Py_ssize_t b_row, real[::1] c, const Product* p,
                      int rows, int lanes) noexcept nogil:
    """The product for rows x lanes elements; the first p.columns of a row are written."""
    cdef real sums[TILE_ROWS][ROW_LANES]
    cdef real edge[TILE_ROWS][ROW_LANES]
    cdef real x, alpha = p.alpha
    cdef Matrix A = p.A, C = p.C
    cdef Py_ssize_t k, depth = p.depth, columns = p.columns
    cdef int i, j
    if depth < 1:               # with a loop that may not run, the sums would pass through memory
        return
    for i in range(rows):
        prefetch_lanes(&c[C.start] + i * C.row, lanes)      # C comes from afar while A and B are worked on
        for j in range(lanes):
            sums[i][j] = 0
    for k in range(depth):
        for i in range(rows):
            x = a[A.start + i * A.row + k * A.column]
            for j in range(lanes):
                sums[i][j] = fma(x, b[k * b_row + j], sums[i][j])
    if columns < lanes:         # in whole vectors beside C: an index that varies keeps sums out of registers
        for i in range(rows):
            for j in range(columns):
                edge[i][j] = c[C.start + p.fold + i * C.row + j] if p.add else 0
        for i in range(rows):
            for j in range(lanes):
                edge[i][j] = fma(alpha, sums[i][j], edge[i][j])
        for i in range(rows):
            for j in range(columns):
                c[C.start + i * C.row + j] = c[C.start + i * C.row + j] + edge[i][j] if p.fold else edge[i][j]
    elif p.fold:
        for i in range(rows):
            for j in range(lanes):
                sums[i][j] = fma(alpha, sums[i][j], c[C.start + p.fold + i * C.row + j])
        for i in range(rows):
            for j in range(lanes):
                c[C.start + i * C.row + j] = c[C.start + i * C.row + j] + sums[i][j]
    elif p.add:
        for i in range(rows):
            for j in range(lanes):
                c[C.start + i * C.row + j] = fma(alpha, sums[i][j], c[C.start + i * C.row + j])
    else:
        for i in range(rows):
            for j in range(lanes):
                c[C.start + i * C.row + j] = fma(alpha, sums[i][j], 0)


cdef inline void transpose(const real[::1] a, Matrix A, real[::1] t, Matrix T,
                      Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """T = A^T for A (rows, columns): four rows are interleaved, which makes vectors, and then spread."""
    cdef real four[4 * TRANSPOSED]
    cdef Py_ssize_t g, q, i, k0, n, k
    cdef int s
    for g in range(ceil_div(rows, 4)):
        i = 4 * g
        if i + 4 <= rows:
            for q in range(ceil_div(columns, TRANSPOSED)):
                k0 = q * TRANSPOSED
                n = smaller(TRANSPOSED, columns - k0)
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


cdef inline void panel(const real* a, const real[::1] b, real[::1] c, const Product* p, int lanes,
                       real[::1] packed, Py_ssize_t p0) noexcept nogil:
    """The same for a panel of `lanes` columns and any number of rows, in tiles of nearly equal height.

    Rows of B lie far apart: where many tiles pass over them, a copy without gaps pays for itself, and the next
    panel's are fetched meanwhile. Where B is stored by columns, its panel is transposed.
    """
    cdef Py_ssize_t tiles = ceil_div(p.rows, rows_of()), n, height, k, i = 0
    cdef Py_ssize_t depth = p.depth, columns = p.columns, b_row = p.B.row
    cdef const real* start = &b[p.B.start]
    cdef const real* packed_b = start
    cdef Product q = p[0]
    cdef int j
    cdef bint far = False
    if p.B.column != 1:
        transpose(b, matrix(p.B.start, p.B.column), packed, matrix(p0, lanes), smaller(columns, lanes), depth)
        packed_b, b_row = &packed[p0], lanes
    elif p.rows >= PACK_ROWS and p.B.row != lanes:
        for k in range(depth):
            if columns < lanes:
                for j in range(columns):
                    packed[p0 + k * lanes + j] = start[k * p.B.row + j]
            else:
                for j in range(lanes):
                    packed[p0 + k * lanes + j] = start[k * p.B.row + j]
        packed_b, b_row, far = &packed[p0], lanes, True
    for n in range(tiles):
        height = (p.rows - i) // (tiles - n)
        q.A, q.C = part(p.A, i, 0), part(p.C, i, 0)
        for k in range(n * depth // tiles, (n + 1) * depth // tiles if far else 0):
            prefetch_lanes(start + k * p.B.row + lanes, lanes)
        if height == 6:
            tile(a, packed_b, b_row, c, &q, 6, lanes)
        elif height == 5:
            tile(a, packed_b, b_row, c, &q, 5, lanes)
        elif height == 4:
            tile(a, packed_b, b_row, c, &q, 4, lanes)
        elif height == 3:
            tile(a, packed_b, b_row, c, &q, 3, lanes)
        elif height == 2:
            tile(a, packed_b, b_row, c, &q, 2, lanes)
        else:
            tile(a, packed_b, b_row, c, &q, 1, lanes)
        i += height


cdef inline bint collides(const Product* p) noexcept nogil:
    """Whether a copy of A pays, where it is stored by columns: all that a chain reads of it lies in one set of the L1."""
    return p.A.column * <Py_ssize_t> sizeof(real) % WAY == 0 and p.columns >= COPY_COLUMNS

cdef inline Matrix copy_of(const real[::1] a, real[::1] work, const Product* p) noexcept nogil:
    """A at p.copy, its columns close together."""
    cdef Py_ssize_t k, i, stride = padded(p.rows) + 16
    cdef Matrix A = p.A
    for k in range(p.depth):
        for i in range(p.rows):
            work[p.copy + k * stride + i] = a[A.start + k * A.column + i]
    return matrix(p.copy, 1, stride)


cdef void multiply(const real[::1] a, const real[::1] b, real[::1] c, const Product* p, real[::1] work,
                   Py_ssize_t scratch) noexcept nogil:
    """The product; work has room for PACKED elements from scratch on. The one place where the tiles are compiled."""
    cdef int lanes = lanes_of(), row_lanes = 3 * pair_of(), width
    cdef Py_ssize_t blocks_across = ceil_div(p.columns, WIDE), block, chunk, i, j, k, end, fold
    cdef Product q = p[0]
    cdef const real* source = &a[0] if p.copy == 0 else &work[0]
    for block in range(ceil_div(p.rows, ROW_BLOCK) * blocks_across):
        i = block // blocks_across * ROW_BLOCK
        q.rows = smaller(ROW_BLOCK, p.rows - i)
        for chunk in range(ceil_div(p.depth, CHUNK)):
            k = chunk * CHUNK
            q.depth = smaller(CHUNK, p.depth - k)
            q.add = p.add or k > 0
            fold = p.fold if k + CHUNK < p.depth else 0         # to T, until the last chunk's sum is there
            q.fold = p.fold - fold
            q.A = part(p.A, i, k)
            if p.copy:
                q.A = copy_of(a, work, &q)
            j = block % blocks_across * WIDE
            end = smaller(p.columns, j + WIDE)
            while j < end:
                q.columns = end - j
                width = width_of(q.columns)
                q.B = matrix(p.B.start + j * p.depth + k * width, width) if p.panels else part(p.B, k, j)
                q.C = part(p.C, i, j)
                q.C.start += fold
                if q.rows == 1 and q.columns >= row_lanes and q.B.column == 1 and not p.panels:
                    width = row_lanes
                    tile(source, &b[q.B.start], q.B.row, c, &q, 1, row_lanes)
                elif width == lanes:
                    panel(source, b, c, &q, lanes, work, scratch)
                elif width == 32 and lanes > 32:
                    panel(source, b, c, &q, 32, work, scratch)
                elif width == 16 and lanes > 16:
                    panel(source, b, c, &q, 16, work, scratch)
                else:
                    panel(source, b, c, &q, 8, work, scratch)
                j += width
