# A tape: the instructions that a call's threads walk, and what they are about. Plain C, made by plan.pxi.

cdef enum:                      # kinds of ops, as in fastnn/program.py
    INPUT, DENSE, ACTIVATE, SOFTMAX, DROPOUT, ADD, SCALE, ROW_NORM, PRELU, BLEND, COLUMN_NORM, EMBED
    KINDS                       # how many there are

cdef enum:                      # columns of Program.ops
    KIND, SOURCE, OTHER, WIDTH, BLOCK, CODE
    OP_COLUMNS

# Kinds of instructions; those of ops stand for their forward side. What a kind reads and writes: source, other -> target.
cdef enum:
    GATHER = KINDS              # rows of the data -> h_0
    MULTIPLY                    # h -> z = h W + b, in prediction
    SUM                         # h -> sums, over this thread's pieces of h; the target tells how far rows are apart
    MEET                        # a barrier
    COMBINE                     # all sums -> h = g(z); z is added up in source where all threads need it
    JUDGE                       # z, and h where an op has made it -> h in target, d in other, losses
    TALLY                       # losses of the rows at hand -> their sums, by the first thread
    TAKE                        # rows of the call -> d
    STATISTICS                  # x -> in other, mean and scale of each column over the batch, and the running ones
    BACK                        # dz -> dh = dz W^T
    STATISTICS_BACK             # d in target, h -> in other, their sums over the batch
    ACTIVATE_BACK, SOFTMAX_BACK, DROPOUT_BACK, ROW_NORM_BACK, COLUMN_NORM_BACK      # what is read beside it; d in target, in place
    SCALE_BACK, PRELU_BACK, BLEND_BACK              # x; d in target, in place; the sums of the parameters' gradients in other
    PASS                        # an op's d -> that of a value that others read as well
    EXCHANGE                    # a barrier, then the others' columns (or rows) -> target
    LEARN                       # h, and dz in other -> W and b, or their gradients
    EMBED_BACK                  # an op's d in source -> that of x, whose codes have none
    LEARN_TABLE                 # x, and d in other -> the table, or its gradient; the sums of its rows in target
    LEARN_COLUMNS               # sums over rows -> gamma and beta, slopes, ..., or their gradients
    UPDATE                      # gradients that LEARN has left, and norms of all -> W and b
    UPDATE_COLUMNS              # the same of gamma and beta, slopes, ...,
    UPDATE_TABLE                # and of a table
    MEASURE                     # W -> sums of the squares of its columns
    CONSTRAIN                   # those -> W, its columns no longer than its max_norm
    GIVE                        # d of h_0, or the output -> the call
    # ACTIVATE, SOFTMAX, SCALE, PRELU, BLEND, COLUMN_NORM, EMBED: x -> h; DROPOUT: x -> h, the mask in other;
    # ADD: x, and y in other -> h; ROW_NORM: x -> h, one by the deviations in other

cdef struct Cut:                # a layer's neurons, in pieces
    Py_ssize_t neurons, pieces

cdef struct Weights:            # a block of parameters, and what is its own
    Py_ssize_t start, rows, columns
    Py_ssize_t first_row        # among the rows of all blocks
    Cut cut                     # of its rows, or of its columns, as threads share them
    bint by_pieces              # of its columns
    bint fixed                  # running statistics: no optimizer updates them
    Py_ssize_t first_part, parts        # whose squares are had, where updates wait for norms: among those of all blocks
    bint has_factors            # on an optimizer's numbers:
    real rate, epsilon, decay
    bint penalized
    double l1, l2
    double max_norm             # of a column; 0: none
    Py_ssize_t first_sum        # among the sums of MEASURE

cdef struct Instruction:
    int kind, code              # code: the activation, or EMBED's column
    bint whole                  # all columns on every thread, else each its own
    bint by_rows                # each thread some rows of all columns: COMBINE, JUDGE, EXCHANGE of a wide output
    bint alone                  # a layer so small that every thread runs it for itself
    bint add                    # to what is in the target
    bint by_batch               # COLUMN_NORM and its backward: by the batch's statistics in other, else the running ones
    bint ends_sweep             # what follows waits until all blocks of the batch have come so far
    bint reads_input            # its source is h_0, of which each thread that shares one row has its own
    bint tells                  # z is finite only if the row of data is: nothing between them loses a NaN or infinity
    bint meets                  # in the prediction of one row that threads share: they meet after it
    Py_ssize_t op               # which of the program's ops
    Py_ssize_t inputs, outputs
    Py_ssize_t codes            # rows of EMBED's table
    Cut cut_in, cut_out         # how the threads share them
    Py_ssize_t weights, biases  # the op's first block and its second in the parameters; -1: it has none
    Py_ssize_t block            # the number of the first among the blocks; the second is the next
    Py_ssize_t panels           # not 0: where W lies in panels, and b behind it, in a copy of the parameters
    Matrix source, other, target        # in a thread's part of the work arena
    double epsilon, momentum    # of ROW_NORM and COLUMN_NORM; the share of a batch in the running statistics
    real number                 # the slope, or what dropout multiplies by
    real kept, dropped          # what alpha dropout adds to what stays, and to what goes
    uint32_t limit              # below which a random word drops

cdef struct Block:              # one thread's rows at hand
    Py_ssize_t start, rows      # from which row of the call on, how many
    Py_ssize_t first, batch     # which of its batch is the first, and that batch's rows
    Py_ssize_t at               # which row of each value's room is the first
    double total                # what its rows weigh together
    double weight               # of each row's error in the gradient, where rows have none of their own
    real c[COEFFICIENTS]        # of the optimizer
    uint64_t update             # its number
    Py_ssize_t losses_from      # where the losses of these rows go

cdef struct Result:
    double loss                 # the sum over rows of a row's loss
    double agreeing             # rows with the target's winner, or right outputs: see agreement()

cdef struct Augmentation

cdef struct Call:               # the same for all threads and steps
    const Instruction* tape
    Py_ssize_t length, outputs, targets_of_row
    const double* numbers       # of the loss,
    Py_ssize_t count            # so many
    Data data
    const int32_t* order        # which of the data's rows are taken; NULL: all, as they lie
    Py_ssize_t samples, batch_size
    int loss, optimizer, judge  # judge: LABELS, TARGETS, OUTPUT_GRADIENT, OUTPUT
    bint drops                  # whether dropout is on, and the batch's statistics count
    bint keeps                  # whether values keep all rows of a batch
    const Augmentation* augmentation    # of rows to learn from; NULL: they are taken as they are
    bint learning               # else the gradients of one batch are the result
    const int64_t* labels
    const real* targets
    const double* weights       # of the rows; NULL: all alike
    const double* coefficients  # (steps, COEFFICIENTS)
    real* given                 # what GIVE fills
    uint64_t seed, update       # of the call's first step, for random numbers,
    Py_ssize_t first_row        # and which row of its batch the first is
    Py_ssize_t slot             # between two slots of the optimizer's state
    const Weights* blocks       # of parameters,
    Py_ssize_t blocks_count, block_rows, block_parts         # so many, of so many rows together
    int rule                    # what of DECAYS to AVERAGES there is
    bint plain                  # whether a gradient is complete as it is,
    bint waits                  # or the update waits for all of them
    Py_ssize_t accumulated      # the slot of the sum of gradients, in elements of the state
    real* averages              # of the weights, which else are the parameters
    double* penalties           # NORM_SUMS of each row of all blocks, times rows of the batch, over steps; NULL: none
    double* squares             # the sum of the squares of each row's gradients
    double* columns             # and of columns of W: see MEASURE
    double* losses              # a number for each row at hand, and
    double* agreeing            # what agrees of it
    Result* result              # their sums
    Py_ssize_t most_rows        # rows at hand at most
    Matrix output               # of a prediction: where it lies,
    real* out                   # and where it goes


cdef class Tape:
    """Instructions, and the memory that one thread's values take at so many rows."""
    cdef object memory
    cdef Instruction* start
    cdef Py_ssize_t length, size
    cdef Py_ssize_t rows, kept          # at hand at most, and that values keep: more where a batch is swept over again
    cdef Py_ssize_t threads, set        # how long a set of sums is for so many threads, the latest
    cdef Py_ssize_t panels      # elements of a copy of the parameters, if W lies in panels there
    cdef list places, is_input  # of each value, in prediction: where it lies, and whether it is h_0 itself
    cdef list tells             # and whether it is finite only if h_0 is
    cdef Matrix output          # the place of the last

    def __init__(self, Py_ssize_t most, Py_ssize_t rows, Py_ssize_t kept):
        self.memory = np.zeros(most * sizeof(Instruction), np.uint8)
        self.start = <Instruction*> <char*> cnp.PyArray_DATA(self.memory)
        self.rows, self.kept = rows, kept

    cdef Matrix room(self, Py_ssize_t width):
        """Rows of a value."""
        cdef Matrix place = matrix(self.size, stride_of(width))
        self.size += self.kept * place.row
        return place

    cdef Matrix lines(self, Py_ssize_t width):
        """Two rows of a value for each block that is kept, however many rows that has: see `lines_here`."""
        cdef Matrix place = matrix(self.size, padded(width))
        self.size += ceil_div(self.kept, CHUNK) * 2 * place.row
        return place

    cdef Matrix scratch(self, Py_ssize_t size):
        """What an instruction needs while it works on the rows at hand, whichever they are."""
        cdef Matrix place = matrix(self.size, 0)
        self.size += padded(size)
        return place

    cdef Matrix doubles(self, Py_ssize_t width):
        """What a thread keeps of a batch's columns: see statistics.pxi."""
        cdef Matrix place = matrix(self.size, 0)
        self.size += LINES * padded(width) * <Py_ssize_t> (sizeof(double) // sizeof(real))
        return place

    cdef Instruction* append(self, int kind, Py_ssize_t op) except NULL:
        if self.length * sizeof(Instruction) >= <size_t> len(self.memory):
            raise AssertionError("expected a longer tape")
        cdef Instruction* i = self.start + self.length
        self.length += 1
        i.kind, i.op = kind, op
        return i


cdef inline Py_ssize_t stride_of(Py_ssize_t width) noexcept nogil:
    """Between rows: whole vectors, and not a power of two, or they would share a set of the cache."""
    cdef Py_ssize_t stride = padded(width)
    return stride + 16 if stride * <Py_ssize_t> sizeof(real) % 1024 == 0 else stride
