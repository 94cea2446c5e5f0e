# A plan: a program's ops compiled into tapes. What depends on shapes is decided here, and stands in the tape as data.

cdef inline bint is_elementwise(int kind) noexcept:
    return kind == ACTIVATE or kind == DROPOUT or kind == ADD


cdef class Plan:
    """What an engine knows of a program, checked; kept in program.plan."""
    cdef object ops, blocks, parameters, center     # the program's, to see whether they are still the same
    cdef const real[::1] weights                    # views of them
    cdef const double[::1] centers, factors
    cdef list table, users                          # of each op: its columns in Program.ops, and the ops that read it
    cdef object numbers, block_table, shown
    cdef object penalties, own_factors  # the program's, as the blocks have them
    cdef object memory          # of the blocks,
    cdef Weights* of            # which say what is their own
    cdef Py_ssize_t blocks_count, block_rows, column_sums
    cdef list cuts              # how threads share each value
    cdef Tape prediction
    cdef Tape by_panels         # that of many rows, once somebody has asked for it
    cdef dict tapes             # some of other calls, by what they depend on
    cdef list idle              # regions that no prediction is using,
    cdef Region region          # and that of the latest training, or None where one is under way
    cdef Py_ssize_t inputs, outputs
    cdef bint direct            # whether only DENSE reads h_0
    cdef int loss               # that was checked with the ops
    cdef Py_ssize_t most_pieces         # of a layer that is summed over: as many threads can share it
    cdef Py_ssize_t scratch     # elements that a thread of a training needs for itself
    cdef double scale, flops    # operations of one row

    def __init__(self, program):
        check(program, DTYPE, ACTIVATIONS, LOSSES)
        self.ops, self.blocks, self.parameters = program.ops, program.blocks, program.parameters
        self.table, self.numbers, self.block_table = program.ops.tolist(), program.numbers.tolist(), program.blocks.tolist()
        self.shown = program.layers.tolist()
        self.users = [[] for _ in self.table]
        for v, op in enumerate(self.table[1:], 1):
            self.users[op[SOURCE]].append(v)
            if op[KIND] == ADD:
                self.users[op[OTHER]].append(v)
        self.cuts = cuts_of(self)
        self.weights, self.loss = self.parameters, program.loss
        self.scale, self.center = program.input_scale, program.center
        if self.center is not None:
            self.centers, self.factors = self.center, program.factor
        self.inputs, self.outputs = self.table[0][WIDTH], self.table[len(self.table) - 1][WIDTH]
        self.flops = 2.0 * sum(self.width(op[SOURCE]) * op[WIDTH] for op in self.table if op[KIND] == DENSE)
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
        for op in self.table:
            if op[KIND] == DENSE:
                self.of[<Py_ssize_t> op[BLOCK]].cut = self.cuts[op[SOURCE]]

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
        if op[KIND] == DENSE:
            i.block = op[BLOCK]
            i.weights, i.biases = self.block_table[op[BLOCK]][0], self.block_table[op[BLOCK] + 1][0]
        if op[KIND] == DROPOUT:
            i.limit = <uint32_t> <double> (self.numbers[v] * 4294967296.0)
            i.number = <real> (1.0 / (1.0 - <double> self.numbers[v]))
        return i

    cdef list with_weights(self):
        """Of each value, whether parameters lie at or below it: its gradient is needed."""
        found = [False]
        for op in self.table[1:]:
            found.append(op[KIND] == DENSE or found[op[SOURCE]] or (op[KIND] == ADD and found[op[OTHER]]))
        return found


cdef list cuts_of(Plan plan):
    """How each value is cut, by its width and that of the layers that sum over it: all that go on elementwise alike."""
    alike = []                  # of each value, the values that it shares its columns with
    for v, op in enumerate(plan.table):
        group = [v]
        for s in ([op[SOURCE]] if is_elementwise(op[KIND]) or op[KIND] == SOFTMAX else []) + [op[OTHER]] * (op[KIND] == ADD):
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
    if plan.loss != program.loss:
        program.plan = None
        plan = plan_of(program)
    return plan


# --- prediction -------------------------------------------------------------------------------------------------

cdef Tape forward_tape(Plan plan, Py_ssize_t rows, int loss, bint judged):
    """All columns of every value, on the thread that has the rows. z of the output is kept where it is judged by it."""
    cdef Tape tape = Tape(len(plan.table) + 2, rows)
    cdef Instruction* i
    cdef Matrix z
    last = len(plan.table) - 1
    tape.places = [tape.room(plan.inputs)]
    tape.is_input = [True]                     # of each value, whether it is h_0 itself
    plan.write(tape, GATHER, 0).target = tape.places[0]
    for v in range(1, last + 1):
        kind, s = plan.kind(v), plan.source(v)
        tape.is_input.append(kind == DROPOUT and tape.is_input[s])
        if kind == DROPOUT:                 # off
            tape.places.append(tape.places[s])
            continue
        judged_by_z = judged and v == last and cancels(loss)
        overwrites = kind in (ACTIVATE, SOFTMAX) and plan.kind(s) == DENSE and plan.read_once(s) and not judged_by_z and s not in plan.shown
        if overwrites:
            tape.places.append(tape.places[s])
        else:
            tape.places.append(tape.room(plan.width(v)))
        if judged_by_z and kind == SOFTMAX and loss == CROSS_ENTROPY:
            continue                        # with the loss
        i = plan.write(tape, MULTIPLY if kind == DENSE else kind, v)
        i.whole, i.reads_input = True, tape.is_input[s]
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
    """forward_tape for many rows: W lies in panels, in a copy of the parameters that `lay_panels` makes."""
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

    ACTIVATE reads only columns that the same thread has written; h_0 each thread has whole.
    """
    cdef Py_ssize_t n
    cdef int kind, after
    for n in range(1, tape.length):
        kind = tape.start[n].kind
        after = tape.start[n + 1].kind if n + 1 < tape.length else MULTIPLY
        tape.start[n].meets = after != ACTIVATE or kind == SOFTMAX or kind == ADD


# --- training ---------------------------------------------------------------------------------------------------

cdef class Learning:
    """A tape for training, in the making."""
    cdef Plan plan
    cdef Tape tape
    cdef list needs             # of each value: whether its gradient is needed,
    cdef list small             # whether it is a layer that every thread runs alone,
    cdef list h_whole           # whether every thread has all of its columns
    cdef list h, d, saved       # where it and its gradient lie, and what its backward reads beside them
    cdef list begun             # whether its d has something already,
    cdef list d_whole           # and whether every thread has all columns of that: only if it has those of h
    cdef bint drops             # whether dropout is on
    cdef bint by_rows           # whether threads share the rows of the output, since it is wide

    def __init__(self, Plan plan, Py_ssize_t rows, Py_ssize_t batch_size, bint drops):
        n = len(plan.table)
        self.plan, self.tape, self.drops = plan, Tape(15 * n + 6, rows), drops
        self.needs = plan.with_weights()
        self.small = [plan.kind(v) == DENSE and self.needs[plan.source(v)]
                      and batch_size * plan.width(plan.source(v)) * plan.width(v) <= SMALL for v in range(n)]
        self.h_whole = [True] * n
        for v in range(n - 2, -1, -1):
            self.h_whole[v] = any(plan.kind(u) == SOFTMAX or self.small[u] or (is_elementwise(plan.kind(u)) and self.h_whole[u])
                                for u in plan.users[v])
        self.h, self.d, self.saved = [None] * n, [None] * n, [None] * n
        self.begun, self.d_whole = [False] * n, [True] * n

    cdef bint passes(self, v):
        """Whether op v does nothing."""
        return self.plan.kind(v) == DROPOUT and not self.drops

    cdef bint shares_d(self, s):
        """Whether d of the one op that reads value s becomes d of s where it lies: of ADD(x, y) that of x, else of y."""
        u = self.plan.users[s][0]
        return self.plan.read_once(s) and self.plan.kind(u) != DENSE and not (
            self.plan.kind(u) == ADD and self.plan.source(u) != s and self.plan.read_once(self.plan.source(u)))

    cdef void lay_out(self, bint d_input):
        """Rooms for d of every value that needs it, from the output on."""
        if d_input:
            self.needs = [True] * len(self.needs)
        for v in range(len(self.needs) - 1, -1, -1):
            if self.needs[v]:
                last = v == len(self.needs) - 1
                if not last and self.shares_d(v):
                    self.d[v] = self.d[self.plan.users[v][0]]
                else:
                    self.d[v] = self.tape.room(self.plan.width(v))


cdef bint fuses(Plan plan, v):
    """Whether op v, an activation, goes into the COMBINE of its source: where the derivative can do without z."""
    return plan.kind(v) == ACTIVATE and not reads_z(plan.table[v][CODE]) and (
        plan.kind(plan.source(v)) == DENSE and plan.read_once(plan.source(v)))


cdef forward_ops(Learning self, int loss, int judge):
    """h of all ops, and of the output the loss and d."""
    cdef Plan plan = self.plan
    cdef Tape tape = self.tape
    cdef Instruction* i
    last = len(plan.table) - 1
    self.h[0] = tape.room(plan.inputs)
    i = plan.write(tape, GATHER, 0)
    i.target, i.whole = self.h[0], self.h_whole[0]
    for v in range(1, last + 1):
        kind, s = plan.kind(v), plan.source(v)
        u = plan.users[v][0] if plan.read_once(v) else -1           # the op that goes on in place
        if self.passes(v):
            self.h[v] = self.h[s]
            continue
        if kind == DENSE and u > 0 and (plan.kind(u) == SOFTMAX or fuses(plan, u)):
            if u < last:
                self.h[v] = self.h[u] = tape.room(plan.width(v))
            else:
                self.h[v] = self.d[u]       # z_L lives in the room of d_L: the loss reads it and leaves d there
        if self.h[v] is None:
            self.h[v] = tape.room(plan.width(v))
        if kind == DENSE:
            write_dense(self, v, u)
        elif not fuses(plan, v) and not (kind == SOFTMAX and v == last and loss == CROSS_ENTROPY and judge != OUTPUT_GRADIENT):
            i = plan.write(tape, kind, v)
            i.whole, i.source, i.target = self.h_whole[v], self.h[s], self.h[v]
            if kind == ADD:
                i.other = self.h[plan.table[v][OTHER]]
            if kind == DROPOUT:
                self.saved[v] = i.other = tape.room(plan.width(v))
        if kind == ACTIVATE or kind == SOFTMAX:
            self.saved[v] = self.h[s] if kind == ACTIVATE and reads_z(plan.table[v][CODE]) else self.h[v]
    i = plan.write(tape, TAKE if judge == OUTPUT_GRADIENT else JUDGE, last)
    i.source, i.target, i.other, i.by_rows = self.h[plan.source(last)], self.h[last], self.d[last], self.by_rows
    if judge == OUTPUT_GRADIENT:
        i.target = self.d[last]
    elif self.by_rows:
        i = plan.write(tape, EXCHANGE, last)
        i.target, i.by_rows = self.d[last], True


cdef write_dense(Learning self, v, u):
    """z = h W + b: sums over pieces, a meeting, and their sum, activated by op u if that can be."""
    cdef Plan plan = self.plan
    cdef Instruction* i
    fused = u > 0 and fuses(plan, u)
    if fused and self.h[u] is None:
        self.h[u] = self.tape.room(plan.width(u))
    for kind in (SUM, MEET, COMBINE):
        if kind == MEET and self.small[v]:
            continue
        i = plan.write(self.tape, kind, v)
        i.alone, i.whole = self.small[v], self.h_whole[v]
        i.source = self.h[plan.source(v) if kind == SUM else v]
        i.target = self.h[u if fused else v]
        i.by_rows = kind == COMBINE and u == len(plan.table) - 1 and self.by_rows
        i.code = plan.table[u][CODE] if fused else IDENTITY
        i.number = <real> <double> plan.numbers[u] if fused else 0


cdef backward_ops(Learning self, bint cancelled):
    """d of all ops, from the output's on, and the updates; cancelled: the output's d is that of its source."""
    cdef Plan plan = self.plan
    cdef Tape tape = self.tape
    cdef Instruction* i
    last, late = len(plan.table) - 1, []
    for v in range(last, 0, -1):
        kind, s = plan.kind(v), plan.source(v)
        if not self.needs[v]:
            continue
        if (kind == DENSE or kind == SOFTMAX) and not self.d_whole[v]:
            i = plan.write(tape, EXCHANGE, v)
            i.target = self.d[v]
            self.d_whole[v] = True
        if kind == DENSE:
            if self.needs[s]:
                i = plan.write(tape, BACK, v)
                i.source, i.target, i.alone, i.add = self.d[v], self.d[s], self.small[v], self.begun[s]
                self.begun[s] = True
                self.d_whole[s] = self.d_whole[s] and self.small[v]
            if self.small[v]:               # others may still read these weights
                late.append(v)
            else:
                write_learn(self, v)
            continue
        if not (self.passes(v) or kind == ADD or (v == last and cancelled)):
            i = plan.write(tape, {ACTIVATE: ACTIVATE_BACK, SOFTMAX: SOFTMAX_BACK, DROPOUT: DROPOUT_BACK}[kind], v)
            i.source, i.target, i.whole = self.saved[v], self.d[v], self.d_whole[v]
        for source in [s, plan.table[v][OTHER]] if kind == ADD else [s]:
            if not self.needs[source]:
                continue
            self.d_whole[source] = self.d_whole[source] and self.d_whole[v]
            if self.d[source] != self.d[v] or self.begun[source]:
                i = plan.write(tape, PASS, v)
                i.source, i.target, i.whole, i.add = self.d[v], self.d[source], self.d_whole[v], self.begun[source]
            self.begun[source] = True
    if late:
        tape.append(MEET, 0)
    for v in late:
        write_learn(self, v)


cdef write_updates(Learning self, bint waits):
    """What follows all gradients: updates that wait for their norms, and columns of weights no longer than they may be."""
    cdef Plan plan = self.plan
    layers = [v for v in range(1, len(plan.table)) if plan.kind(v) == DENSE]
    long = [v for v in layers if plan.of[<Py_ssize_t> plan.table[v][BLOCK]].max_norm > 0]
    for kind, ops in ((UPDATE, layers if waits else []), (MEASURE, long), (CONSTRAIN, long)):
        if ops and kind != MEASURE:
            self.tape.append(MEET, 0)
        for v in ops:
            plan.write(self.tape, kind, v)


cdef write_learn(Learning self, v):
    cdef Instruction* i = self.plan.write(self.tape, LEARN, v)
    i.source, i.other = self.h[self.plan.source(v)], self.d[v]


cdef Tape learning_tape(Plan plan, Py_ssize_t rows, Py_ssize_t batch_size, const Call* call):
    """What every thread does with a block of at most so many rows of a batch."""
    cdef Learning making = Learning(plan, rows, batch_size, call.drops)
    cdef Instruction* i
    last = len(plan.table) - 1
    z = plan.source(last)
    making.by_rows = (cancels(call.loss) and call.judge != OUTPUT_GRADIENT and rows * plan.outputs >= SHARED_OUTPUT
                      and plan.kind(z) == DENSE and plan.read_once(z) and not making.small[z])
    making.lay_out(call.d_input != NULL)
    forward_ops(making, call.loss, call.judge)
    backward_ops(making, cancels(call.loss) and call.judge != OUTPUT_GRADIENT)
    if call.learning:
        write_updates(making, call.waits)
    if call.d_input != NULL:
        i = plan.write(making.tape, GIVE, 0)
        i.source = making.d[0]
    return making.tape
