"""`models/codes.py` against a second packing, by strings of the characters 0 and 1."""

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models import codes
from models.codes import MAX_CATEGORIES, CodeLayout
from models.errors import CodeError


def packed_by_strings(row: list[int], layout: CodeLayout) -> bytes:
    """One code as text: every value in binary digits, all joined, filled with 0 to whole bytes."""
    width = math.ceil(math.log2(layout.num_categories))
    digits = "".join(format(value, f"0{width}b") for value in row)
    digits += "0" * (-len(digits) % 8)
    return bytes(int(digits[start : start + 8], 2) for start in range(0, len(digits), 8))


@st.composite
def layouts(draw: st.DrawFn) -> CodeLayout:
    edges = st.sampled_from([2, 3, 4, 5, 10, 127, 128, 129, 255, 256, 257, 1000, 32769, MAX_CATEGORIES])
    return CodeLayout(draw(st.integers(1, 40)), draw(edges | st.integers(2, MAX_CATEGORIES)))


@st.composite
def layouts_with_codes(draw: st.DrawFn) -> tuple[CodeLayout, np.ndarray]:
    layout = draw(layouts())
    values = st.integers(0, layout.num_categories - 1) | st.just(layout.num_categories - 1)
    shape = (draw(st.integers(0, 4)), layout.num_latents)
    dtype = draw(st.sampled_from([np.dtype(np.int64), np.dtype(np.uint32), np.dtype(np.int32), layout.dtype]))
    return layout, draw(arrays.arrays(dtype, shape, elements=values))


@given(layouts_with_codes())
def test_packing_agrees_with_strings_of_binary_digits(case: tuple[CodeLayout, np.ndarray]) -> None:
    layout, values = case
    packed = codes.pack(values, layout)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(values), layout.num_bytes)
    assert [row.tobytes() for row in packed] == [packed_by_strings(row, layout) for row in values.tolist()]


@given(layouts_with_codes())
def test_every_spelling_reads_back_as_the_code_it_was_written_from(case: tuple[CodeLayout, np.ndarray]) -> None:
    layout, values = case
    for back in (
        codes.unpack(codes.pack(values, layout), layout),
        codes.from_hex(codes.to_hex(values, layout), layout),
        codes.from_base64(codes.to_base64(values, layout), layout),
    ):
        assert back.dtype == layout.dtype
        np.testing.assert_array_equal(back, values)


@given(layouts_with_codes())
def test_hex_and_base64_spell_the_packed_bytes(case: tuple[CodeLayout, np.ndarray]) -> None:
    layout, values = case
    expected = [packed_by_strings(row, layout) for row in values.tolist()]
    assert codes.to_hex(values, layout) == [content.hex() for content in expected]
    assert codes.to_base64(values, layout) == [base64.b64encode(content).decode() for content in expected]


def test_packing_keeps_leading_axes() -> None:
    layout = CodeLayout(num_latents=3, num_categories=10)
    values = np.arange(2 * 4 * 3).reshape(2, 4, 3) % 10
    packed = codes.pack(values, layout)
    assert packed.shape == (2, 4, 2)
    np.testing.assert_array_equal(packed[1, 2], codes.pack(values[1, 2], layout))
    np.testing.assert_array_equal(codes.unpack(packed, layout), values)


def test_a_known_code_packs_most_significant_bit_first() -> None:
    # 3 values of 0..9 take 4 bits each: 1001 0001 0101, filled to 1001 0001 0101 0000.
    layout = CodeLayout(num_latents=3, num_categories=10)
    assert codes.to_hex(np.array([[9, 1, 5]]), layout) == ["9150"]
    assert codes.to_base64(np.array([[9, 1, 5]]), layout) == ["kVA="]
    # Nine bits: the ninth opens the second byte.
    assert codes.to_hex(np.array([[1, 0, 0, 0, 0, 0, 0, 1, 1]]), CodeLayout(9, 2)) == ["8180"]


@pytest.mark.parametrize(
    ("num_categories", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9), (65535, 16), (65536, 16)]
)
def test_a_value_takes_the_fewest_bits_that_tell_the_categories_apart(num_categories: int, bits: int) -> None:
    layout = CodeLayout(3, num_categories)
    assert (layout.bits_per_latent, layout.num_bits, layout.num_bytes) == (bits, 3 * bits, math.ceil(3 * bits / 8))
    assert layout.dtype == (np.uint8 if num_categories <= 256 else np.uint16)


@pytest.mark.parametrize(
    ("num_latents", "num_categories", "field"), [(0, 2, "num_latents"), (1, 1, "num_categories"), (1, 65537, "65536")]
)
def test_an_impossible_layout_is_refused(num_latents: int, num_categories: int, field: str) -> None:
    with pytest.raises(CodeError, match=field):
        CodeLayout(num_latents, num_categories)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 3)), "expected integers, got float64"),
        (np.zeros((1, 3), bool), "expected integers, got bool"),
        (np.zeros((1, 4), int), "codes of 3 values, got 4"),
        (np.array(1), "codes of 3 values, got a single number"),
        (np.array([[0, 0, 0], [0, 10, 0]]), r"values in 0\.\.9, got 10 at position \[1, 1\]"),
        (np.array([[-1, 0, 0]]), r"values in 0\.\.9, got -1 at position \[0, 0\]"),
        (np.array([[0, 0, 256]]), r"got 256 at position \[0, 2\]"),
    ],
)
def test_codes_that_do_not_fit_are_refused_with_what_came(values: np.ndarray, message: str) -> None:
    with pytest.raises(CodeError, match=message):
        codes.check(values, CodeLayout(num_latents=3, num_categories=10))


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (np.array([[0x91, 0x50, 0]], np.uint8), "expected 2 bytes a code, got 3"),
        (np.array(7, np.uint8), "expected 2 bytes a code, got a single number"),
        (np.array([[0x91, 0x50]]), r"expected bytes \(uint8\), got int64"),
        (np.array([[0x91, 0x51]], np.uint8), "the last 4 bits .* to be 0"),
        (np.array([[0x9A, 0x50]], np.uint8), r"values in 0\.\.9, got 10 at position \[0, 1\]"),
    ],
)
def test_packed_bytes_that_are_no_code_are_refused(packed: np.ndarray, message: str) -> None:
    with pytest.raises(CodeError, match=message):
        codes.unpack(packed, CodeLayout(num_latents=3, num_categories=10))


@given(layouts(), st.data())
def test_bytes_are_a_code_or_refused_and_never_two_spellings_of_one(layout: CodeLayout, data: st.DataObject) -> None:
    content = data.draw(st.binary(min_size=layout.num_bytes, max_size=layout.num_bytes))
    packed = np.frombuffer(content, np.uint8)
    try:
        values = codes.unpack(packed, layout)
    except CodeError:
        return
    assert codes.pack(values, layout).tobytes() == content


@pytest.mark.parametrize(
    "text", ["915", "91500", "", "9 50", "91 5", "91  ", "    ", "915g", "９150", "+150", b"9150", 9150, None]
)
def test_text_that_is_no_hex_of_the_right_length_is_refused_with_its_row(text: object) -> None:
    with pytest.raises(CodeError, match=r"row 1: expected .*hex digits, got"):
        codes.from_hex(["9150", text], CodeLayout(num_latents=3, num_categories=10))  # type: ignore[list-item]


def test_hex_of_either_case_is_read() -> None:
    layout = CodeLayout(num_latents=2, num_categories=16)
    np.testing.assert_array_equal(codes.from_hex(["aB", "Ab"], layout), [[10, 11], [10, 11]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kVA", "standard base64"),
        ("kV A=", "standard base64"),
        ("kVA=\n", "standard base64"),
        ("k-A=", "standard base64"),
        ("kVé=", "standard base64"),
        (b"kVA=", "a value of type bytes"),
        (None, "a value of type NoneType"),
        ("", "expected base64 of 2 bytes, got 0 bytes"),
        ("kVAA", "expected base64 of 2 bytes, got 3 bytes"),
        ("kVB=", "spelt 'kVA=' at its end, got 'kVB='"),
        ("A" * 10_001, "of length 10001"),
    ],
)
def test_text_that_is_no_base64_of_the_right_length_is_refused_with_its_row(text: object, message: str) -> None:
    with pytest.raises(CodeError, match=f"row 1: .*{message}") as refusal:
        codes.from_base64(["kVA=", text], CodeLayout(num_latents=3, num_categories=10))  # type: ignore[list-item]
    assert len(str(refusal.value)) < 200
