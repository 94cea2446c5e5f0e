# The data set, read where it lies.

cdef enum:
    UINT8, FLOAT32, FLOAT64

cdef int OWN = FLOAT32 if sizeof(real) == 4 else FLOAT64      # the engine's

cdef struct Data:
    const char* start
    Py_ssize_t rows, columns, row_stride, column_stride     # strides in bytes
    int kind
    const double* center        # (columns,): h_0 = (x - center) * factor; NULL: h_0 = x * scale
    const double* factor
    double scale

cdef Data data_of(x, int flags=cnp.NPY_ARRAY_ALIGNED) except *:
    """Where x (n, I) lies, an array of uint8, float32 or float64 with these flags; the caller keeps it alive."""
    cdef Data data
    cdef cnp.ndarray array
    if not isinstance(x, cnp.ndarray):
        raise TypeError(f"expected an array, got {type(x).__name__}")
    array = x
    cdef int dtype = cnp.PyArray_TYPE(array)
    if cnp.PyArray_NDIM(array) != 2 or not cnp.PyArray_ISNOTSWAPPED(array) or (
            dtype != cnp.NPY_UINT8 and dtype != cnp.NPY_FLOAT32 and dtype != cnp.NPY_FLOAT64):
        raise TypeError(f"expected two axes of uint8, float32 or float64, got {x.ndim} of {x.dtype}")
    if not cnp.PyArray_CHKFLAGS(array, flags):
        raise ValueError(f"expected an array that is aligned{', C-contiguous' if flags & cnp.NPY_ARRAY_C_CONTIGUOUS else ''}"
                         f"{', writeable' if flags & cnp.NPY_ARRAY_WRITEABLE else ''}, got strides {x.strides}, "
                         f"aligned {x.flags.aligned}, writeable {x.flags.writeable}")
    data.start = <const char*> cnp.PyArray_DATA(array)
    data.rows, data.columns = cnp.PyArray_DIM(array, 0), cnp.PyArray_DIM(array, 1)
    data.row_stride, data.column_stride = cnp.PyArray_STRIDE(array, 0), cnp.PyArray_STRIDE(array, 1)
    data.kind = UINT8 if dtype == cnp.NPY_UINT8 else FLOAT32 if dtype == cnp.NPY_FLOAT32 else FLOAT64
    data.center = data.factor = NULL
    data.scale = 1
    return data

cdef fused element:
    uint8_t
    float
    double

cdef inline const element* at(const element* x, Py_ssize_t stride, Py_ssize_t j) noexcept nogil:
    return <const element*> (<const char*> x + j * stride)

cdef inline void scale_row(const element* x, Py_ssize_t stride, real[::1] h, Py_ssize_t h0,
                           Py_ssize_t n, real scale) noexcept nogil:
    cdef Py_ssize_t j
    if stride == sizeof(element):
        for j in range(n):
            h[h0 + j] = <real> x[j] * scale
    else:
        for j in range(n):
            h[h0 + j] = <real> at[element](x, stride, j)[0] * scale

cdef inline void standardize_row(const element* x, Py_ssize_t stride, real[::1] h, Py_ssize_t h0, Py_ssize_t n,
                                 const double* center, const double* factor) noexcept nogil:
    # in double precision: a year or a time is large beside its deviation
    cdef Py_ssize_t j
    for j in range(n):
        h[h0 + j] = <real> ((at[element](x, stride, j)[0] - center[j]) * factor[j])

cdef inline void element_row(const Data* data, const element* x, Py_ssize_t first, real[::1] h, Py_ssize_t h0,
                             Py_ssize_t n) noexcept nogil:
    if data.center == NULL:
        scale_row[element](x, data.column_stride, h, h0, n, <real> data.scale)
    else:
        standardize_row[element](x, data.column_stride, h, h0, n, data.center + first, data.factor + first)

cdef void gather_row(const Data* data, Py_ssize_t row, Py_ssize_t first, Py_ssize_t end, real[::1] h,
                     Py_ssize_t h0) noexcept nogil:
    """h_0 of one row, the features first to end."""
    cdef const char* x = data.start + row * data.row_stride + first * data.column_stride
    if data.kind == UINT8:
        element_row[uint8_t](data, <const uint8_t*> x, first, h, h0 + first, end - first)
    elif data.kind == FLOAT32:
        element_row[float](data, <const float*> x, first, h, h0 + first, end - first)
    else:
        element_row[double](data, <const double*> x, first, h, h0 + first, end - first)

cdef inline bint row_within(const element* x, Py_ssize_t stride, Py_ssize_t n, double limit) noexcept nogil:
    cdef element top = <element> limit
    cdef int outside = 0
    cdef Py_ssize_t j
    if stride == sizeof(element):
        for j in range(n):
            outside |= not (-top <= x[j] <= top)
    else:
        for j in range(n):
            outside |= not (-top <= at[element](x, stride, j)[0] <= top)
    return not outside

cdef inline void prefetch_row(const Data* data, Py_ssize_t row, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Shuffled rows lie where no hardware expects them."""
    cdef Py_ssize_t line
    cdef const char* x = data.start + row * data.row_stride + first * data.column_stride
    if data.column_stride <= 8:
        for line in range(ceil_div((end - first) * data.column_stride, 64)):
            prefetch_far(x + line * 64)

