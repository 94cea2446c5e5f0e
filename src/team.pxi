# Threads: pieces of a layer, shares of them, barrier, exchange. The number of a thread occurs in this file only.
#
# A thread owns some neurons of every layer, the inputs too, and all weights that leave them: rows of W. What it owns are
# whole pieces of a layer, whose sums are added in a binary tree: so the pieces, not the threads, decide the bits.

# A thread's part of the work arena: values | gap | set 0 of sums | set 1 | scratch. What a thread lays into a set others
# read after the next meeting; it writes there again after the one after that, and has used the other set in between.

cdef struct Worker:
    Py_ssize_t thread, threads
    Py_ssize_t base, size       # where its part of the work arena begins, and how long a part is
    Py_ssize_t sums, set        # where in a part the sums over pieces begin, and how long a set of them is
    Py_ssize_t rows, parity     # of each sum; which of two sets is next: others may still read the latest, sums or dz
    Py_ssize_t scratch
    bint late                   # whether the caller has waited too long for the others
    Team* team
    const Call* call
    Block* block
    Worker* lone                # the same thread as a team of its own

cdef struct Range:              # first to end
    Py_ssize_t first, end

cdef struct Node:               # a subtree's sum: pieces first to first + size, where the sum is
    Py_ssize_t first, size, place


cdef inline Worker worker_of(const Call* call, Py_ssize_t sums, Py_ssize_t set, Py_ssize_t scratch) noexcept:
    """A team of one, of which `member_of` makes more. A thread's part of the arena: values, sets of sums, scratch."""
    cdef Worker me
    memset(&me, 0, sizeof(me))
    me.threads, me.call, me.sums, me.set, me.scratch = 1, call, sums, set, sums + 2 * set
    me.size = me.scratch + scratch
    return me

cdef inline Worker alone(Worker me) noexcept nogil:
    """The same thread as a team of its own."""
    me.thread = 0
    me.threads = 1
    return me

cdef inline bint is_first(const Worker* me) noexcept nogil:
    return me.thread == 0

cdef inline void meet(Worker* me) noexcept nogil:
    if me.threads > 1 and meet_all(me.team, <int> me.thread):
        me.late = True


# --- shares ------------------------------------------------------------------------------------------------

cdef inline Range rows_of_thread(Py_ssize_t n, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """A thread's share of n rows."""
    cdef Range r
    r.first = n * thread // threads
    r.end = n * (thread + 1) // threads
    return r

cdef inline Range rows_of_mine(const Worker* me, Py_ssize_t n) noexcept nogil:
    return rows_of_thread(n, me.thread, me.threads)

cdef inline Range rows_at_hand(const Worker* me, bint by_rows) noexcept nogil:
    """All rows of the block, or this thread's share of them."""
    return rows_of_mine(me, me.block.rows) if by_rows else rows_of_thread(me.block.rows, 0, 1)

cdef inline Range vectors_of_thread(Py_ssize_t n, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    """A thread's share of n elements, in whole vectors."""
    cdef Range r
    r.first = smaller(n, ceil_div(n, 16) * thread // threads * 16)
    r.end = smaller(n, ceil_div(n, 16) * (thread + 1) // threads * 16)
    return r

cdef inline Range vectors_of_mine(const Worker* me, Py_ssize_t n) noexcept nogil:
    return vectors_of_thread(n, me.thread, me.threads)

cdef inline Cut cut_of(Py_ssize_t neurons, Py_ssize_t widest) noexcept nogil:
    """How a layer is cut: into a power of two of pieces, up to MOST_WORKERS, or as many as make none longer than a chunk.

    widest: the outputs of the widest layer that sums over it; a narrow one is done before threads pay for themselves.
    """
    cdef Cut cut
    cut.neurons, cut.pieces = neurons, 1 if neurons < FEW else 2 if neurons < PART else 4
    while cut.pieces * CHUNK < neurons or (
            cut.pieces < MOST_WORKERS and 2 * cut.pieces * PART <= neurons and widest >= NARROW):
        cut.pieces *= 2
    return cut

cdef inline Py_ssize_t piece_start(Cut cut, Py_ssize_t piece) noexcept nogil:
    """The first of a piece's neurons; the next piece's first is its end."""
    return smaller(cut.neurons, ceil_div(cut.neurons, 8) * piece // cut.pieces * 8)

cdef inline Range pieces_of_thread(Cut cut, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    cdef Range r
    r.first = ceil_div(cut.pieces * thread, threads)
    r.end = ceil_div(cut.pieces * (thread + 1), threads)
    return r

cdef inline Range pieces_of_mine(const Worker* me, Cut cut) noexcept nogil:
    return pieces_of_thread(cut, me.thread, me.threads)

cdef inline Range neurons_of_thread(Cut cut, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil:
    cdef Range r = pieces_of_thread(cut, thread, threads)
    r.first, r.end = piece_start(cut, r.first), piece_start(cut, r.end)
    return r

cdef inline Range neurons_of_mine(const Worker* me, Cut cut) noexcept nogil:
    return neurons_of_thread(cut, me.thread, me.threads)

cdef inline Range columns_of_mine(const Worker* me, Cut cut, bint whole) noexcept nogil:
    """This thread's columns, or all, in whole vectors at the end."""
    cdef Range r
    if whole:
        r.first, r.end = 0, padded(cut.neurons)
        return r
    r = neurons_of_mine(me, cut)
    if r.first < r.end == cut.neurons:
        r.end = padded(cut.neurons)
    return r


# --- sums over neurons: a binary tree of pieces ---------------------------------------------------------------

cdef inline Py_ssize_t node_size(Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Of the largest subtree that begins with this piece and ends there or before."""
    cdef Py_ssize_t size = 1
    while first % (2 * size) == 0 and first + 2 * size <= end:
        size *= 2
    return size

cdef inline Py_ssize_t waiting_sums(Cut cut) noexcept nogil:
    """How many sums wait to be added at most, while a tree of all pieces is summed."""
    cdef Py_ssize_t n = 0
    while (4 << n) <= cut.pieces:
        n += 1
    return n

cdef inline Py_ssize_t sums_of(Cut cut, Py_ssize_t threads) noexcept nogil:
    """How many sums a thread needs room for: of its subtrees, and those that wait to be added to them."""
    cdef Py_ssize_t most = 1, thread, n, first
    cdef Range r
    for thread in range(threads):
        r = pieces_of_thread(cut, thread, threads)
        n, first = 0, r.first
        while first < r.end:
            first += node_size(first, r.end)
            n += 1
        most = n if n > most else most
    return most + waiting_sums(cut)

cdef inline Py_ssize_t sum_place(const Worker* me, Py_ssize_t thread, Py_ssize_t number, Py_ssize_t stride) noexcept nogil:
    """Where a thread's sum of this number begins; those that wait to be added are the first."""
    return me.base + (thread - me.thread) * me.size + me.sums + me.parity * me.set + number * me.rows * stride

cdef inline Py_ssize_t waiting_sum(const Worker* me, Py_ssize_t number, Py_ssize_t stride) noexcept nogil:
    """Where one of this thread's sums begins that waits to be added."""
    return sum_place(me, me.thread, number, stride)

cdef inline Py_ssize_t losses_of_mine(const Worker* me) noexcept nogil:
    """Where this thread's losses of the rows at hand begin."""
    return me.thread * me.call.most_rows

cdef inline Py_ssize_t nodes_of_mine(const Worker* me, Cut cut, Py_ssize_t stride, Node* nodes) noexcept nogil:
    """The subtrees that this thread sums, in order; returns their number."""
    return nodes_of_thread(me, me.thread, cut, stride, nodes)

cdef inline Py_ssize_t nodes_of_thread(const Worker* me, Py_ssize_t thread, Cut cut, Py_ssize_t stride, Node* nodes) noexcept nogil:
    cdef Range r = pieces_of_thread(cut, thread, me.threads)
    cdef Py_ssize_t n = 0
    while r.first < r.end:
        nodes[n].first, nodes[n].size = r.first, node_size(r.first, r.end)
        nodes[n].place = sum_place(me, thread, waiting_sums(cut) + n, stride)
        r.first += nodes[n].size
        n += 1
    return n

cdef inline Py_ssize_t all_nodes(const Worker* me, Cut cut, Py_ssize_t stride, Node* nodes) noexcept nogil:
    """The subtrees of all threads, in order; returns their number."""
    cdef Py_ssize_t thread, n = 0
    for thread in range(me.threads):
        n += nodes_of_thread(me, thread, cut, stride, nodes + n)
    return n


# A line that another core has read is slow to write (7 GB/s here), one that it has written is not (40 GB/s).
# So where one other thread alone reads something, it writes there too.

cdef inline Py_ssize_t sum_target(const Worker* me, const Node* nodes, Py_ssize_t n) noexcept nogil:
    """Where the sum of nodes that this thread alone reads is added up: into one of another thread's, if there is one."""
    return nodes[1].place if n == 2 and me.thread == 0 else nodes[0].place

cdef inline void add(real[::1] work, Py_ssize_t target, Py_ssize_t left, Py_ssize_t right, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(width):
        work[target + j] = work[left + j] + work[right + j]

cdef inline void add_tree(real[::1] work, Py_ssize_t target, Node* nodes, Py_ssize_t n, Range at, Py_ssize_t spare) noexcept nogil:
    """The sum of neighbouring subtrees, written to target + at.first and what follows up to at.end.

    What is added before the last goes into the spare room, row by row, or where that is 0, into the left of both.
    """
    cdef Py_ssize_t k, top = -1, width = at.end - at.first, j, left, sum
    cdef Node stack[DEPTH]
    for k in range(n):
        top += 1
        stack[top] = nodes[k]
        stack[top].place = nodes[k].place + at.first
        while top > 0 and stack[top].size == stack[top - 1].size:
            left = stack[top - 1].place
            sum = left if spare == 0 else spare + (top - 1) * width
            if top == 1 and k == n - 1:
                sum = target + at.first
            add(work, sum, left, stack[top].place, width)
            top -= 1
            stack[top].size *= 2
            stack[top].place = sum
    if n == 1 and target != nodes[0].place:
        for j in range(width):
            work[target + at.first + j] = work[stack[0].place + j]


# --- exchange --------------------------------------------------------------------------------------------------

cdef inline void hand_over(real[::1] work, Matrix source, Matrix target, Py_ssize_t rows, Range columns, bint clear) noexcept nogil:
    """Copies the columns; the only reader clears the source."""
    cdef Py_ssize_t r, j
    for r in range(rows):
        for j in range(columns.first, columns.end):
            work[target.start + r * target.row + j] = work[source.start + r * source.row + j]
        for j in range(columns.first, columns.end if clear else columns.first):
            work[source.start + r * source.row + j] = 0


cdef void exchange(real[::1] work, Worker* me, Matrix d, Cut cut) noexcept nogil:
    """Each lays its own neurons of d where its sums were, all meet, and each takes the others'."""
    cdef Py_ssize_t thread, rows = me.block.rows
    cdef Matrix laid = matrix(sum_place(me, me.thread, 0, 0), d.row)
    if me.threads == 1:
        return
    hand_over(work, d, laid, rows, neurons_of_mine(me, cut), False)
    meet(me)
    for thread in range(me.threads):
        if thread != me.thread:
            laid.start = sum_place(me, thread, 0, 0)
            hand_over(work, laid, d, rows, neurons_of_thread(cut, thread, me.threads), me.threads == 2)
    me.parity = 1 - me.parity


cdef void exchange_rows(real[::1] work, Worker* me, Matrix d, Py_ssize_t columns) noexcept nogil:
    """The same where each has some rows of d, and not some of its columns."""
    cdef Py_ssize_t thread
    cdef Matrix laid = matrix(sum_place(me, me.thread, 0, 0), d.row)
    cdef Range all_columns, r = rows_of_mine(me, me.block.rows)
    all_columns.first, all_columns.end = 0, columns
    if me.threads == 1:
        return
    hand_over(work, part(d, r.first, 0), part(laid, r.first, 0), r.end - r.first, all_columns, False)
    meet(me)
    for thread in range(me.threads):
        r = rows_of_thread(me.block.rows, thread, me.threads)
        laid.start = sum_place(me, thread, 0, 0)
        if thread != me.thread:
            hand_over(work, part(laid, r.first, 0), part(d, r.first, 0), r.end - r.first, all_columns, me.threads == 2)
    me.parity = 1 - me.parity


# --- regions: what a caller and its helpers do together ------------------------------------------------------------

cdef class Region
cdef struct Sparse
ctypedef void (*Part)(Region r, Worker me) noexcept nogil

cdef class Region:
    """What the threads of a call share: its arrays, an arena to work in, and how far they have come."""
    cdef Team team
    cdef Py_ssize_t threads     # that the call may have, itself included
    cdef Worker me
    cdef Part part              # what each does
    cdef const real[::1] x, weights
    cdef real[::1] parameters, state, gradients, work
    cdef int64_t claimed        # of what is shared, so much from the start on
    cdef int64_t step, last     # a stretch of steps that are dealt out: all threads go from `step` to `last`
    cdef int64_t overflows      # whether a z is not finite, or a number beyond the limit
    cdef double limit
    cdef const Product* product         # of a benchmark: x times the weights, or one of them transposed
    cdef int form
    cdef const Sparse* sparse           # rows that are multiplied

    def __cinit__(self):
        begin_team(&self.team)
        self.team.work, self.team.what = <Work> take_part, <void*> self
        self.x = self.weights = self.parameters = self.state = self.gradients = self.work = None

    cdef Region reserve(self, Worker me, Py_ssize_t threads):
        """With an arena for so many threads; a fresh one costs a page fault for each 4 KB."""
        if self.work is None or self.work.shape[0] < threads * me.size:
            self.work = _zeros(threads * me.size)
        self.me, self.threads, self.overflows = me, threads, False
        self.me.team = &self.team
        return self


cdef void take_part(Region r, int thread) noexcept nogil:
    """One thread's part: of what is dealt out to several, or, with a part of the arena, of what it claims."""
    cdef Worker me = r.me
    me.base = thread * me.size
    me.scratch += me.base
    me.threads = r.team.threads
    me.thread = thread if me.threads > 1 else 0
    r.part(r, me)


cdef Py_ssize_t team_of(Py_ssize_t wanted) except -1:
    """How many threads a call may have that wants so many: other callers have some, and the system may give fewer."""
    cdef Py_ssize_t threads
    wanted = smaller(wanted, MOST_THREADS)
    if not patient:
        wanted = larger(1, wanted - callers)
    threads = 1 + make_helpers(<int> wanted - 1)
    if threads < wanted:
        warnings.warn(f"expected {wanted} threads, the system gave {threads}", RuntimeWarning)
    return threads


cdef inline Range claim(Region r, Py_ssize_t n, Py_ssize_t unit) noexcept nogil:
    """What nobody has yet, of n: whole units, many at first and few in the end. Empty where nothing is left."""
    cdef Py_ssize_t left = n - look_at(&r.claimed), more
    cdef Range mine
    more = larger(1, left // (2 * r.threads * unit)) * unit
    mine.first = smaller(n, add_to(&r.claimed, more) if left > 0 else n)
    mine.end = smaller(n, mine.first + more)
    return mine


cdef void share(Region r, Part part) noexcept nogil:
    """All claim some of the work until nothing is left. Who has not begun by then is not waited for."""
    r.part, r.claimed = part, 0
    ask(&r.team, <int> r.threads - 1, CALLED)
    take_part(r, 0)
    finish(&r.team)


cdef void deal(Region r, Part part, Py_ssize_t steps, int64_t patience) noexcept nogil:
    """Steps that each thread has its share of, in stretches, between which threads come and go.

    patience: the ns that helpers are waited for at the start.
    """
    r.part, r.step = part, 0
    ask(&r.team, <int> r.threads - 1, ASKED)
    while r.step < steps:
        put(&r.last, steps - 1)
        form(&r.team, <int> (1 + r.step % r.threads if restless else r.threads), patience)
        patience = 0
        take_part(r, 0)
        gather_all(&r.team)
        r.step = r.last + 1
    finish(&r.team)


cdef inline void maybe_last(Region r, Worker* me, Py_ssize_t step) noexcept nogil:
    """The caller ends the stretch with this step where a thread is late or one more is ready. The others see it after a meeting."""
    if is_first(me) and step > r.step and (me.late or restless or (me.threads <= r.team.asked and ready(&r.team))):
        put(&r.last, step)
