# Every tuned number, with its reason. CHUNK, FEW, PART and NARROW are part of the numerics contract: they decide bits.

# The tile of each instruction set: bytes of a vector, vectors across. With TILE_ROWS, its sums take 24 of 32 registers, or 12 of
# 16. The wider a tile, the fewer loads a multiply-add: 10 for 24 of them instead of 8 for 12.
cdef extern from *:
    """
    #if defined(__AVX512F__)
    #define FASTNN_VECTOR 64
    #define FASTNN_ACROSS 4
    #elif defined(__AVX__)
    #define FASTNN_VECTOR 32
    #define FASTNN_ACROSS 2
    #else
    #define FASTNN_VECTOR 16
    #define FASTNN_ACROSS 2
    #endif
    """
    enum:
        VECTOR "FASTNN_VECTOR"
        ACROSS "FASTNN_ACROSS"

cdef enum:                      # of the register tile and the products
    TILE_ROWS = 6
    MAX_LANES = 64              # of any tile, and of what is turned at a time
    ROW_LANES = 96              # of a tile of one row at most, six vectors, which needs more columns to fill the registers
    CHUNK = 256                 # of a summed index: a chain of more would round more, and A's chunk leaves the L1
    ROW_BLOCK = 64 * TILE_ROWS           # rows of A that stay in the cache while B's panels pass,
    WIDE = 8 * MAX_LANES        # and columns of C while the chunks pass
    WAY = 4096                  # bytes after which the L1's sets begin anew: where rows of A^T are multiples of it apart,
    COPY_COLUMNS = 512          # a copy pays, if there are so many columns of C. A network's own rows never are: stride_of
    COPIED = CHUNK * (ROW_BLOCK + 16)    # elements of it
    PACK_ROWS = 48              # from which on a panel of B is copied first: the copy pays after eight tiles
    PACKED = CHUNK * MAX_LANES  # elements of a copied panel
    TRANSPOSED = 64             # columns that are transposed at a time: four rows of them stay in the L1
    TRANSPOSED_ROWS = 96        # of a block of D^T = W A^T before it is transposed back

cdef enum:                      # of a step of training
    GRADIENT_ROWS = 96          # of a block of dW between product and update: it stays in the L2
    GRADIENT_COLUMNS = 512
    MOST_REST = 10              # of its columns, beyond whole vectors, that are sooner had as rows of its transpose
    SMALL = 1 << 14             # multiplications of a layer, and a batch, that take less than a meeting of threads
    SHARED_OUTPUT = 1 << 15     # numbers of a block's output whose softmax and loss take longer than to exchange d
    GAP = 4096 + 80             # between what one thread and what two threads use: cores fetch ahead
    PASSED = 32                 # rows that are passed over column by column: more are too many streams for wide ones
    STRIP = 16                  # columns whose sums over rows, two each, stay in the registers
    SIDE = 16                   # rows of a narrow output that are judged side by side: whole vectors of every build,
    SHORT = 128                 # if it has no more columns: z, h, d and t of so many rows take the room of a panel, PACKED,
    FEW_SIDE = 4                # and there are as many rows: fewer are sooner done one by one
    AHEAD = 8                   # rows that are fetched before they are gathered

cdef enum:                      # pieces of a sum over neurons
    FEW = 16                    # neurons that stay one piece
    PART = 64                   # neurons of a piece at least, from eight pieces on
    NARROW = 64                 # outputs of a layer that does not need more than four threads
    MOST_WORKERS = 16           # threads that share a layer: more would sum up less than they exchange
    MOST_NODES = 20 * MOST_WORKERS      # subtrees of all threads, at most: of 2^31 neurons
    DEPTH = 40                  # of a tree of pieces, at most

cdef enum:
    KEPT = 1 << 16              # elements that training works in and the next one finds: a fit of a tiny net is as short as
                                # the page faults of new ones
    TAPES = 8                   # of a network that are kept: two of a fit, whose last batch is short, and some others
    FEW_ROWS = 6                # that one thread predicts sooner than it shares them
    UPDATED = 1 << 12           # weights of an update that a thread claims at least
    LOOKED = 1 << 17            # numbers that a thread claims at least to look at
    SPARSE_ROWS = 64            # of a product that a thread claims,
    SPARSE_AHEAD = 4            # and for how many numbers ahead W is fetched
    PANEL_ROWS = 512            # of a prediction, from which on a copy of the weights in panels pays for itself,
    PANEL_WEIGHTS = 1 << 18     # if there are so many: fewer lie in the L2 anyway
    WIDE_PANEL_ROWS = 64        # rows that are enough
    WIDE_PANEL_WEIGHTS = 1 << 22        # for weights that come from beyond the L3
    PANEL_FORWARD_ROWS = 48     # that a thread carries at a time by panels, which need no copy at any number of rows
    FORWARD_ROWS = 24           # that a thread carries through the network at a time: their h stay in the L1 and L2

# Floating-point operations that are worth another thread: some microseconds, which waking it takes.
cdef double WORK = 1 << 18      # of a prediction
cdef double STEP_WORK = 1 << 20 # of a step of training,
cdef double TRAVEL = 200        # and for each sum over neurons that threads exchange
cdef double PRODUCT_WORK = 1 << 19
# Of them a ns, at least, for an eighth of the time that work takes: so long helpers are waited for before it is dealt out,
cdef double PATIENCE = 400
cdef int64_t LONG_PATIENCE = 100000         # ns, what waking them takes; of longer ones a sixteenth: deep sleep takes longer
