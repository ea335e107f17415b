"""Data sets: values against the files' own bytes, and every way a file can lie."""

from __future__ import annotations

import gzip
import struct
import sys
import tracemalloc

import numpy as np
import pytest

import strict
from helpers import host
from kfac_ref import backend, datasets
from kfac_ref.errors import KfacError, ShapeError, UnknownName, ValueRangeError

N, H, W = 7, 5, 3


def idx(array, code=8, claims=None):
    """The bytes of an IDX file, written out by hand; `claims` replaces its shape."""
    shape = array.shape if claims is None else claims
    header = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (N, H, W))


@pytest.fixture
def labels(rng):
    return rng.integers(0, 10, N)


@pytest.fixture
def folder(tmp_path, images, labels):
    """A good training set; the tests spoil it."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


# What is read


def test_digits_are_the_pixels_over_sixteen():
    x, y = datasets.digits()
    assert x.shape == (1797, 64) and x.dtype == np.float64
    assert y.shape == (1797,) and y.dtype == np.int64
    assert (x.min(), x.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(np.unique(y), np.arange(10))
    # The first example is a nought; this is its first row in the UCI file.
    first = (x[0] * 16).reshape(8, 8)
    np.testing.assert_array_equal(first[0], [0, 0, 5, 13, 9, 1, 0, 0])
    assert y[0] == 0


def test_digits_keep_the_dtype_that_is_asked_for():
    x, _ = datasets.digits(dtype=np.float32)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(
        x, datasets.digits()[0]
    )  # multiples of 1/16 are exact


def test_digits_without_scikit_learn_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn$") as caught:
        datasets.digits()
    assert isinstance(caught.value, KfacError)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_mnist_reads_every_name(
    tmp_path, images, labels, split, prefix, mark, ending, zipped
):
    """Whether a file is gzipped is in the file, whatever its name says."""
    pack = gzip.compress if zipped else bytes
    image_name = f"{prefix}-images{mark}idx3-ubyte{ending}"
    (tmp_path / image_name).write_bytes(pack(idx(images)))
    (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    x, y = datasets.mnist(tmp_path, split)
    assert x.shape == (N, H * W) and x.dtype == np.float64 and y.dtype == np.int64
    for n in range(N):
        assert y[n] == labels[n]
        for row in range(H):
            for column in range(W):
                assert x[n, row * W + column] == images[n, row, column] / 255


def test_mnist_as_images_in_float32(folder, images):
    x, _ = datasets.mnist(str(folder), flat=False, dtype=np.float32)
    assert x.shape == (N, H, W, 1) and x.dtype == np.float32
    expected = images.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(x[..., 0], expected)


def test_data_is_made_on_the_current_backend(folder, monkeypatch):
    monkeypatch.setattr(backend, "_load_cupy", lambda: strict.xp)
    with backend.use("cupy"):
        sets = [*datasets.digits(), *datasets.mnist(folder)]
    assert all(isinstance(array, strict.StrictArray) for array in sets)
    np.testing.assert_array_equal(host(sets[2]), datasets.mnist(folder)[0])


def test_shrink_is_the_mean_of_squares(xp, rng):
    big = rng.standard_normal((N, 6, 9, 2))
    small = host(datasets.shrink(xp.asarray(big), 3))
    assert small.shape == (N, 2, 3, 2)
    for row in range(2):
        for column in range(3):
            square = big[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            nine = sum(square[:, i, j] for i in range(3) for j in range(3))
            np.testing.assert_allclose(small[:, row, column], nine / 9, atol=1e-15)


@pytest.mark.parametrize("factor", [2, 6])
def test_shrink_refuses_a_factor_that_does_not_divide(xp, factor):
    images = xp.ones((N, 6, 9, 2))
    with pytest.raises(ShapeError, match=f"both sides, 6 and 9, found {factor}"):
        datasets.shrink(images, factor)


@pytest.mark.parametrize("factor", [0, -3, 1.5, True])
def test_shrink_refuses_a_factor_that_is_no_count(xp, factor):
    with pytest.raises(ValueRangeError, match=f"factor: .* >= 1, found {factor}"):
        datasets.shrink(xp.ones((N, 6, 9, 2)), factor)


def test_shrink_refuses_flat_images(xp):
    with pytest.raises(ShapeError, match=r"images: expected shape \(N, H, W, C\)"):
        datasets.shrink(xp.ones((N, 54)), 3)


# What is refused


def test_an_unknown_split_suggests_the_known_one(folder):
    with pytest.raises(UnknownName, match="unknown split 'tests': did you mean 'test'"):
        datasets.mnist(folder, "tests")


def test_missing_files_are_listed(folder):
    (folder / "train-labels-idx1-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte.gz").mkdir()  # a folder is no file
    with pytest.raises(FileNotFoundError) as caught:
        datasets.mnist(folder)
    assert isinstance(caught.value, KfacError)
    expected = (
        "train-labels-idx1-ubyte or train-labels.idx1-ubyte or "
        "train-labels-idx1-ubyte.gz or train-labels.idx1-ubyte.gz"
    )
    assert f"in {str(folder)!r} expected {expected}; found none" in str(caught.value)


def test_both_files_and_their_folder_can_be_missing(tmp_path):
    with pytest.raises(datasets.DatasetMissing) as caught:
        datasets.mnist(tmp_path / "nowhere", "test")
    message = str(caught.value)
    assert "nowhere' (there is no such folder) expected" in message
    for kind in ("images?idx3", "labels?idx1"):
        for mark in "-.":
            name = f"t10k-{kind}-ubyte".replace("?", mark)
            assert f"{name} or " in message and f"{name}.gz" in message
    assert "; and t10k-labels-idx1-ubyte or" in message


def test_counts_of_images_and_labels_must_agree(folder, labels):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels[:-2]))
    expected = (
        r"images-idx3-ubyte and .*labels-idx1-ubyte: .*found 7 images and 5 labels"
    )
    with pytest.raises(datasets.DatasetError, match=expected):
        datasets.mnist(folder)


def test_labels_must_be_digits(folder, labels):
    labels[4] = 10
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    expected = (
        r"labels-idx1-ubyte: expected labels from 0 to 9, found 10 \(label number 4"
    )
    with pytest.raises(datasets.DatasetError, match=expected):
        datasets.mnist(folder)


GOOD = idx(np.arange(N * H * W).reshape(N, H, W))
ONES = np.ones(1)
MALFORMED = {
    "empty": (b"", "starts with the bytes 0000 0803, found an empty file"),
    "short magic": (GOOD[:3], "starts with the bytes 0000 0803, found .*08"),
    "text": (b"<html>not here</html>", "expected an IDX file, .* found 3c68 746d"),
    "first byte": (b"\1" + GOOD[1:], "expected an IDX file, .* found 0100 0803"),
    "second byte": (b"\0\1" + GOOD[2:], "expected an IDX file, .* found 0001 0803"),
    "no type": (idx(ONES, code=10, claims=(1, 1, 1)), "expected an IDX file, .* 0a03"),
    "floats": (idx(ONES, code=13, claims=(1, 1, 1)), r"type 8 .*found 13 \(float32\)"),
    "signed": (idx(ONES, code=9, claims=(1, 1, 1)), r"type 8 .*found 9 \(int8\)"),
    "labels": (idx(np.arange(N)), r"expected 3 dimension\(s\), found 1"),
    "colours": (idx(ONES, claims=(1, 1, 1, 1)), r"expected 3 dimension\(s\), found 4"),
    "no dimension": (idx(ONES, claims=()), r"expected 3 dimension\(s\), found 0"),
    "many dimensions": (bytes([0, 0, 8, 255]), r"expected 3 dimension\(s\), found 255"),
    "half a header": (GOOD[:13], "truncated: expected a header of 16 bytes, found 13"),
    "no images": (idx(ONES, claims=(0, H, W)), "found 0 x 5 x 3 = 0"),
    "no pixels": (idx(ONES, claims=(N, 0, W)), "found 7 x 0 x 3 = 0"),
    "huge": (
        idx(ONES, claims=(2**32 - 1,) * 3),
        r"from 1 to 268435456 .*= 792281\d{23}$",
    ),
    "no 64-bit overflow": (
        idx(ONES, claims=(2**31, 2**31, 4)),
        "= 18446744073709551616",
    ),
    "just too large": (idx(ONES, claims=(2**28 + 1, 1, 1)), "found 268435457 x 1 x 1"),
    "nothing follows": (GOOD[:16], "truncated: expected 105 bytes .* found 0"),
    "a byte too few": (GOOD[:-1], "truncated: expected 105 bytes .* found 104"),
    "a byte too many": (GOOD + b"\0", "too long: expected 105 bytes .* found more"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused(tmp_path, case, pack):
    content, expected = MALFORMED[case]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(pack(content))
    with pytest.raises(datasets.DatasetError, match=expected) as caught:
        datasets.read_idx(path, 3)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value, KfacError) and isinstance(caught.value, ValueError)


def test_the_good_file_is_read(tmp_path):
    """The control: what the spoiled files above were before."""
    (tmp_path / "good").write_bytes(GOOD)
    expected = np.arange(N * H * W).reshape(N, H, W)
    np.testing.assert_array_equal(datasets.read_idx(tmp_path / "good", 3), expected)


ZIPPED = gzip.compress(GOOD)
SPOILED = {
    "header only": ZIPPED[:7],
    "cut in the middle": ZIPPED[: len(ZIPPED) // 2],
    "no checksum": ZIPPED[:-8],
    "no length": ZIPPED[:-1],
    "wrong checksum": ZIPPED[:-8] + bytes(4) + ZIPPED[-4:],
    "wrong length": ZIPPED[:-4] + bytes(4),
    "wrong method": ZIPPED[:2] + b"\7" + ZIPPED[3:],
    "not deflate": ZIPPED[:10] + b"\xff" * 30,
    "rubbish behind": ZIPPED + b"rubbish",
}


@pytest.mark.parametrize("case", SPOILED)
def test_spoiled_gzip_files_are_refused(tmp_path, case):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(SPOILED[case])
    with pytest.raises(datasets.DatasetError, match="ubyte.gz: cannot be read: .+"):
        datasets.read_idx(path, 3)


def test_every_truncation_of_a_gzip_file_is_refused(tmp_path):
    path = tmp_path / "cut"
    for length in range(len(ZIPPED)):
        path.write_bytes(ZIPPED[:length])
        with pytest.raises(datasets.DatasetError, match="cut: "):
            datasets.read_idx(path, 3)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(datasets.DatasetError, match="cannot be read: .*directory"):
        datasets.read_idx(tmp_path, 3)


@pytest.mark.parametrize("claims", [(N, H, W), (2**32 - 1, 28, 28)])
def test_a_gzip_bomb_is_not_unpacked(tmp_path, claims):
    """32 MB of noughts in 32 kB, behind a modest or an immodest header."""
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(idx(np.zeros(2**25, dtype=np.uint8), claims=claims)))
    assert path.stat().st_size < 2**16
    tracemalloc.start()
    try:
        with pytest.raises(datasets.DatasetError, match="found more|claims from 1 to"):
            datasets.read_idx(path, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
