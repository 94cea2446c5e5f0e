"""The door: bad input is refused in one line, odd arrays give the same bits as a plain copy."""

import re

import numpy as np
import pytest

import fastnn
from fastnn import _arrays

I, O, ROWS = 12, 3, 10  # noqa: E741


@pytest.fixture
def net():
    return fastnn.mlp([I, 5, O], engine="reference")


@pytest.fixture
def x():
    return np.random.default_rng(0).random((ROWS, I), np.float32)


@pytest.fixture
def y():
    return np.random.default_rng(1).integers(0, O, ROWS)


USES = {
    "fit": lambda net, x, y: net.fit(x, y, epochs=1, verbose=0),
    "evaluate": lambda net, x, y: net.evaluate(x, y),
    "gradients": lambda net, x, y: net.gradients(x, y),
    "validation": lambda net, x, y: net.fit(
        np.zeros((1, I)), [0], epochs=1, validation_data=(x, y), verbose=0
    ),
}
USES_OF_X = {
    **USES,
    "predict": lambda net, x, y: net.predict(x),
    "classify": lambda net, x, y: net.classify(x),
    "activations": lambda net, x, y: net.activations(x),
}


def refused(error, message, use, net, x, y):
    """The call raises this error with this one line, and trains nothing."""
    if use is USES["validation"]:
        message = re.sub(r"\b[xy]\b(?!\[)", r"validation \g<0>", message)
    before = net.program.parameters.tobytes()
    with pytest.raises(error) as found:
        use(net, x, y)
    assert str(found.value) == message
    assert type(found.value) is error
    assert net.program.parameters.tobytes() == before


@pytest.fixture(params=USES)
def use(request):
    return USES[request.param]


@pytest.fixture(params=USES_OF_X)
def use_of_x(request):
    return USES_OF_X[request.param]


# Bad x.


def test_wrong_feature_count(use_of_x, net, y):
    x = np.zeros((ROWS, 7))
    refused(ValueError, "expected x with 12 features, got (10, 7)", use_of_x, net, x, y)


def test_wrong_feature_count_of_images(use_of_x, net, y):
    x = np.zeros((ROWS, 4, 4))
    refused(ValueError, "expected x with 12 features, got (10, 4, 4)", use_of_x, net, x, y)


def test_wrong_rank_one_row(use_of_x, net, y):
    message = "expected x of shape (rows, 12), got (12,); pass x[None] for one row"
    refused(ValueError, message, use_of_x, net, np.zeros(I), y)


def test_wrong_rank_one_axis(use_of_x, net, y):
    message = "expected x of shape (rows, 12), got (7,)"
    refused(ValueError, message, use_of_x, net, np.zeros(7), y)


def test_wrong_rank_no_axis(use_of_x, net, y):
    refused(ValueError, "expected x of shape (rows, 12), got ()", use_of_x, net, 3.0, y)


def test_empty_x(use_of_x, net):
    message = "expected at least one row in x, got (0, 12)"
    refused(ValueError, message, use_of_x, net, np.zeros((0, I)), np.zeros(0, int))


def test_x_without_features(use_of_x, net, y):
    x = np.zeros((ROWS, 0))
    refused(ValueError, "expected x with 12 features, got (10, 0)", use_of_x, net, x, y)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_nan_or_infinity_in_x(use_of_x, net, x, y, wrong, dtype):
    x = x.astype(dtype)
    x[7, 2] = wrong
    message = f"expected finite float32 numbers in x, got {wrong} in row 7, column 2"
    refused(ValueError, message, use_of_x, net, x, y)


def test_infinity_in_images(use_of_x, net, x, y):
    x[3, 5] = np.inf
    message = "expected finite float32 numbers in x, got inf in row 3, column 5"
    refused(ValueError, message, use_of_x, net, x.reshape(ROWS, 3, 4), y)


def test_nan_far_down_in_a_large_x(net):
    x = np.zeros((100_000, I), np.float32)
    x[99_999, 11] = np.nan
    message = "expected finite float32 numbers in x, got nan in row 99999, column 11"
    refused(ValueError, message, USES["evaluate"], net, x, np.zeros(len(x), int))


@pytest.mark.parametrize("given", [False, True], ids=["new", "out"])
def test_nan_in_any_block_of_a_prediction(net, given):
    x = np.zeros((1000, I), np.float32)
    out = np.empty((1000, net.outputs), np.float32) if given else None
    net._block = 64
    net.predict(x, out=out)
    for row in (0, 500, 999):
        x[row:, 11] = np.nan
        message = f"expected finite float32 numbers in x, got nan in row {row}, column 11"
        with pytest.raises(ValueError, match=message):
            net.predict(x, out=out)
        x[:] = 0


def test_sums_of_finite_numbers_may_overflow(net, x):
    x[:] = 3e38
    net.layers[0].weights[...] = 1
    assert net.predict(x).shape == (ROWS, net.outputs)


def test_a_number_beyond_the_dtype_of_the_network(use_of_x, net, x, y):
    x = x.astype("float64")
    x[1, 1] = 1e39
    message = "expected finite float32 numbers in x, got 1e+39 in row 1, column 1"
    refused(ValueError, message, use_of_x, net, x, y)


def test_large_finite_numbers_are_taken(net, x):
    x[:] = 3e38  # their sum is infinite
    net.layers[0].weights[...] = 0
    assert np.isfinite(net.predict(x)).all()


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "U3", "S3", "M8[s]", "m8[s]"])
def test_dtypes_that_are_not_real_numbers(use_of_x, net, y, dtype):
    x = np.zeros((ROWS, I)).astype("i8").astype(dtype)
    message = f"expected real numbers in x, got dtype {x.dtype}"
    refused(TypeError, message, use_of_x, net, x, y)


def test_none_as_x(use_of_x, net, y):
    refused(TypeError, "expected real numbers in x, got NoneType", use_of_x, net, None, y)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a", "str 'a' in row 7, column 3"),
        (None, "NoneType None in row 7, column 3"),
        (1j, "complex 1j in row 7, column 3"),
        (10**20, "dtype object; use .astype(int)"),
        (True, "dtype object; use .astype(int)"),
        (np.float64(0.5), "dtype object; use .astype(float)"),
    ],
)
def test_objects_are_named_where_they_are(use_of_x, net, y, value, found):
    x = np.zeros((ROWS, I), int).astype(object)
    x[7, 3] = value
    refused(TypeError, f"expected real numbers in x, got {found}", use_of_x, net, x, y)


def test_a_table_whose_columns_have_different_types(use_of_x, net, y):
    class Table:  # as pandas has it
        def __init__(self):
            self.dtypes = {"age": np.dtype(float), "town": np.dtype(object), "born": np.dtype("M8")}

        def __array__(self, dtype=None, copy=None):
            return np.zeros((ROWS, 3), object)

    message = "expected real numbers in x, got dtype object in column 'town'"
    refused(TypeError, message, use_of_x, net, Table(), y)


def test_a_sparse_matrix(use_of_x, net, y):
    class SparseArray:  # as SciPy has it: no sequence, and with this method
        def toarray(self):
            raise AssertionError

    found = "a sparse SparseArray; use .toarray(), on some rows at a time if large"
    refused(TypeError, f"expected real numbers in x, got {found}", use_of_x, net, SparseArray(), y)


def test_ragged_rows(use_of_x, net, y):
    message = "expected x as one array, got list of ragged rows"
    refused(ValueError, message, use_of_x, net, [[1, 2], [3]], y)


# Masked values.


@pytest.mark.parametrize("shape", [(ROWS, I), (ROWS, 3, 4)])
def test_masked_values_in_x(engine_name, use_of_x, x, y, shape):
    net = fastnn.mlp([I, 5, O], engine=engine_name)
    masked = np.ma.MaskedArray(x.reshape(shape), mask=False)
    use_of_x(net, masked, y)  # nothing is hidden
    masked.reshape(ROWS, I)[7, 5] = np.ma.masked
    message = "expected x without masked values, got one in row 7, column 5"
    refused(ValueError, message, use_of_x, net, masked, y)


def test_masked_values_in_y(use, net, x, y):
    labels = np.ma.MaskedArray(y, mask=y < 0)
    use(net, x, labels)
    labels[4] = np.ma.masked
    message = "expected y without masked values, got one in row 4"
    refused(ValueError, message, use, net, x, labels)


def test_masked_out(net, x):
    out = np.ma.MaskedArray(np.empty((ROWS, O), np.float32))
    with pytest.raises(TypeError, match=r"^expected out as a plain array, got a masked one$"):
        net.predict(x, out=out)


def test_a_refused_row_in_one_line(net):
    x = np.zeros((1, I), np.float32)
    x[0, 3] = np.nan
    message = "expected finite float32 numbers in x, got nan in row 0, column 3"
    refused(ValueError, message, USES_OF_X["predict"], net, x, None)


# Bad y.


def test_length_mismatch(use, net, x, y):
    message = "expected y with 10 rows, as in x, got shape (9,)"
    refused(ValueError, message, use, net, x, y[:-1])


def test_empty_y(use, net, x):
    message = "expected y with 10 rows, as in x, got shape (0,)"
    refused(ValueError, message, use, net, x, np.zeros(0, int))


def test_y_without_axis(use, net, x):
    refused(ValueError, "expected y with 10 rows, as in x, got shape ()", use, net, x, 3)


def test_negative_labels(use, net, x, y):
    y[4] = -1
    refused(ValueError, "expected labels from 0 to 2 in y, got -1 in row 4", use, net, x, y)


def test_labels_beyond_the_outputs(use, net, x, y):
    y[4] = 3
    refused(ValueError, "expected labels from 0 to 2 in y, got 3 in row 4", use, net, x, y)


def test_labels_that_are_not_integers(use, net, x, y):
    message = "expected integer labels in y, got dtype float64"
    refused(TypeError, message, use, net, x, y + 0.5)


def test_labels_that_are_whole_floats(use, net, x, y):
    message = "expected integer labels in y, got dtype float64; use .astype(int)"
    refused(TypeError, message, use, net, x, y.astype(float))


@pytest.mark.parametrize(
    ("dtype", "found"),
    [("object", "dtype object; use .astype(int)"), ("complex128", "dtype complex128")],
)
def test_labels_that_are_not_real_numbers(use, net, x, y, dtype, found):
    message = f"expected real numbers in y, got {found}"
    refused(TypeError, message, use, net, x, y.astype(dtype))


@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS, 2), (ROWS, O, 1)])
def test_targets_of_the_wrong_shape(use, net, x, shape):
    message = f"expected y as labels (10,) or targets (10, 3), got {shape}"
    refused(ValueError, message, use, net, x, np.zeros(shape))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_nan_or_infinity_in_y(use, net, x, wrong):
    y = np.eye(O)[[0] * ROWS]
    y[9, 1] = wrong
    message = f"expected finite float32 numbers in y, got {wrong} in row 9, column 1"
    refused(ValueError, message, use, net, x, y)


def test_targets_that_are_no_distribution(use, net, x):
    y = np.full((ROWS, O), 1 / O)
    y[2] = 1
    message = "expected targets that sum to 1 for cross_entropy in y, got 3.0 in row 2"
    refused(ValueError, message, use, net, x, y)


def test_negative_targets(use, net, x):
    y = np.tile([1.0, 1.0, 0.0], (ROWS, 1))
    y[3, 2] = -1
    message = "expected targets from 0 to 1 for cross_entropy in y, got -1.0 in row 3, column 2"
    refused(ValueError, message, use, net, x, y)


def test_targets_beyond_one_for_sigmoid(use, x):
    net = fastnn.mlp([I, 1], output="sigmoid", engine="reference")
    expected = "expected targets from 0 to 1 for binary_cross_entropy in y"
    message = f"{expected}, got 9 in row 9, column 0"
    refused(ValueError, message, use, net, x, np.arange(ROWS))


def test_regression_takes_any_finite_targets(x):
    net = fastnn.mlp([I, 1], output="identity", engine="reference")
    assert set(net.evaluate(x, np.arange(ROWS) * -1e3)) == {"loss"}


# Bad out.


def test_out_of_another_dtype(net, x):
    with pytest.raises(TypeError, match=r"^expected out as an array of float32, got float64$"):
        net.predict(x, out=np.empty((ROWS, O)))
    with pytest.raises(TypeError, match=r"^expected out as an array of float32, got list$"):
        net.predict(x, out=[])


def test_out_of_another_shape(net, x):
    with pytest.raises(ValueError, match=r"^expected out of shape \(10, 3\), got \(3, 10\)$"):
        net.predict(x, out=np.empty((O, ROWS), np.float32))


def test_out_that_cannot_be_filled_in_place(net, x):
    out = np.empty((ROWS, O), np.float32)
    out.flags.writeable = False
    for bad in (np.empty((O, ROWS), np.float32).T, out):
        with pytest.raises(ValueError, match=r"^expected out to be C-contiguous and writeable"):
            net.predict(x, out=bad)


@pytest.mark.parametrize("rows", [2, 20, 300])
def test_out_that_shares_memory_with_x(engine_name, rows):
    net = fastnn.mlp([2, 2], output="identity", engine=engine_name)
    b = np.arange(2 * rows + 2, dtype=np.float32).reshape(rows + 1, 2)
    before, out = b.copy(), b[1:]
    for x in (b[:-1], b[1:], b[:0:-1], b[:-1].view(">f4"), b[:-1].reshape(rows, 2, 1)):
        with pytest.raises(
            ValueError, match=r"^expected out in memory of its own, got a part of x$"
        ):
            net.predict(x, out=out)
    assert (b == before).all()
    columns = np.ones((3, rows, 2), np.float32)
    between = columns[1, :2]  # the rows of x lie on both sides
    assert net.predict(columns[::2, 0], out=between) is between


def test_out_in_the_weights_of_the_network(net, x):
    out = net.program.parameters[: ROWS * O].reshape(ROWS, O)
    before = out.copy()
    message = r"^expected out in memory of its own, got a part of the network's weights$"
    with pytest.raises(ValueError, match=message):
        net.predict(x, out=out)
    assert (out == before).all()


def test_training_on_the_weights_themselves(net, y):
    message = "expected x in memory of its own, got a part of the network's weights"
    x = net.program.parameters[: ROWS * I].reshape(ROWS, I)
    refused(ValueError, message, USES["fit"], net, x, y)
    USES["evaluate"](net, x, y)


# Odd arrays.


def memory_mapped(plain, path):
    np.save(path / "x.npy", plain)
    return np.load(path / "x.npy", mmap_mode="r")


def read_only(plain, path):
    copy = plain.copy()
    copy.flags.writeable = False
    return copy


def strided(plain, path):
    wide = np.zeros((2 * len(plain), 3 * plain.shape[1]), plain.dtype)
    wide[::2, 1::3] = plain
    return wide[::2, 1::3]


def unaligned(plain, path):
    memory = np.zeros(plain.nbytes + 1, np.uint8)
    view = memory[1:].view(plain.dtype).reshape(plain.shape)
    view[...] = plain
    return view


ODD = {
    "byte-swapped": lambda plain, path: plain.astype(plain.dtype.newbyteorder()),
    "Fortran": lambda plain, path: np.asfortranarray(plain),
    "strided": strided,
    "negative strides": lambda plain, path: plain[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
    "memory-mapped": memory_mapped,
    "images": lambda plain, path: plain.reshape(len(plain), 28, 28),
    "images, Fortran": lambda plain, path: np.asfortranarray(plain.reshape(len(plain), 28, 28)),
    "images, mirrored": lambda plain, path: np.ascontiguousarray(
        plain.reshape(len(plain), 28, 28)[:, :, ::-1]
    )[:, :, ::-1],
    "unaligned": unaligned,
    "a list": lambda plain, path: plain.tolist(),
}


def test_only_native_aligned_arrays_go_to_an_engine_as_they_are(tmp_path):
    plain = np.ones((5, 784), np.float32)
    direct = {odd for odd in ODD if _arrays.direct(np.asarray(ODD[odd](plain, tmp_path)))}
    assert set(ODD) - direct == {
        "byte-swapped", "images", "images, Fortran", "images, mirrored", "unaligned",
    }  # fmt: skip
    images = _arrays.features(plain.reshape(5, 28, 28), 784)
    assert _arrays.direct(images)
    assert np.may_share_memory(images, plain)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int16"])
def test_odd_arrays_give_the_same_bits(engine_name, odd, dtype, tmp_path):
    random = np.random.default_rng(0)
    plain = random.integers(0, 256, (70, 784)).astype(dtype)
    y = random.integers(0, 10, 70)
    x = ODD[odd](plain, tmp_path)
    bits = []
    for data in (plain, x):
        net = fastnn.mlp([784, 7, 10], input_scale=1 / 255, engine=engine_name)
        loss = net.fit(data, y, epochs=2, batch_size=16, verbose=0).history["loss"]
        hidden = net.activations(data)[1]
        gradients = net.gradients(data, y)[1]
        bits.append(
            (
                loss,
                net.evaluate(data, y),
                net.predict(data).tobytes(),
                net.classify(data).tobytes(),
                hidden.tobytes(),
                gradients[0][0].tobytes(),
            )
        )
    assert bits[0] == bits[1]


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", ">i4"])
def test_labels_of_any_integer_dtype(engine_name, x, dtype):
    y = np.arange(ROWS) % 2
    for labels in (y.astype(dtype), np.stack([y, y], axis=1).astype(dtype)[:, 0], y.tolist()):
        net = fastnn.mlp([I, O], engine=engine_name)
        assert net.evaluate(x, labels) == net.evaluate(x, y)


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_one_output_takes_targets_of_rank_one_or_two(engine_name, x, output):
    net = fastnn.mlp([I, 1], output=output, engine=engine_name)
    y = np.arange(ROWS) % 2
    expected = net.evaluate(x, y.astype("float32")[:, None])
    for targets in (y, y.astype(bool), y.astype(">f8"), y[:, None], np.asfortranarray(y[:, None])):
        assert net.evaluate(x, targets) == expected


def test_one_input_takes_x_of_rank_one():
    net = fastnn.mlp([1, 2], engine="reference")
    x = np.arange(5.0)
    assert net.predict(x).tobytes() == net.predict(x[:, None]).tobytes()


def test_a_data_set_is_not_copied_as_a_whole():
    """float16 and unviewable images are converted in blocks: the peak stays far below a copy."""
    import tracemalloc

    x = np.zeros((120_000, 20, 20), np.float16, order="F")
    y = np.zeros(len(x), np.uint8)
    net = fastnn.mlp([400, 2], engine="reference")
    net.fit(x[:64], y[:64], epochs=1, verbose=0)
    tracemalloc.start()
    net.fit(x, y, epochs=1, batch_size=256, verbose=0)
    net.evaluate(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.size * 4 / 2
