# Augmentation: rows as images, deformed while they are gathered in training: one resampling, and noise. The equations are
# those of fastnn/reference.py: the image is scaled, sheared, rotated and shifted, and each pixel looks back, displaced by
# smoothed noise; between pixels the image is bilinear, outside 0.

cdef enum:                      # rows of Program.augmentation, as in fastnn/program.py
    SHIFT_X, SHIFT_Y, SCALE_X, SCALE_Y, ROTATION, SHEAR, ELASTIC, NOISE, SHAPE

cdef enum:                      # what the random numbers of a row are for, as in fastnn/reference.py
    PLACES, SPECKS

cdef enum:
    NUMBERS = 8 * DRAWS         # that are drawn together, two from a word
    NODES = 16                  # the first of PLACES that a node of noise has: those before it move the image as a whole
    TAPS = 8                    # nodes, on each axis, that displace a pixel
    SEEN = 16                   # pixels whose places are computed side by side

cdef struct Augmentation:
    double middle[NOISE + 1]    # numbers are uniform in middle - spread to middle + spread
    double spread[NOISE + 1]
    double density              # of nodes: 1 / sigma
    bint elastic
    Py_ssize_t height, width, line      # of an image, and of its copy with a frame of zeros: elements of a line
    Py_ssize_t nodes_down, nodes        # of the noise
    const real* down            # (height, TAPS): what lines of nodes, from node_of on, weigh for each line,
    const real* across          # (nodes, padded(width) + SEEN): what each node weighs for each column, most 0

cdef struct Canvas:             # where a thread has what it needs for a row, in the work arena, and how random words are keyed
    Py_ssize_t image, numbers, sums
    Key places, specks

cdef struct View:               # pixel (i, j) looks at column u + u_i i + u_j j, line v + v_i i + v_j j of the framed image
    double u, u_i, u_j, v, v_i, v_j


cdef inline Py_ssize_t node_of(const Augmentation* a, Py_ssize_t pixel) noexcept nogil:
    """The first of the TAPS nodes next to a pixel."""
    return <Py_ssize_t> (pixel * a.density)


cdef inline Py_ssize_t blocks_of(const Augmentation* a) noexcept nogil:
    """Of NUMBERS, of PLACES: a line of nodes is read in whole vectors."""
    return ceil_div(NODES + 2 * a.nodes_down * a.nodes + 16 if a.elastic else NODES, NUMBERS)


cdef inline Py_ssize_t room_of(const Augmentation* a) noexcept nogil:
    """Elements of scratch: the framed image, numbers, a line of sums of each field."""
    return (a.height + 3) * a.line + blocks_of(a) * NUMBERS + 2 * padded(a.nodes)


cdef class Augmenting:
    """A program's augmentation, checked, and the weights of its nodes; alive as long as a call needs it."""
    cdef object down, across
    cdef Augmentation a

    def __init__(self, program):
        check_augmentation(program)
        table = program.augmentation.tolist()
        cdef Augmentation* a = &self.a
        cdef Py_ssize_t row, pixel, node, first
        cdef double sigma, alpha, t
        cdef real[:, ::1] down, across
        for row in range(NOISE + 1):
            a.middle[row], a.spread[row] = table[row]
        sigma, alpha = table[ELASTIC]
        a.density = 1.0 / sigma
        a.height, a.width = map(int, table[SHAPE])
        a.elastic, a.line = alpha != 0, a.width + 3
        if not a.elastic:
            return
        a.nodes_down, a.nodes = node_of(a, a.height - 1) + TAPS, node_of(a, a.width - 1) + TAPS
        self.down, self.across = np.zeros((a.height, TAPS), DTYPE), np.zeros((a.nodes, padded(a.width) + SEEN), DTYPE)
        down, across = self.down, self.across
        for pixel in range(larger(a.height, a.width)):
            first = node_of(a, pixel)
            for node in range(first, first + TAPS):
                t = pixel * a.density - (node - 3)
                t = exp(-0.5 * t * t)
                if pixel < a.height:
                    down[pixel, node - first] = <real> (alpha / (6.283185307179586 * sigma) * t)
                if pixel < a.width:
                    across[node, pixel] = <real> t
        a.down, a.across = <const real*> start_of(self.down), <const real*> start_of(self.across)


cdef Augmenting augmenting_of(program, Call* call):
    """Sets the call's augmentation; the caller keeps what is returned."""
    if program.augmentation is None:
        return None
    cdef Augmenting found = Augmenting(program)
    call.augmentation = &found.a
    return found


# --- what is drawn -------------------------------------------------------------------------------------------------------

cdef inline void draw_block(Key key, Py_ssize_t row, Py_ssize_t block, real* drawn) noexcept nogil:
    """NUMBERS of a row, uniform in (-1, 1): an odd 16-bit number / 2^16, 64 from the low and 64 from the high halves of words."""
    cdef uint32_t c[4][DRAWS]
    cdef int32_t low, high
    cdef int g, s
    words_of(c, key, row, block)
    for s in range(4):
        for g in range(DRAWS):
            low, high = <int32_t> (c[s][g] << 16) >> 15, <int32_t> c[s][g] >> 15
            drawn[s * DRAWS + g] = <real> (low | 1) * <real> (1.0 / 65536.0)
            drawn[(s + 4) * DRAWS + g] = <real> (high | 1) * <real> (1.0 / 65536.0)


cdef inline void sine_of(double angle, double* sine, double* cosine) noexcept nogil:
    """sin and cos of |angle| <= pi: Taylor's series of a quarter of it, then twice sin 2t = 2 s c, cos 2t = 1 - 2 s^2."""
    cdef double t = 0.25 * angle, t2 = t * t, s, c
    s = fma64(t2, -1.0 / 1307674368000.0, 1.0 / 6227020800.0)
    s = fma64(t2, s, -1.0 / 39916800.0)
    s = fma64(t2, s, 1.0 / 362880.0)
    s = fma64(t2, s, -1.0 / 5040.0)
    s = fma64(t2, s, 1.0 / 120.0)
    s = fma64(t2, s, -1.0 / 6.0)
    s = fma64(t2 * t, s, t)
    c = fma64(t2, 1.0 / 20922789888000.0, -1.0 / 87178291200.0)
    c = fma64(t2, c, 1.0 / 479001600.0)
    c = fma64(t2, c, -1.0 / 3628800.0)
    c = fma64(t2, c, 1.0 / 40320.0)
    c = fma64(t2, c, -1.0 / 720.0)
    c = fma64(t2, c, 1.0 / 24.0)
    c = fma64(t2, c, -0.5)
    c = fma64(t2, c, 1.0)
    s, c = 2.0 * s * c, fma64(-2.0 * s, s, 1.0)
    sine[0], cosine[0] = 2.0 * s * c, fma64(-2.0 * s, s, 1.0)


cdef inline View view_of(const Augmentation* a, const real* drawn) noexcept nogil:
    """What is drawn for a row: x = (H^-1 R^-1 (pixel - shift)) / scale, from the middle of the image."""
    cdef double x[SHEAR + 1]
    cdef double s, c, slant_s, slant_c, slant, p = 0.5 * (a.width - 1), q = 0.5 * (a.height - 1)
    cdef View view
    cdef int k
    for k in range(SHEAR + 1):
        x[k] = fma64(a.spread[k], drawn[k], a.middle[k])
    sine_of(x[ROTATION], &s, &c)
    sine_of(x[SHEAR], &slant_s, &slant_c)
    slant = slant_s / slant_c
    view.u_j, view.u_i = fma64(slant, s, c) / x[SCALE_X], fma64(slant, c, -s) / x[SCALE_X]
    view.v_j, view.v_i = s / x[SCALE_Y], c / x[SCALE_Y]
    view.u = fma64(-(p + x[SHIFT_X]), view.u_j, fma64(-(q + x[SHIFT_Y]), view.u_i, p + 1.0))
    view.v = fma64(-(p + x[SHIFT_X]), view.v_j, fma64(-(q + x[SHIFT_Y]), view.v_i, q + 1.0))
    return view


cdef inline void add_specks(const Augmentation* a, Key key, Py_ssize_t row, Range columns, real[::1] work, Py_ssize_t h) noexcept nogil:
    """NOISE, onto these columns of h."""
    cdef real drawn[NUMBERS]
    cdef real middle = <real> a.middle[NOISE], spread = <real> a.spread[NOISE]
    cdef Py_ssize_t block, j
    for block in range(columns.first // NUMBERS, ceil_div(columns.end, NUMBERS)):
        draw_block(key, row, block, drawn)
        for j in range(larger(columns.first, block * NUMBERS), smaller(columns.end, (block + 1) * NUMBERS)):
            work[h + j] = work[h + j] + fma(spread, drawn[j - block * NUMBERS], middle)


# --- what is seen --------------------------------------------------------------------------------------------------------

cdef inline void sum_down(const Augmentation* a, const Canvas* canvas, Py_ssize_t i, real[::1] work) noexcept nogil:
    """Of both fields, the noise along line i: sums over the TAPS lines of nodes next to it, in whole vectors."""
    cdef real sums[16]
    cdef Py_ssize_t field, t, k, noise
    cdef int q
    for field in range(2):
        for k in range(0, a.nodes, 16):
            noise = canvas.numbers + NODES + (field * a.nodes_down + node_of(a, i)) * a.nodes + k
            for q in range(16):
                sums[q] = 0
            for t in range(TAPS):
                for q in range(16):
                    sums[q] = fma(a.down[i * TAPS + t], work[noise + t * a.nodes + q], sums[q])
            for q in range(16):
                work[canvas.sums + field * padded(a.nodes) + k + q] = sums[q]


cdef inline void displace(const Augmentation* a, const real* sums, Py_ssize_t j, real* u, real* v) noexcept nogil:
    """Adds the displacements of SEEN pixels of a line, from column j on, to their places."""
    cdef Py_ssize_t k
    cdef const real* across
    cdef real x, y
    cdef int q
    for k in range(node_of(a, j), smaller(node_of(a, j + SEEN - 1) + TAPS, a.nodes)):
        across = a.across + k * (padded(a.width) + SEEN) + j
        x, y = sums[k], sums[padded(a.nodes) + k]
        for q in range(SEEN):
            u[q] = fma(x, across[q], u[q])
            v[q] = fma(y, across[q], v[q])


cdef inline real inside(real place, real end) noexcept nogil:
    """Clamped to the frame, which is 0; so is what is no number."""
    cdef real least = place if place > 0 else <real> 0
    return least if least < end else end


cdef void look(const Augmentation* a, const Canvas* canvas, const View* view, Py_ssize_t i, Range columns, real[::1] work,
               Py_ssize_t h) noexcept nogil:
    """What these columns of line i see: into h, from its first column on."""
    cdef real u[SEEN]
    cdef real v[SEEN]
    cdef int32_t corner[SEEN]
    cdef int32_t line = <int32_t> a.line, x, y
    cdef real u_0 = <real> fma64(view.u_i, <double> i, view.u), v_0 = <real> fma64(view.v_i, <double> i, view.v)
    cdef real u_j = <real> view.u_j, v_j = <real> view.v_j, top, low
    cdef real u_end = <real> (a.width + 1), v_end = <real> (a.height + 1)
    cdef Py_ssize_t j, p
    cdef int q
    j = columns.first
    while j < columns.end:
        for q in range(SEEN):
            u[q], v[q] = fma(u_j, <real> (<int32_t> j + q), u_0), fma(v_j, <real> (<int32_t> j + q), v_0)
        if a.elastic:
            displace(a, &work[canvas.sums], j, u, v)
        for q in range(SEEN):
            u[q], v[q] = inside(u[q], u_end), inside(v[q], v_end)
            x, y = <int32_t> u[q], <int32_t> v[q]
            u[q], v[q], corner[q] = u[q] - <real> x, v[q] - <real> y, y * line + x
        for q in range(<int> smaller(SEEN, columns.end - j)):
            p = canvas.image + corner[q]
            top = fma(u[q], work[p + 1] - work[p], work[p])
            p += line
            low = fma(u[q], work[p + 1] - work[p], work[p])
            work[h + j + q] = fma(v[q], low - top, top)
        j += SEEN


# --- rows ----------------------------------------------------------------------------------------------------------------

cdef inline Canvas canvas_of(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """A canvas whose frame is 0."""
    cdef const Augmentation* a = me.call.augmentation
    cdef uint64_t seed = me.call.seed, update = me.block.update
    cdef Canvas canvas
    cdef Py_ssize_t k
    canvas.image = me.scratch
    canvas.numbers = canvas.image + (a.height + 3) * a.line
    canvas.sums = canvas.numbers + blocks_of(a) * NUMBERS
    canvas.places, canvas.specks = key_of(seed, AUGMENT, update, PLACES), key_of(seed, AUGMENT, update, SPECKS)
    for k in range((a.height + 3) * a.line):
        work[canvas.image + k] = 0
    return canvas


cdef void augment_row(const Call* call, const Canvas* canvas, Py_ssize_t row, Py_ssize_t number, Range columns,
                      real[::1] work, Py_ssize_t h) noexcept nogil:
    """These features of h_0 of a row of the data, the so many-th of its batch."""
    cdef const Augmentation* a = call.augmentation
    cdef View view
    cdef Data data = call.data
    cdef Range seen
    cdef Py_ssize_t i, n = columns.end - columns.first
    data.center, data.scale = NULL, 1
    for i in range(a.height):
        gather_row(&data, row, i * a.width, (i + 1) * a.width, work, canvas.image + (i + 1) * a.line + 1 - i * a.width)
    for i in range(blocks_of(a)):
        draw_block(canvas.places, number, i, &work[canvas.numbers + i * NUMBERS])
    view = view_of(a, &work[canvas.numbers])
    for i in range(columns.first // a.width, ceil_div(columns.end, a.width)):
        if a.elastic:
            sum_down(a, canvas, i, work)
        seen.first = larger(columns.first - i * a.width, 0)
        seen.end = smaller(columns.end - i * a.width, a.width)
        look(a, canvas, &view, i, seen, work, h + i * a.width)
    if a.middle[NOISE] != 0 or a.spread[NOISE] != 0:
        add_specks(a, canvas.specks, number, columns, work, h)
    data = call.data
    data.column_stride = sizeof(real)
    element_row(&data, &work[h + columns.first], columns.first, work, h + columns.first, n)
