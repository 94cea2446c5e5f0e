# A plan: a program's ops compiled into tapes. What depends on shapes is decided here, and stands in the tape as data.

cdef inline bint is_elementwise(int kind) noexcept:
    return kind == ACTIVATE or kind == DROPOUT or kind == ADD or kind == COLUMN_NORM or is_columnwise(kind)

cdef inline bint is_rowwise(int kind) noexcept:
    """Whether it takes whole rows as they are: no threads share a row of its columns."""
    return kind == SOFTMAX or kind == ROW_NORM or kind == EMBED


cdef class Plan:
    """What an engine knows of a program, checked; kept in program.plan."""
    cdef object ops, blocks, parameters, center, numbers_of_loss    # the program's, to see whether they are still the same
    cdef const real[::1] weights                    # views of them
    cdef const double[::1] centers, factors, loss_numbers
    cdef list table, users                          # of each op: its columns in Program.ops, and the ops that read it
    cdef object numbers, momenta, block_table, shown
    cdef object penalties, own_factors  # the program's, as the blocks have them
    cdef object memory          # of the blocks,
    cdef Weights* of            # which say what is their own
    cdef Py_ssize_t blocks_count, block_rows, block_parts, column_sums
    cdef list cuts              # how threads share each value
    cdef Tape prediction
    cdef Tape by_panels         # that of many rows, once somebody has asked for it
    cdef dict tapes             # some of other calls, by what they depend on
    cdef list idle              # regions that no prediction is using,
    cdef Region region          # and that of the latest training, or None where one is under way
    cdef Py_ssize_t inputs, outputs, targets
    cdef bint direct            # whether only DENSE reads h_0
    cdef int loss               # that was checked with the ops
    cdef Py_ssize_t most_pieces         # of a layer that is summed over: as many threads can share it
    cdef Py_ssize_t scratch     # elements that a thread of a training needs for itself
    cdef double scale, flops    # operations of one row
    cdef Py_ssize_t exchanged   # numbers of it that are sums over neurons: threads that share those exchange them

    def __init__(self, program):
        check(program, DTYPE, ACTIVATIONS, LOSSES)
        self.ops, self.blocks, self.parameters = program.ops, program.blocks, program.parameters
        self.table, self.numbers, self.block_table = program.ops.tolist(), program.numbers.tolist(), program.blocks.tolist()
        self.shown, self.momenta = program.layers.tolist(), program.momenta.tolist()
        self.users = [[] for _ in self.table]
        for v, op in enumerate(self.table[1:], 1):
            self.users[op[SOURCE]].append(v)
            if op[KIND] == ADD:
                self.users[op[OTHER]].append(v)
        self.cuts = cuts_of(self)
        self.weights, self.loss, self.targets = self.parameters, program.loss, program.targets
        self.numbers_of_loss = self.loss_numbers = program.loss_numbers
        self.scale, self.center = program.input_scale, program.center
        if self.center is not None:
            self.centers, self.factors = self.center, program.factor
        self.inputs, self.outputs = self.table[0][WIDTH], self.table[len(self.table) - 1][WIDTH]
        self.flops = 2.0 * sum(self.width(op[SOURCE]) * op[WIDTH] for op in self.table if op[KIND] == DENSE)
        self.exchanged = sum([op[WIDTH] for op in self.table if op[KIND] == DENSE])
        self.prediction = forward_tape(self, FORWARD_ROWS, program.loss, False)
        self.direct = all(self.kind(u) == DENSE for v in range(len(self.table)) if self.prediction.is_input[v]
                          for u in self.users[v] if not self.prediction.is_input[u])
        self.idle, self.tapes = [], {}
        self.most_pieces = max([self.cuts[op[SOURCE]]['pieces'] for op in self.table if op[KIND] == DENSE])
        self.scratch = scratch_of(self)
        self.lay_out_blocks()

    cdef lay_out_blocks(self):
        """Where the blocks lie, and how threads share their rows."""
        cdef Weights* of
        cdef Py_ssize_t b
        self.blocks_count = len(self.block_table)
        self.memory = np.zeros(self.blocks_count * sizeof(Weights), np.uint8)
        self.of = <Weights*> <char*> cnp.PyArray_DATA(self.memory)
        for b, (start, rows, columns) in enumerate(self.block_table):
            of = self.of + b
            of.start, of.rows, of.columns, of.first_row = start, rows, columns, self.block_rows
            of.cut.neurons, of.cut.pieces, of.rate, of.epsilon, of.decay = rows, 1, 1, 1, 1
            self.block_rows += rows
        for v, op in enumerate(self.table):
            for b in range(op[BLOCK], op[BLOCK] + len(shapes(self.table, v))):
                of = self.of + b
                of.fixed, of.by_pieces = op[KIND] == COLUMN_NORM, is_columnwise(op[KIND])
                if of.by_pieces:
                    of.cut = self.cuts[v]
            if op[KIND] == DENSE:
                self.of[<Py_ssize_t> op[BLOCK]].cut = self.cuts[op[SOURCE]]
        for b in range(self.blocks_count):
            of = self.of + b
            of.first_part, of.parts = self.block_parts, of.cut.pieces if of.by_pieces else of.rows
            self.block_parts += of.parts

    cdef look_at_blocks(self, program):
        """Take the blocks' penalties and factors, if they are others than before."""
        cdef Weights* of
        cdef Py_ssize_t b, n = self.blocks_count
        if program.penalties is self.penalties and program.factors is self.own_factors:
            return
        check_own(program)
        if program.penalties is not self.penalties:
            self.tapes.clear()
        self.penalties, self.own_factors, self.column_sums = program.penalties, program.factors, 0
        penalties = [(0, 0, 0)] * n if self.penalties is None else self.penalties.tolist()
        factors = [(1, 1, 1)] * n if self.own_factors is None else self.own_factors.tolist()
        for b in range(n):
            of = self.of + b
            of.l1, of.l2, of.max_norm = penalties[b]
            of.rate, of.epsilon, of.decay = factors[b]
            of.penalized, of.has_factors = of.l1 > 0 or of.l2 > 0, self.own_factors is not None
            of.first_sum = self.column_sums
            if of.max_norm > 0:
                self.column_sums += of.cut.pieces * of.columns

    def __reduce__(self):       # a copied or pickled program makes its own
        return type(None), ()

    cdef Tape remember(self, key, Tape tape):
        """The tape, which calls that depend on the same find from now on."""
        if len(self.tapes) >= TAPES:
            self.tapes.clear()
        self.tapes[key] = tape
        return tape

    cdef Py_ssize_t width(self, v):
        return self.table[v][WIDTH]

    cdef Py_ssize_t source(self, v):
        return self.table[v][SOURCE]

    cdef int kind(self, v):
        return self.table[v][KIND]

    cdef bint read_once(self, v):
        """Whether one op alone reads a value."""
        return len(self.users[v]) == 1

    cdef Instruction* write(self, Tape tape, int kind, v) except NULL:
        """An instruction for op v, with what the program says of it."""
        cdef Instruction* i = tape.append(kind, v)
        op = self.table[v]
        i.inputs, i.outputs, i.code = self.width(op[SOURCE]), op[WIDTH], op[CODE]
        i.cut_in, i.cut_out = self.cuts[op[SOURCE]], self.cuts[v]
        i.number = <real> <double> self.numbers[v]
        starts = self.starts(v)
        i.block, i.weights, i.biases = op[BLOCK], starts[0], starts[1]
        if op[KIND] == EMBED:
            i.codes = self.block_table[op[BLOCK]][1]
        i.epsilon, i.momentum = self.numbers[v], self.momenta[v]
        if op[KIND] == DROPOUT:
            set_dropout(i, self.numbers[v], op[CODE] == ALPHA)
        return i

    cdef list starts(self, v):
        """Where the two blocks of an op begin in the parameters, -1 for one that it does not have."""
        block = self.table[v][BLOCK]
        found = [self.block_table[block + k][0] for k in range(len(shapes(self.table, v)))]
        return found + [-1] * (2 - len(found))

    cdef list with_weights(self):
        """Of each value, whether parameters lie at or below it: its gradient is needed."""
        found = [False]
        for op in self.table[1:]:
            found.append(op[KIND] == DENSE or is_columnwise(op[KIND]) or op[KIND] == EMBED or found[op[SOURCE]] or (
                op[KIND] == ADD and found[op[OTHER]]))
        return found


cdef list cuts_of(Plan plan):
    """How each value is cut, by its width and that of the layers that sum over it: all that go on elementwise alike."""
    alike = []                  # of each value, the values that it shares its columns with
    for v, op in enumerate(plan.table):
        group = [v]
        for s in ([op[SOURCE]] if op[KIND] not in (INPUT, DENSE, EMBED) else []) + [op[OTHER]] * (op[KIND] == ADD):
            if alike[s] is not group:
                group.extend(alike[s])
                for u in alike[s]:
                    if u < v:
                        alike[u] = group
        alike.append(group)
    return [cut_of(plan.width(v), max([plan.width(u) for s in group for u in plan.users[s] if plan.kind(u) == DENSE] or [0]))
            for v, group in enumerate(alike)]


cdef Plan plan_of(program):
    plan = program.plan
    if type(plan) is not Plan or (<Plan> plan).ops is not program.ops or (<Plan> plan).blocks is not program.blocks or (
            (<Plan> plan).parameters is not program.parameters) or (<Plan> plan).center is not program.center:
        plan = program.plan = Plan(program)
    return plan


cdef Plan plan_of_loss(program):
    """The same for a call that judges, whose loss must be the one that was checked."""
    cdef Plan plan = plan_of(program)
    if plan.loss != program.loss or plan.numbers_of_loss is not program.loss_numbers:
        program.plan = None
        plan = plan_of(program)
    return plan


# --- prediction -------------------------------------------------------------------------------------------------

cdef Tape forward_tape(Plan plan, Py_ssize_t rows, int loss, bint judged):
    """All columns of every value, on the thread that has the rows. z of the output is kept where it is judged by it."""
    cdef Tape tape = Tape(len(plan.table) + 2, rows, rows)
    cdef Instruction* i
    cdef Matrix z
    last = len(plan.table) - 1
    tape.places = [tape.room(plan.inputs)]
    tape.is_input, tape.tells = [True], [True]
    plan.write(tape, GATHER, 0).target = tape.places[0]
    for v in range(1, last + 1):
        kind, s = plan.kind(v), plan.source(v)
        tape.is_input.append(kind == DROPOUT and tape.is_input[s])
        tape.tells.append(tape.tells[s] and (kind == DROPOUT or kind == ADD or kind == ROW_NORM or kind == COLUMN_NORM
                                             or kind == EMBED or is_columnwise(kind)))
        if kind == DROPOUT:                 # off
            tape.places.append(tape.places[s])
            continue
        judged_by_z = judged and v == last and cancels(loss)
        overwrites = kind in (ACTIVATE, SOFTMAX, ROW_NORM, SCALE, PRELU, COLUMN_NORM) and (
            plan.kind(s) in (DENSE, ROW_NORM, COLUMN_NORM)
            and plan.read_once(s) and not judged_by_z and s not in plan.shown)
        if overwrites:
            tape.places.append(tape.places[s])
        else:
            tape.places.append(tape.room(plan.width(v)))
        if judged_by_z and kind == SOFTMAX and loss == CROSS_ENTROPY:
            continue                        # with the loss
        i = plan.write(tape, MULTIPLY if kind == DENSE else kind, v)
        i.whole, i.reads_input, i.tells = True, tape.is_input[s], tape.tells[s]
        i.source, i.target = tape.places[s], tape.places[v]
        if kind == ADD:
            i.other = tape.places[plan.table[v][OTHER]]
    tape.output = tape.places[last]
    if judged:
        i = plan.write(tape, JUDGE, last)
        z = tape.places[plan.source(last)]
        i.source, i.target, i.other = z, tape.places[last], tape.room(plan.outputs)
    mark_meetings(tape)
    return tape


cdef bint goes_by_panels(Plan plan, Py_ssize_t rows):
    """Whether a prediction of so many rows copies the weights first."""
    cdef double weights = plan.flops / 2
    return (rows >= PANEL_ROWS and weights >= PANEL_WEIGHTS) or (rows >= WIDE_PANEL_ROWS and weights >= WIDE_PANEL_WEIGHTS)


cdef Tape panel_tape(Plan plan, int loss, bint judged):
    """forward_tape for many rows: W lies in panels, in a copy of it and b that `lay_panels` makes."""
    cdef Tape tape = forward_tape(plan, PANEL_FORWARD_ROWS, loss, judged)
    cdef Instruction* i
    cdef Py_ssize_t n
    tape.panels = 16
    for n in range(tape.length):
        i = tape.start + n
        if i.kind == MULTIPLY:
            i.panels = tape.panels
            tape.panels += (i.inputs + 1) * padded(i.outputs)
    return tape


cdef void mark_meetings(Tape tape):
    """Where threads that share one row must wait: before what reads other threads' columns, and after what one thread does.

    ACTIVATE and what is columnwise read only columns that the same thread has written; h_0 each thread has whole.
    """
    cdef Py_ssize_t n
    cdef int kind, after
    for n in range(1, tape.length):
        kind = tape.start[n].kind
        after = tape.start[n + 1].kind if n + 1 < tape.length else MULTIPLY
        tape.start[n].meets = not (after == ACTIVATE or after == COLUMN_NORM or is_columnwise(after)) or is_rowwise(kind) or kind == ADD
