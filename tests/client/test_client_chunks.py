"""Cutting what was given into requests: nothing lost, nothing twice, in order, no larger than told."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_codes_client.chunks import Chunker, Piece


def chunks_of(pieces: list[Piece], **limits: int) -> list:
    chunker = Chunker(**limits)
    found = []
    for piece in pieces:
        found.extend(chunker.push(piece))
    found.extend(chunker.finish())
    return found


@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    max_rows=st.integers(1, 20),
    max_bytes=st.integers(1, 200),
)
def test_rows_come_once_in_order_and_never_too_many(sizes: list[int], max_rows: int, max_bytes: int) -> None:
    rows = np.arange(3 * sum(sizes), dtype=np.float32).reshape(-1, 3)
    pieces = [Piece(part) for part in np.split(rows, np.cumsum(sizes)[:-1])]
    found = chunks_of(pieces, max_rows=max_rows, max_bytes=max_bytes)
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in found]), rows)
    assert [chunk.start for chunk in found] == [0, *np.cumsum([chunk.num_rows for chunk in found])[:-1].tolist()]
    for chunk in found:
        assert len(chunk.rows) == chunk.num_rows <= max_rows
        assert chunk.rows.nbytes <= max_bytes or chunk.num_rows == 1
    # None is shorter than it had to be.
    for chunk in found[:-1]:
        assert chunk.num_rows == max_rows or chunk.rows.nbytes + 12 > max_bytes


@settings(max_examples=100)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=20), max_bytes=st.integers(1, 200))
def test_images_go_by_their_length_in_base64(lengths: list[int], max_bytes: int) -> None:
    pieces = [Piece(image=bytes([number]) * length, name=f"{number}.png") for number, length in enumerate(lengths)]
    found = chunks_of(pieces, max_rows=7, max_bytes=max_bytes)
    assert [image for chunk in found for image in chunk.images] == [piece.image for piece in pieces]
    names = [chunk.name_of(row) for chunk in found for row in range(chunk.num_rows)]
    assert names == [piece.name for piece in pieces]
    for chunk in found:
        encoded = sum(-(-len(image) // 3) * 4 for image in chunk.images)
        assert encoded <= max_bytes or chunk.num_rows == 1


def test_what_cannot_go_together_goes_apart_and_keeps_its_order() -> None:
    pieces = [
        Piece(np.zeros((2, 3), np.float32)),
        Piece(np.ones((1, 3), np.float64)),
        Piece(np.ones((1, 4), np.float64)),
        Piece(image=b"a"),
        Piece(image=b"b"),
    ]
    found = chunks_of(pieces, max_rows=10, max_bytes=1000)
    assert [(chunk.start, chunk.num_rows, len(chunk.images)) for chunk in found] == [
        (0, 2, 0),
        (2, 1, 0),
        (3, 1, 0),
        (4, 2, 2),
    ]


def test_a_row_that_is_larger_than_a_request_may_be_goes_alone() -> None:
    (first, second) = chunks_of([Piece(np.zeros((2, 100)))], max_rows=10, max_bytes=8)
    assert (first.num_rows, second.num_rows) == (1, 1)


def test_an_array_is_cut_without_being_copied() -> None:
    rows = np.zeros((10, 3))
    for chunk in chunks_of([Piece(rows)], max_rows=4, max_bytes=1000):
        assert np.shares_memory(chunk.rows, rows)
