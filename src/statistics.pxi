# Columns measured over a batch: mean and variance, what is normalised by them, and back.
#
# A column is one thread's, or each thread has all: nobody waits. Of a batch a thread keeps four lines of float64, a number a
# column. The rows of a block are summed in ascending order, and the blocks of a batch joined in order.
#
# Sources: Ioffe, Szegedy, Batch normalization (2015); Chan, Golub, LeVeque, Algorithms for computing the sample variance (1983).

cdef enum:                      # lines
    MEAN
    INVERSE                     # 1 / sqrt(variance + epsilon); before the last block the squares of x - mean, added up
    SUM_D                       # of dh over the rows,
    SUM_DH                      # and of dh * h
    LINES

cdef inline double* line(const Instruction* i, const Worker* me, real[::1] work, int number) noexcept nogil:
    """The numbers of all columns."""
    return <double*> &work[me.base + i.other.start] + number * padded(i.outputs)

cdef inline int strip_of(Py_ssize_t columns) noexcept nogil:
    """How many of so many columns are worked on side by side; all ranges of columns begin with a multiple of 8."""
    return STRIP if columns >= STRIP else 8


cdef inline void measure_strip(real[::1] work, Matrix x, const Block* block, double* mean, double* squares, int lanes) noexcept nogil:
    """The mean, and the squares of x - mean added up, of these rows and those of the batch before them."""
    cdef double sums[STRIP]
    cdef double means[STRIP]
    cdef double apart, rows = block.rows, before = block.first
    cdef Py_ssize_t r
    cdef int j
    for j in range(lanes):
        sums[j] = 0
    for r in range(block.rows):
        for j in range(lanes):
            sums[j] = sums[j] + work[x.start + r * x.row + j]
    for j in range(lanes):
        means[j] = sums[j] / rows
        sums[j] = 0
    for r in range(block.rows):
        for j in range(lanes):
            apart = work[x.start + r * x.row + j] - means[j]
            sums[j] = fma(apart, apart, sums[j])
    for j in range(lanes):
        if block.first == 0:
            mean[j], squares[j] = means[j], sums[j]
        else:
            apart = means[j] - mean[j]
            mean[j] = mean[j] + apart * (rows / (before + rows))
            squares[j] = squares[j] + (sums[j] + apart * apart * (before * rows / (before + rows)))


cdef inline void remember(real* running, double momentum, double of_batch) noexcept nogil:
    running[0] = <real> (running[0] + momentum * (of_batch - running[0]))


cdef void take_statistics(const Instruction* i, Worker* me, real[::1] parameters, real[::1] work) noexcept nogil:
    """STATISTICS: of the batch, once its last block is here; in training also the running ones, whose variance is unbiased."""
    cdef Matrix x = here(me, i.source)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef double* mean = line(i, me, work, MEAN)
    cdef double* scale = line(i, me, work, INVERSE)
    cdef double rows = me.block.batch
    cdef Py_ssize_t j = columns.first
    cdef int lanes
    while j < columns.end:
        lanes = strip_of(columns.end - j)
        if lanes == STRIP:
            measure_strip(work, part(x, 0, j), me.block, mean + j, scale + j, STRIP)
        else:
            measure_strip(work, part(x, 0, j), me.block, mean + j, scale + j, 8)
        j += lanes
    if me.block.first + me.block.rows < me.block.batch:
        return
    if me.call.learning and (is_first(me) or not i.whole):
        for j in range(columns.first, smaller(columns.end, i.outputs)):
            remember(&parameters[i.weights + j], i.momentum, mean[j])
            remember(&parameters[i.biases + j], i.momentum, scale[j] / (rows - 1 if rows > 1 else 1))
            if me.call.averages != NULL:        # of weights; these are what they are
                me.call.averages[i.weights + j] = parameters[i.weights + j]
                me.call.averages[i.biases + j] = parameters[i.biases + j]
    for j in range(columns.first, columns.end):
        scale[j] = 1 / sqrt(scale[j] / rows + i.epsilon)


cdef inline void running_strip(const Instruction* i, const real[::1] parameters, Py_ssize_t j, real* mean, real* scale, int lanes) noexcept nogil:
    """What some columns are normalised by where nothing is learned."""
    cdef Py_ssize_t means = (i.panels if i.panels else i.weights) + j
    cdef Py_ssize_t variances = (i.panels + padded(i.outputs) if i.panels else i.biases) + j
    cdef int k
    for k in range(lanes):
        mean[k], scale[k] = parameters[means + k], 1 / sqrt(parameters[variances + k] + <real> i.epsilon)


cdef inline void batch_strip(const double* one, const double* other, real* first, real* second, double n) noexcept nogil:
    """Some columns' numbers of two lines, divided by n."""
    cdef int k
    for k in range(STRIP):
        first[k], second[k] = <real> (one[k] / n), <real> (other[k] / n)


cdef inline void normalise_strip(real[::1] work, Matrix x, Matrix h, Py_ssize_t rows, const real* mean, const real* scale,
                                 int lanes) noexcept nogil:
    cdef Py_ssize_t r
    cdef int j
    for r in range(rows):
        for j in range(lanes):
            work[h.start + r * h.row + j] = (work[x.start + r * x.row + j] - mean[j]) * scale[j]


cdef void normalise(const Instruction* i, Worker* me, Matrix x, Matrix h, Range columns, const real[::1] parameters,
                    real[::1] work) noexcept nogil:
    """h = (x - mean) / sqrt(variance + epsilon) for some columns, by the batch's statistics or the running ones."""
    cdef real mean[STRIP]
    cdef real scale[STRIP]
    cdef Py_ssize_t j = columns.first
    cdef int lanes
    while j < columns.end:
        lanes = strip_of(columns.end - j)
        if i.by_batch:
            batch_strip(line(i, me, work, MEAN) + j, line(i, me, work, INVERSE) + j, mean, scale, 1)
        elif lanes == STRIP:
            running_strip(i, parameters, j, mean, scale, STRIP)
        else:
            running_strip(i, parameters, j, mean, scale, 8)
        if lanes == STRIP:
            normalise_strip(work, part(x, 0, j), part(h, 0, j), me.block.rows, mean, scale, STRIP)
        else:
            normalise_strip(work, part(x, 0, j), part(h, 0, j), me.block.rows, mean, scale, 8)
        j += lanes


cdef void normalise_rows(const Instruction* i, Worker* me, const real[::1] parameters, real[::1] work) noexcept nogil:
    """COLUMN_NORM."""
    normalise(i, me, here(me, i.source), here(me, i.target), columns_of_mine(me, i.cut_out, i.whole), parameters, work)


cdef inline void sum_strip(real[::1] work, Matrix d, Matrix h, Py_ssize_t rows, double* sum_d, double* sum_dh, int lanes) noexcept nogil:
    """Adds dh and dh * h of these rows."""
    cdef double sums[STRIP]
    cdef double products[STRIP]
    cdef double dh
    cdef Py_ssize_t r
    cdef int j
    for j in range(lanes):
        sums[j] = products[j] = 0
    for r in range(rows):
        for j in range(lanes):
            dh = work[d.start + r * d.row + j]
            sums[j] = sums[j] + dh
            products[j] = fma(dh, <double> work[h.start + r * h.row + j], products[j])
    for j in range(lanes):
        sum_d[j], sum_dh[j] = sum_d[j] + sums[j], sum_dh[j] + products[j]


cdef void measure_back(const Instruction* i, Worker* me, real[::1] work) noexcept nogil:
    """STATISTICS_BACK: the sums of dh and of dh * h over the batch."""
    cdef Matrix h = here(me, i.source), d = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef double* sum_d = line(i, me, work, SUM_D)
    cdef double* sum_dh = line(i, me, work, SUM_DH)
    cdef Py_ssize_t j
    cdef int lanes
    for j in range(columns.first, columns.end if me.block.first == 0 else columns.first):
        sum_d[j] = sum_dh[j] = 0
    j = columns.first
    while j < columns.end:
        lanes = strip_of(columns.end - j)
        if lanes == STRIP:
            sum_strip(work, part(d, 0, j), part(h, 0, j), me.block.rows, sum_d + j, sum_dh + j, STRIP)
        else:
            sum_strip(work, part(d, 0, j), part(h, 0, j), me.block.rows, sum_d + j, sum_dh + j, 8)
        j += lanes


cdef inline void back_strip(real[::1] work, Matrix d, Matrix h, Py_ssize_t rows, const real* means, const real* scale, int lanes) noexcept nogil:
    """dx = (dh - mean(dh) - h mean(dh h)) scale, in place; means: those of dh, and STRIP further those of dh * h."""
    cdef Py_ssize_t r
    cdef int j
    for r in range(rows):
        for j in range(lanes):
            work[d.start + r * d.row + j] = fma(-work[h.start + r * h.row + j], means[STRIP + j],
                                                work[d.start + r * d.row + j] - means[j]) * scale[j]


cdef inline void scale_strip(real[::1] work, Matrix d, Py_ssize_t rows, const real* scale, int lanes) noexcept nogil:
    """dx = dh scale, in place."""
    cdef Py_ssize_t r
    cdef int j
    for r in range(rows):
        for j in range(lanes):
            work[d.start + r * d.row + j] = work[d.start + r * d.row + j] * scale[j]


cdef void normalise_back(const Instruction* i, Worker* me, const real[::1] parameters, real[::1] work) noexcept nogil:
    """COLUMN_NORM_BACK, in place."""
    cdef Matrix h = here(me, i.source), d = here(me, i.target)
    cdef Range columns = columns_of_mine(me, i.cut_out, i.whole)
    cdef real means[2 * STRIP]
    cdef real scale[STRIP]
    cdef real unused[STRIP]
    cdef Py_ssize_t j = columns.first
    cdef int lanes
    while j < columns.end:
        lanes = strip_of(columns.end - j)
        if i.by_batch:
            batch_strip(line(i, me, work, INVERSE) + j, line(i, me, work, INVERSE) + j, scale, unused, 1)
            batch_strip(line(i, me, work, SUM_D) + j, line(i, me, work, SUM_DH) + j, means, means + STRIP, me.block.batch)
            if lanes == STRIP:
                back_strip(work, part(d, 0, j), part(h, 0, j), me.block.rows, means, scale, STRIP)
            else:
                back_strip(work, part(d, 0, j), part(h, 0, j), me.block.rows, means, scale, 8)
        elif lanes == STRIP:
            running_strip(i, parameters, j, unused, scale, STRIP)
            scale_strip(work, part(d, 0, j), me.block.rows, scale, STRIP)
        else:
            running_strip(i, parameters, j, unused, scale, 8)
            scale_strip(work, part(d, 0, j), me.block.rows, scale, 8)
        j += lanes
