# Random numbers: a function of (seed, purpose, update, op, row, column), whoever asks and when.
#
# Philox4x32-10: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011).

cdef enum:                      # purposes, as in fastnn/_random.py
    DROP = 2
    AUGMENT = 4

cdef enum:
    DRAWS = 16                  # counters that go through the rounds side by side, as vectors; each gives four words

cdef struct Key:
    uint32_t low, high

cdef inline void philox(uint32_t[4][DRAWS] c, Key key, int draws) noexcept nogil:
    """The four words of each counter (c[0][g], ..., c[3][g]), in place."""
    cdef uint32_t p[DRAWS]      # the high words of the products: apart from the low ones, they need fewer shuffles of vectors
    cdef uint32_t q[DRAWS]
    cdef uint32_t a, b
    cdef int r, g
    for r in range(10):
        for g in range(draws):
            p[g] = <uint32_t> ((<uint64_t> 0xD2511F53U * c[0][g]) >> 32)
            q[g] = <uint32_t> ((<uint64_t> 0xCD9E8D57U * c[2][g]) >> 32)
        for g in range(draws):
            a = q[g] ^ c[1][g] ^ key.low
            b = p[g] ^ c[3][g] ^ key.high
            c[1][g], c[3][g] = 0xCD9E8D57U * c[2][g], 0xD2511F53U * c[0][g]
            c[0][g], c[2][g] = a, b
        key.low += 0x9E3779B9U
        key.high += 0xBB67AE85U


cdef inline Key key_of(uint64_t seed, int purpose, uint64_t update, Py_ssize_t op) noexcept nogil:
    """The key of the numbers of one op in one update."""
    cdef uint32_t c[4][DRAWS]
    cdef Key key
    key.low, key.high = <uint32_t> seed, <uint32_t> (seed >> 32)
    c[0][0], c[1][0], c[2][0], c[3][0] = <uint32_t> update, <uint32_t> (update >> 32), <uint32_t> op, <uint32_t> purpose
    philox(c, key, 1)
    key.low, key.high = c[0][0], c[1][0]
    return key


cdef inline void set_dropout(Instruction* i, double rate, bint alpha) noexcept nogil:
    """What a dropout of this rate multiplies by and adds. Alpha dropout keeps the mean 0 and the variance 1 of selu's values.

    Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural networks (2017): what goes becomes the limit of selu, and
    a * x + b makes the mean and the variance what they were.
    """
    cdef double limit = -1.7580993408473768600, a = 1 / sqrt((1 - rate) * (1 + rate * limit * limit))
    i.limit = <uint32_t> (rate * 4294967296.0)
    i.number, i.kept, i.dropped = <real> (1 / (1 - rate)), 0, 0
    if alpha:
        i.number, i.kept, i.dropped = <real> a, <real> (-a * rate * limit), <real> (a * (1 - rate) * limit)


cdef inline void words_of(uint32_t[4][DRAWS] c, Key key, Py_ssize_t row, Py_ssize_t block) noexcept nogil:
    """The words of a row's columns from 4 * DRAWS * block on, c[s][g] that of column s * DRAWS + g."""
    cdef int g
    for g in range(DRAWS):
        c[0][g] = <uint32_t> (block * DRAWS + g)
        c[1][g] = <uint32_t> row
        c[2][g] = <uint32_t> (row >> 32)
        c[3][g] = 0
    philox(c, key, DRAWS)


cdef inline void draw_mask(Key key, Py_ssize_t row, const Instruction* i, Range columns, real[::1] work, Py_ssize_t mask) noexcept nogil:
    """The mask of a row of dropout, its columns from `mask` on: kept, which is i.number, where a word is not below i.limit.

    Column j has word (j // 16) % 4 of the counter (16 * (j // 64) + j % 16, row).
    """
    cdef uint32_t c[4][DRAWS]
    cdef real drawn[4 * DRAWS]
    cdef Py_ssize_t block, j
    cdef uint32_t limit = i.limit
    cdef real number = i.number
    cdef int g, s
    for block in range(columns.first // (4 * DRAWS), ceil_div(columns.end, 4 * DRAWS)):
        words_of(c, key, row, block)
        for s in range(4):
            for g in range(DRAWS):
                drawn[s * DRAWS + g] = <real> <int> (c[s][g] >= limit) * number       # no branch: nobody foresees it
        for j in range(larger(columns.first, block * 4 * DRAWS), smaller(columns.end, (block + 1) * 4 * DRAWS)):
            work[mask + j] = drawn[j - block * 4 * DRAWS]


def shuffle(int32_t[::1] order, const uint32_t[::1] words):
    """Make the order (n,) a permutation of 0 .. n - 1: its last k places are drawn by the words (k,).

    The places before them must already be a permutation of 0 .. n - k - 1.
    Source: the inside-out Fisher-Yates shuffle; Lemire, Fast random integer generation (2019).
    """
    cdef Py_ssize_t i, j, first = order.shape[0] - words.shape[0]
    if first < 0:
        raise ValueError(f"expected at most {len(order)} words, got {len(words)}")
    with nogil:
        for i in range(first, order.shape[0]):
            j = <Py_ssize_t> ((<uint64_t> words[i - first] * <uint64_t> (i + 1)) >> 32)
            order[i] = order[j]
            order[j] = <int32_t> i
