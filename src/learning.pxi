# The tape of a training: what is fused, when threads meet, which gradients wait.

cdef class Learning:
    """A tape for training, in the making."""
    cdef Plan plan
    cdef Tape tape
    cdef list needs             # of each value: whether its gradient is needed,
    cdef list small             # whether it is a layer that every thread runs alone,
    cdef list h_whole           # whether every thread has all of its columns
    cdef list h, d, saved       # where it and its gradient lie, and what its backward reads beside them,
    cdef list beside            # of a row's own scale one by the deviations, of what is columnwise the sums of its gradients,
                                # of a batch's columns their statistics
    cdef list begun             # whether its d has something already,
    cdef list d_whole           # and whether every thread has all columns of that: only if it has those of h
    cdef bint drops             # whether dropout is on, and the batch's statistics count
    cdef object judged_z        # the value whose rows threads share, since it is wide, or None

    def __init__(self, Plan plan, Py_ssize_t rows, Py_ssize_t batch_size, bint drops):
        n = len(plan.table)
        kept = batch_size if drops and any(op[KIND] == COLUMN_NORM for op in plan.table) else rows
        self.plan, self.tape, self.drops = plan, Tape(16 * n + 6, rows, kept), drops
        self.needs = plan.with_weights()
        self.small = [plan.kind(v) == DENSE and self.needs[plan.source(v)]
                      and batch_size * plan.width(plan.source(v)) * plan.width(v) <= SMALL for v in range(n)]
        self.h_whole = [True] * n
        for v in range(n - 2, -1, -1):
            self.h_whole[v] = any(is_rowwise(plan.kind(u)) or self.small[u] or (is_elementwise(plan.kind(u)) and self.h_whole[u])
                                for u in plan.users[v])
        self.h, self.d, self.saved, self.beside = [None] * n, [None] * n, [None] * n, [None] * n
        self.begun, self.d_whole = [False] * n, [True] * n

    cdef bint passes(self, v):
        """Whether op v does nothing."""
        return self.plan.kind(v) == DROPOUT and not self.drops

    cdef Py_ssize_t first_meeting(self):
        """The op after whose sums threads meet for the first time in a step."""
        shared = [v for v in range(len(self.small)) if self.plan.kind(v) == DENSE and not self.small[v]]
        return shared[0] if shared else len(self.small)

    cdef bint shares_d(self, s):
        """Whether d of the one op that reads value s becomes d of s where it lies: of ADD(x, y) that of x, else of y."""
        u = self.plan.users[s][0]
        return self.plan.read_once(s) and self.plan.kind(u) != DENSE and self.plan.kind(u) != EMBED and not (
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
        if kind == DENSE and u > 0 and (plan.kind(u) == SOFTMAX or fuses(plan, u) or (plan.kind(u) == ROW_NORM and u < last)):
            if u < last:
                self.h[v] = self.h[u] = tape.room(plan.width(v))
            else:
                self.h[v] = self.d[u]       # z_L lives in the room of d_L: the loss reads it and leaves d there
        if kind == DENSE and u > 0 and plan.kind(u) == COLUMN_NORM:
            self.h[u] = self.h[v] = tape.room(plan.width(v))        # in place: nobody reads z again
        if self.h[v] is None:
            self.h[v] = tape.room(plan.width(v))
        if kind == COLUMN_NORM and self.drops:
            self.beside[v] = tape.doubles(plan.width(v))
            write_statistics(self, STATISTICS, v)
        if kind == DENSE:
            write_dense(self, v, u)
        elif not fuses(plan, v) and not (kind == SOFTMAX and v == last and loss == CROSS_ENTROPY and judge < OUTPUT_GRADIENT):
            i = plan.write(tape, kind, v)
            i.whole, i.source, i.target = self.h_whole[v], self.h[s], self.h[v]
            if kind == ADD:
                i.other = self.h[plan.table[v][OTHER]]
            if kind == DROPOUT:
                self.saved[v] = i.other = tape.room(plan.width(v))
            if kind == ROW_NORM:
                self.beside[v] = i.other = tape.room(1)
            if kind == COLUMN_NORM and self.drops:
                i.other, i.by_batch = self.beside[v], True
        if is_columnwise(kind):
            self.saved[v], self.beside[v] = self.h[s], tape.lines(plan.width(v))
        if kind == ACTIVATE or kind == COLUMN_NORM or is_rowwise(kind):
            self.saved[v] = self.h[s] if kind == ACTIVATE and reads_z(plan.table[v][CODE]) else self.h[v]
    if judge == OUTPUT:
        plan.write(tape, GIVE, last).source = self.h[last]
        return
    i = plan.write(tape, TAKE if judge == OUTPUT_GRADIENT else JUDGE, last)
    i.source, i.target, i.other, i.by_rows = self.h[plan.source(last)], self.h[last], self.d[last], self.judged_z is not None
    if judge == OUTPUT_GRADIENT:
        i.target = self.d[last]
    elif self.judged_z is not None:
        i = plan.write(tape, EXCHANGE, last)
        i.target, i.by_rows = self.d[last], True
    if judge != OUTPUT_GRADIENT:
        tape.append(TALLY, 0)


cdef write_statistics(Learning self, int kind, v):
    """What is had of all blocks of the batch, forward or back, before any of them goes on."""
    cdef Instruction* i = self.plan.write(self.tape, kind, v)
    i.other, i.ends_sweep = self.beside[v], True
    if kind == STATISTICS:
        i.source, i.whole = self.h[self.plan.source(v)], self.h_whole[v]
    else:
        i.source, i.target, i.whole = self.h[v], self.d[v], self.d_whole[v]


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
        i.by_rows = kind == COMBINE and v == self.judged_z
        i.code = plan.table[u][CODE] if fused else IDENTITY
        i.number = <real> <double> plan.numbers[u] if fused else 0


BACKWARD = {ACTIVATE: ACTIVATE_BACK, SOFTMAX: SOFTMAX_BACK, DROPOUT: DROPOUT_BACK, ROW_NORM: ROW_NORM_BACK, SCALE: SCALE_BACK,
            PRELU: PRELU_BACK, BLEND: BLEND_BACK, COLUMN_NORM: COLUMN_NORM_BACK}

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
        if (kind == DENSE or is_rowwise(kind)) and not self.d_whole[v]:
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
        if kind == EMBED:
            late.append(v)
            if self.needs[s]:
                i = plan.write(tape, EMBED_BACK, v)
                i.source, i.target, i.add = self.d[v], self.d[s], self.begun[s]
                self.begun[s] = True
            continue
        if kind == COLUMN_NORM and self.drops:
            write_statistics(self, STATISTICS_BACK, v)
        if not (self.passes(v) or kind == ADD or (v == last and cancelled)):
            i = plan.write(tape, BACKWARD[kind], v)
            i.source, i.target, i.whole = self.saved[v], self.d[v], self.d_whole[v]
            if self.beside[v] is not None:
                i.other, i.by_batch = self.beside[v], kind == COLUMN_NORM
            if is_columnwise(kind):
                if self.h_whole[v]:         # others may still read these parameters
                    late.append(v)
                else:
                    write_learn(self, v)
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
    if late and min(late) < self.first_meeting():
        tape.append(MEET, 0)            # the next step reads them before its threads meet


cdef write_updates(Learning self, bint waits):
    """What follows all gradients: updates that wait for their norms, and columns of weights no longer than they may be."""
    cdef Plan plan = self.plan
    learned = [v for v in range(1, len(plan.table)) if shapes(plan.table, v) and plan.kind(v) != COLUMN_NORM]
    layers = [v for v in learned if plan.kind(v) == DENSE]
    long = [v for v in layers if plan.of[<Py_ssize_t> plan.table[v][BLOCK]].max_norm > 0]
    for kind, ops in ((UPDATE, learned if waits else []), (MEASURE, long), (CONSTRAIN, long)):
        if ops and kind != MEASURE:
            self.tape.append(MEET, 0)
        for v in ops:
            columnwise = kind == UPDATE and is_columnwise(plan.kind(v))
            plan.write(self.tape, UPDATE_COLUMNS if columnwise else UPDATE_TABLE if plan.kind(v) == EMBED else kind, v)
    if waits or long:
        self.tape.append(MEET, 0)           # the next step reads them before its threads meet


cdef write_learn(Learning self, v):
    kind = self.plan.kind(v)
    cdef Instruction* i = self.plan.write(self.tape, LEARN if kind == DENSE else LEARN_TABLE if kind == EMBED else LEARN_COLUMNS, v)
    if is_columnwise(kind):
        i.source = self.beside[v]
        return
    i.source, i.other = self.h[self.plan.source(v)], self.d[v]
    if kind == EMBED:
        i.target = self.tape.scratch(i.codes * (i.outputs - i.inputs + 1))


cdef Tape learning_tape(Plan plan, Py_ssize_t rows, Py_ssize_t batch_size, const Call* call):
    """What every thread does with a block of at most so many rows of a batch."""
    cdef Learning making = Learning(plan, rows, batch_size, call.drops)
    cdef Instruction* i
    last = len(plan.table) - 1
    z = last if reads_logits(call.loss) else plan.source(last)
    if ((cancels(call.loss) or z == last) and call.judge < OUTPUT_GRADIENT and rows * plan.outputs >= SHARED_OUTPUT
            and plan.kind(z) == DENSE and (z == last or plan.read_once(z)) and not making.small[z]):
        making.judged_z = z
    making.lay_out(call.judge == OUTPUT_GRADIENT and call.given != NULL)
    forward_ops(making, call.loss, call.judge)
    if call.judge == OUTPUT:
        return making.tape
    backward_ops(making, cancels(call.loss) and call.judge != OUTPUT_GRADIENT)
    if call.learning:
        write_updates(making, call.waits)
    if call.given != NULL:
        i = plan.write(making.tape, GIVE, 0)
        i.source = making.d[0]
    return making.tape
