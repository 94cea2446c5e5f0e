"""Digits centred and scaled as MNIST's, from drawings and photographs."""

import json

import numpy as np
import pytest
from PIL import Image

import fastnn
from fastnn import cli
from fastnn.pictures import centred, ink_of, is_picture_file, means, read_picture


@pytest.fixture(scope="module")
def digits():
    """A few test digits (n, 28, 28), and their labels."""
    _, (x, y) = fastnn.datasets.load_digits()
    return x[:150].reshape(-1, 28, 28), y[:150]


@pytest.fixture(scope="module")
def network():
    """One that knows digits."""
    (x, y), _ = fastnn.datasets.load_digits()
    net = fastnn.mlp([784, 64, 10], input_scale=1 / 255)
    net.fit(x, y, epochs=5, optimizer=fastnn.Adam(fastnn.OneCycle(5e-3)), verbose=0)
    return net


def photograph(digit, size, at, seed=0):
    """Grey ink on white paper in uneven light, with noise: (H, W) of uint8."""
    ink = np.zeros(size)
    large = np.kron(digit / 255, np.ones((4, 4)))
    ink[at[0] : at[0] + 112, at[1] : at[1] + 112] = large
    y, x = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    noise = np.random.default_rng(seed).normal(0, 3, size)
    grey = (200 + 40 * x - 30 * y) * (1 - 0.75 * ink) + noise
    return np.clip(grey, 0, 255).astype(np.uint8)


def test_means_by_hand():
    np.testing.assert_allclose(means(2, 4), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(means(2, 3), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(means(3, 2), [[1, 0], [0.5, 0.5], [0, 1]])


def test_a_bar_by_hand():
    ink = np.zeros((90, 50))
    ink[3:43, 40:44] = 7  # 40 rows of 4: half of it is 20 rows of 2
    found = centred(ink)
    assert np.argwhere(found).min(axis=0).tolist() == [5, 14]  # rows 5 to 24: their mean is 14.5
    assert np.argwhere(found).max(axis=0).tolist() == [24, 15]
    assert set(np.unique(found)) == {0, 255}


def test_digits_of_mnist_stay_what_they_are(digits):
    for digit in digits[0]:
        found = centred(digit).astype(float)
        assert np.abs(found - digit).mean() < 6
        y, x = np.mgrid[:28, :28]
        assert abs((found * y).sum() / found.sum() - 14) <= 0.51
        assert abs((found * x).sum() / found.sum() - 14) <= 0.51


def test_neither_place_nor_size_nor_strength_matters(digits):
    digit = digits[0][0]
    plain, far = centred(digit), np.zeros((200, 300))
    far[20:104, 190:274] = np.kron(digit * 0.3, np.ones((3, 3)))
    np.testing.assert_allclose(centred(far), plain, atol=1)


@pytest.mark.parametrize("ink", [np.zeros((3, 4)), np.zeros((0, 5)), np.zeros((28, 28), np.uint8)])
def test_no_ink_is_paper(ink):
    assert not centred(ink).any()


def test_one_point_is_a_square():
    ink = np.zeros((9, 9))
    ink[8, 8] = 1
    assert (centred(ink) == 255).sum() == 400


def test_photographs_are_read(network, digits, tmp_path):
    right = 0
    for i, (digit, label) in enumerate(zip(digits[0][:40], digits[1], strict=False)):
        grey = photograph(digit, (180, 240), (40, 100), seed=i)
        if i % 2:
            grey = 255 - grey
        right += network.classify(centred(ink_of(grey)).reshape(1, -1))[0] == label
    assert right >= 37


@pytest.mark.parametrize("name", ["digit.png", "digit.jpg", "DIGIT.JPEG"])
def test_predict_reads_pictures(name, network, digits, tmp_path, capsys):
    path, model = tmp_path / name, tmp_path / "digits.fastnn"
    Image.fromarray(photograph(digits[0][0], (300, 200), (120, 50))).save(path, quality=90)
    network.save(model)
    assert is_picture_file(str(path))
    assert cli.main(["predict", str(model), str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["class"] == digits[1][0]
    assert row["probabilities"][digits[1][0]] > 0.9


def test_transparent_paper_is_white(digits, tmp_path):
    digit, path = digits[0][0], tmp_path / "clear.png"
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[..., 3] = digit  # black ink, the rest is clear
    Image.fromarray(pixels, "RGBA" if Image.__version__ < "12" else None).save(path)
    np.testing.assert_allclose(read_picture(path), centred(digit), atol=80)
    assert np.corrcoef(read_picture(path).ravel(), digit.ravel())[0, 1] > 0.97


def test_no_pictures_are_refused(network, write, tmp_path, capsys):
    model = tmp_path / "digits.fastnn"
    network.save(model)
    for content in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 50):
        path = write("bad.png", content)
        with pytest.raises(fastnn.FormatError, match="expected a PNG or JPEG picture"):
            read_picture(path)
        assert cli.main(["predict", str(model), str(path)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    fastnn.mlp([4, 2]).save(model)
    assert cli.main(["predict", str(model), str(write("x.png", b""))]) == 1
    assert "expected a network that reads square pictures" in capsys.readouterr().err
