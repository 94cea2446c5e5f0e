# What a call needs of a program, checked and laid out.

# Columns of the layer table: those of Program.layers, then where the layer's rows lie in the work arena.
# Row 0 is the input, so that row l is layer l as in the textbook.
cdef enum:
    INPUTS, OUTPUTS, ACTIVATION, WEIGHTS, BIASES, H, DZ, STRIDE
    COLUMNS


def _table(program, Py_ssize_t rows, bint with_dz):
    """The layer table for a work arena of `rows` rows, and that arena's size; checks the program."""
    layers = program.layers
    cdef int64_t[:, ::1] columns = layers
    cdef int64_t[:, ::1] table = np.zeros((len(layers) + 1, COLUMNS), np.int64)
    cdef Py_ssize_t l, j, size = 0, end = len(program.parameters) - MAX_LANES
    cdef Py_ssize_t width = 4 if program.parameters.dtype == np.float32 else 8
    if not 0 < len(layers) or columns.shape[1] != BIASES + 1:
        raise ValueError(f"expected a table of layers (L, {BIASES + 1}), got {layers.shape}")
    table[0, OUTPUTS] = columns[0, INPUTS]
    for l in range(1, table.shape[0]):
        for j in range(BIASES + 1):
            table[l, j] = columns[l - 1, j]
        if not (table[l, INPUTS] == table[l - 1, OUTPUTS] > 0 and 0 < table[l, OUTPUTS] < 1 << 31
                and 0 <= table[l, ACTIVATION] < ACTIVATIONS
                and 0 <= table[l, WEIGHTS] <= end - table[l, INPUTS] * table[l, OUTPUTS]
                and 0 <= table[l, BIASES] <= end - table[l, OUTPUTS]):
            raise ValueError(f"layer {l} of the program does not fit: {list(table[l, :BIASES + 1])}")
    for l in range(table.shape[0]):
        table[l, STRIDE] = padded(table[l, OUTPUTS])
        if table[l, STRIDE] * width % 1024 == 0:    # rows a power of two apart would share a cache set
            table[l, STRIDE] += 16
        table[l, H] = size
        size += rows * table[l, STRIDE]
        if with_dz:
            table[l, DZ] = size
            size += rows * table[l, STRIDE] if l else 0
    return np.asarray(table), padded(size)


def _scratch_size(program):
    """Elements of a thread's own scratch: a turned group of dz rows and its product, or a block of dW."""
    widest = int(program.layers[:, OUTPUTS].max())
    return PACKED + max((widest + TURNED_ROWS) * MAX_LANES, GRADIENT_ROWS * GRADIENT_COLUMNS, widest) + MAX_LANES


def _zeros(size, dtype):
    """Zeros that start on a cache line."""
    memory = np.zeros(size * dtype.itemsize + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first:first + size * dtype.itemsize].view(dtype)


cdef class Arena:
    """Memory that predictions work in: a view of the program's dtype."""
    cdef float[::1] view32
    cdef double[::1] view64
    cdef Py_ssize_t size

    def __init__(self, Py_ssize_t size, dtype):
        self.size = size
        if dtype == np.float32:
            self.view32 = _zeros(size, dtype)
        else:
            self.view64 = _zeros(size, dtype)


cdef class Plan:
    """What forward needs of a program, checked and laid out once; kept in program.plan."""
    cdef object layers, parameters, dtype
    cdef const float[::1] parameters32, slopes32        # views of the program's dtype
    cdef const double[::1] parameters64, slopes64
    cdef const int64_t[:, ::1] table
    cdef object center          # the program's, or None, and views of it and of its factor
    cdef const double[::1] centers, factors
    cdef list idle              # arenas that no call is using
    cdef object learning        # the same of training, or None
    cdef Py_ssize_t work_size   # of one thread
    cdef int kind, callers      # calls under way
    cdef double scale, flops    # operations of one row

    def __init__(self, program):
        self.layers, self.parameters, self.dtype = program.layers, program.parameters, _dtype(program)
        self.kind = FLOAT32 if self.dtype == np.float32 else FLOAT64
        self.table, self.work_size = _table(program, FORWARD_ROWS, False)
        self.work_size += PACKED
        slopes = np.concatenate([[0], program.slopes]).astype(self.dtype)
        if self.kind == FLOAT32:
            self.parameters32, self.slopes32 = self.parameters, slopes
        else:
            self.parameters64, self.slopes64 = self.parameters, slopes
        self.scale, self.center = program.input_scale, program.center
        if self.center is not None:
            inputs = (int(program.layers[0, INPUTS]),)
            self.centers = _is(self.center, "center", np.float64, inputs)
            self.factors = _is(program.factor, "factor", np.float64, inputs)
        self.flops = 2.0 * float((program.layers[:, INPUTS] * program.layers[:, OUTPUTS]).sum())
        self.idle = []

    def __reduce__(self):       # a copied or pickled program makes its own
        return type(None), ()


cdef Plan _plan(program):
    plan = program.plan
    if type(plan) is not Plan or (<Plan> plan).layers is not program.layers or (
            (<Plan> plan).parameters is not program.parameters) or (<Plan> plan).center is not program.center:
        plan = program.plan = Plan(program)
    return plan
