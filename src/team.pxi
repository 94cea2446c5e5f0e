# Threads: pieces of a layer, shares of them, barrier, exchange.

cdef inline Py_ssize_t vector_share(Py_ssize_t n, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """The first of a thread's elements, in whole vectors; the next thread's first is its end."""
    return smaller(n, pieces(n, 16) * thread // threads * 16)


# A thread owns some neurons of every layer, the inputs too, and all weights that leave them: rows of W_{l+1}.
# What it owns are whole pieces of a layer. The sum over a layer's neurons runs in ascending order within
# each half of the pieces, and the halves are added last: so the pieces, not the threads, decide the bits.

cdef inline Py_ssize_t pieces_of(Py_ssize_t neurons) noexcept nogil:
    """1, 2 or 4, or more: pieces are never longer than a chunk. An even number, or 1."""
    if neurons < 64:
        return 1 if neurons < 16 else 2
    return 4 if neurons <= 4 * CHUNK else 2 * pieces(neurons, 2 * CHUNK)

cdef inline Py_ssize_t piece_start(Py_ssize_t neurons, Py_ssize_t piece) noexcept nogil:
    """The first of a piece's neurons; the next piece's first is its end."""
    return smaller(neurons, pieces(neurons, 8) * piece // pieces_of(neurons) * 8)

cdef inline Py_ssize_t first_piece(Py_ssize_t neurons, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    return pieces(pieces_of(neurons) * thread, threads)

cdef inline Py_ssize_t share(Py_ssize_t neurons, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """The first of a thread's neurons; the next thread's first is its end."""
    return piece_start(neurons, first_piece(neurons, thread, threads))

cdef inline Py_ssize_t half_start(Py_ssize_t neurons, Py_ssize_t piece) noexcept nogil:
    """The first piece of a piece's half."""
    return 0 if 2 * piece < pieces_of(neurons) else pieces_of(neurons) // 2


cdef inline bint begins(Py_ssize_t neurons, Py_ssize_t piece, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """Whether a thread begins a sum with this piece: at the beginning of a half, or where it did not sum that."""
    cdef Py_ssize_t half = half_start(neurons, piece)
    return piece == half or half < first_piece(neurons, thread, threads)


cdef struct Worker:
    Py_ssize_t thread, threads
    Py_ssize_t base, size       # where its part of the work arena begins, and how long a part is
    Py_ssize_t sums, set        # where in a part the sums over pieces begin, and how long a set of them is
    Py_ssize_t rows, turn       # of each sum; two sets take turns: others may still read the latest, sums or dz
    Py_ssize_t scratch
    Meeting* meeting

cdef inline Worker worker(Worker me, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """One of a team."""
    me.thread = thread
    me.threads = threads
    me.base = thread * me.size
    me.scratch = me.base + me.sums + 2 * me.set
    return me

cdef inline void meet(Worker* me) noexcept nogil:
    if me.threads > 1:
        wait_for(me.meeting, me.thread, me.threads)

cdef inline Worker alone(Worker me) noexcept nogil:
    """The same thread as a team of its own."""
    me.thread = 0
    me.threads = 1
    return me

cdef inline bint is_small(const int64_t[:, ::1] table, Py_ssize_t l, Py_ssize_t rows) noexcept nogil:
    """Whether every thread runs layer l whole, since a meeting would take longer; never the first layer."""
    return 1 < l < table.shape[0] and rows * table[l, INPUTS] * table[l, OUTPUTS] <= SMALL

cdef inline Py_ssize_t sums_of(Py_ssize_t neurons, Py_ssize_t threads) noexcept nogil:
    """How many sums a thread needs room for: of both halves, or of each piece."""
    cdef Py_ssize_t most = pieces(pieces_of(neurons), threads)
    return most if most > 2 and threads > 1 else 2

cdef inline Py_ssize_t sum_start(const int64_t[:, ::1] table, Py_ssize_t l, Worker* me, Py_ssize_t thread,
                                 Py_ssize_t piece) noexcept nogil:
    """Where a thread's sum is that this piece goes into: one for all that a half begins with, else its own."""
    cdef Py_ssize_t neurons = table[l, INPUTS], first = first_piece(neurons, thread, me.threads)
    cdef Py_ssize_t half = half_start(neurons, piece), number = (piece if half < first else half) - first
    if first == 0 < half:       # behind the one sum of the first half
        number = 1
    return (me.base + (thread - me.thread) * me.size + me.sums + me.turn * me.set
            + number * me.rows * table[l, STRIDE])


# A line that another core has read is slow to write (7 GB/s here), one that it has written is not (40 GB/s).
# So where one other thread alone reads something, it writes there too.

cdef inline void add(real[::1] work, Py_ssize_t target, Py_ssize_t source, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(width):
        work[target + j] = work[target + j] + work[source + j]

cdef inline void add_up(real[::1] work, Py_ssize_t target, const Py_ssize_t* sums, Py_ssize_t n,
                        Py_ssize_t offset, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t j, k
    if target != sums[0] + offset:
        for j in range(width):
            work[target + j] = work[sums[0] + offset + j]
    for k in range(1, n):
        add[real](work, target, sums[k] + offset, width)


cdef inline void hand_over(real[::1] work, Py_ssize_t source, Py_ssize_t target, Py_ssize_t stride, Py_ssize_t rows,
                           Py_ssize_t first, Py_ssize_t end, bint lone) noexcept nogil:
    """Copies the columns first to end; a lone reader clears the source."""
    cdef Py_ssize_t r, j
    for r in range(rows):
        for j in range(first, end):
            work[target + r * stride + j] = work[source + r * stride + j]
        for j in range(first, end if lone else first):
            work[source + r * stride + j] = 0


cdef void gather_layer(const int64_t[:, ::1] table, Py_ssize_t l, real[::1] work, Worker* me, Py_ssize_t rows) noexcept nogil:
    """Each lays its own neurons of dz_l (or dh_l) where its sums were, all meet, and each takes the others'."""
    cdef Py_ssize_t neurons = table[l, OUTPUTS], stride = table[l, STRIDE], dz = me.base + table[l, DZ]
    cdef Py_ssize_t laid = me.base + me.sums + me.turn * me.set, thread
    if me.threads == 1:
        return
    hand_over[real](work, dz, laid, stride, rows, share(neurons, me.thread, me.threads),
                    share(neurons, me.thread + 1, me.threads), False)
    meet(me)
    for thread in range(me.threads):
        if thread != me.thread:
            hand_over[real](work, laid + (thread - me.thread) * me.size, dz, stride, rows,
                            share(neurons, thread, me.threads), share(neurons, thread + 1, me.threads), me.threads == 2)
    me.turn = 1 - me.turn


cdef Py_ssize_t team_of(Py_ssize_t wanted) except -1:
    """As many threads as a region may have and the system gives; the region is about to begin."""
    wanted = smaller(wanted, MOST_THREADS)
    cdef Py_ssize_t threads = make_team(<int> wanted)
    if OPENMP and threads < wanted:
        warnings.warn(f"expected {wanted} threads, the system gave {threads}", RuntimeWarning)
    return threads
