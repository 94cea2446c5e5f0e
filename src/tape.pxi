# A tape: the instructions that a call's threads walk, and what they are about. Plain C, made by plan.pxi.

cdef enum:                      # kinds of ops, as in fastnn/program.py
    INPUT, DENSE, ACTIVATE, SOFTMAX, DROPOUT, ADD
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
    TAKE                        # rows of the call -> d
    BACK                        # dz -> dh = dz W^T
    ACTIVATE_BACK, SOFTMAX_BACK, DROPOUT_BACK       # what is read beside it; d in target, in place
    PASS                        # an op's d -> that of a value that others read as well
    EXCHANGE                    # a barrier, then the others' columns (or rows) -> target
    LEARN                       # h, and dz in other -> W and b, or their gradients
    GIVE                        # d of h_0, or the output -> the call
    # ACTIVATE, SOFTMAX: z -> h; DROPOUT: x -> h, the mask in other; ADD: x, and y in other -> h

cdef struct Cut:                # a layer's neurons, in pieces
    Py_ssize_t neurons, pieces

cdef struct Instruction:
    int kind, code              # code: the activation
    bint whole                  # all columns on every thread, else each its own
    bint by_rows                # each thread some rows of all columns: COMBINE, JUDGE, EXCHANGE of a wide output
    bint alone                  # a layer so small that every thread runs it for itself
    bint add                    # to what is in the target
    bint reads_input            # its source is h_0, of which each thread that shares one row has its own
    bint meets                  # in the prediction of one row that threads share: they meet after it
    Py_ssize_t op               # which of the program's ops
    Py_ssize_t inputs, outputs
    Cut cut_in, cut_out         # how the threads share them
    Py_ssize_t weights, biases  # in the parameters
    Py_ssize_t panels           # not 0: where W lies in panels, and b behind it, in a copy of the parameters
    Matrix source, other, target        # in a thread's part of the work arena
    real number                 # the slope, or what dropout multiplies by
    uint32_t limit              # below which a random word drops

cdef struct Block:              # one thread's rows at hand
    Py_ssize_t start, rows      # from which row of the call on, how many
    Py_ssize_t first, batch     # which of its batch is the first, and that batch's rows
    double weight               # of each row's error in the gradient, where rows have none of their own
    real c[COEFFICIENTS + 2]    # of the optimizer
    uint64_t update             # its number
    Py_ssize_t losses_from      # where the losses of these rows go

cdef struct Result:
    double loss                 # the sum over rows of a row's loss
    double agreeing             # rows with the target's winner, or right outputs: see agreement()

cdef struct Call:               # the same for all threads and steps
    const Instruction* tape
    Py_ssize_t length, outputs, targets_of_row
    const double* numbers       # of the loss,
    Py_ssize_t count            # so many
    Data data
    const int32_t* order        # which of the data's rows are taken; NULL: all, as they lie
    Py_ssize_t samples, batch_size
    int loss, optimizer, judge  # judge: LABELS, TARGETS, OUTPUT_GRADIENT, OUTPUT
    bint drops                  # whether dropout is on
    bint learning               # else the gradients of one batch are the result
    const int64_t* labels
    const real* targets
    const double* weights       # of the rows; NULL: all alike
    const double* coefficients  # (steps, COEFFICIENTS)
    real* given                 # what GIVE fills
    uint64_t seed, update       # of the call's first step, for random numbers,
    Py_ssize_t first_row        # and which row of its batch the first is
    Py_ssize_t slot             # between two slots of the optimizer's state
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
    cdef Py_ssize_t length, rows, size
    cdef Py_ssize_t threads, set        # how long a set of sums is for so many threads, the latest
    cdef Py_ssize_t panels      # elements of a copy of the parameters, if W lies in panels there
    cdef list places, is_input  # of each value, in prediction: where it lies, and whether it is h_0 itself
    cdef Matrix output          # the place of the last

    def __init__(self, Py_ssize_t most, Py_ssize_t rows):
        self.memory = np.zeros(most * sizeof(Instruction), np.uint8)
        self.start = <Instruction*> <char*> cnp.PyArray_DATA(self.memory)
        self.rows = rows

    cdef Matrix room(self, Py_ssize_t width):
        """Rows of a value."""
        cdef Matrix place = matrix(self.size, stride_of(width))
        self.size += self.rows * place.row
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
