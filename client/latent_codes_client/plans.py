"""What a method asks for: chunks of what was given, and the call for each. Nothing is read or sent here."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from numpy.typing import ArrayLike

from latent_codes_client import arrays, calls, given
from latent_codes_client.arrays import CodeFormat
from latent_codes_client.calls import Call, Sampling, Target
from latent_codes_client.chunks import Chunk, Chunker, Piece
from latent_codes_client.errors import InvalidArgument
from latent_codes_client.given import Given, GivenCodes
from latent_codes_client.results import Decoding, Encoding, Generation, Reconstruction

ResultT = TypeVar("ResultT")
ToPieces = Callable[[Any, int], Iterator[Piece]]
"""An item and its position to the pieces of it."""


@dataclass(frozen=True)
class Limits:
    """How much goes in one request."""

    chunk_rows: int
    """Rows times samples."""
    chunk_bytes: int

    def __post_init__(self) -> None:
        for name in ("chunk_rows", "chunk_bytes"):
            if arrays.integer(name, getattr(self, name)) < 1:
                raise InvalidArgument(f"{name}: expected at least 1, got {getattr(self, name)}")

    def chunker(self, num_samples: int = 1) -> Chunker:
        """Rows are fewer where each has several samples."""
        return Chunker(max_rows=max(1, self.chunk_rows // max(1, num_samples)), max_bytes=self.chunk_bytes)


@dataclass(frozen=True)
class Plan(Generic[ResultT]):
    """Chunks in order, and what is asked for each."""

    chunks: Iterable[Chunk] | AsyncIterable[Chunk]
    num_rows: int | None
    call: Callable[[Chunk, ResultT | None], Call[ResultT]]
    """The call for a chunk; all but the first are told how the first was answered."""
    name: str = "inputs"


def encode(
    target: Target, values: Given, sampling: Sampling, limits: Limits, row_shape: tuple[int, ...] | None
) -> Plan[Encoding]:
    def call(chunk: Chunk, first: Encoding | None) -> Call[Encoding]:
        to, drawn = (target, sampling) if first is None else calls.following(target, sampling, first)
        return calls.encode(to, chunk, drawn)

    chunks = _chunked(values, partial(given.input_pieces, row_shape=row_shape), limits.chunker(sampling.num_samples))
    return Plan(chunks, values.num_rows, call)


def reconstruct(
    target: Target, values: Given, sampling: Sampling, limits: Limits, row_shape: tuple[int, ...] | None
) -> Plan[Reconstruction]:
    def call(chunk: Chunk, first: Reconstruction | None) -> Call[Reconstruction]:
        to, drawn = (target, sampling) if first is None else calls.following(target, sampling, first)
        return calls.reconstruct(to, chunk, drawn)

    chunks = _chunked(values, partial(given.input_pieces, row_shape=row_shape), limits.chunker(sampling.num_samples))
    return Plan(chunks, values.num_rows, call)


def decode(target: Target, values: Given, code_format: CodeFormat, limits: Limits) -> Plan[Decoding]:
    def call(chunk: Chunk, first: Decoding | None) -> Call[Decoding]:
        return calls.decode(target if first is None else Target(target.model, first.version), chunk, code_format)

    chunks = _chunked(values, partial(given.code_pieces, code_format=code_format), limits.chunker())
    return Plan(chunks, values.num_rows, call, "codes")


def decode_relaxed(target: Target, values: Given, limits: Limits) -> Plan[Decoding]:
    def call(chunk: Chunk, first: Decoding | None) -> Call[Decoding]:
        return calls.decode_relaxed(target if first is None else Target(target.model, first.version), chunk)

    return Plan(_chunked(values, given.relaxed_pieces, limits.chunker()), values.num_rows, call, "relaxed")


def decode_either(
    target: Target, codes: GivenCodes | None, relaxed: ArrayLike | None, code_format: CodeFormat, limits: Limits
) -> Plan[Decoding]:
    """Of codes or of relaxed ones. Raises InvalidArgument unless exactly one of them was given."""
    if relaxed is not None and codes is None:
        if code_format != "indices":
            raise InvalidArgument(f"code_format: expected none with relaxed codes, got {code_format!r}")
        return decode_relaxed(target, given.relaxed(relaxed), limits)
    if codes is None or relaxed is not None:
        raise InvalidArgument(f"expected either codes or relaxed, got {'neither' if codes is None else 'both'}")
    return decode(target, given.codes(codes, code_format), code_format, limits)


def generate(target: Target, num_samples: int, sampling: Sampling, limits: Limits) -> Plan[Generation]:
    def call(chunk: Chunk, first: Generation | None) -> Call[Generation]:
        to, drawn = (target, sampling) if first is None else calls.following(target, sampling, first)
        return calls.generate(to, chunk, drawn)

    step = limits.chunk_rows
    # What is no number of samples is the service's to refuse.
    starts = range(0, max(1, num_samples), step)
    chunks = [Chunk(start, min(step, num_samples - start)) for start in starts]
    return Plan(chunks, num_samples, call, "num_samples")


def first_of(plan: Plan[ResultT], chunk: Chunk | None) -> Chunk:
    """The first chunk, if there is one. Raises InvalidArgument."""
    if chunk is None:
        raise InvalidArgument(f"{plan.name}: expected at least one row, got none")
    return chunk


def _chunked(values: Given, to_pieces: ToPieces, chunker: Chunker) -> Iterable[Chunk] | AsyncIterable[Chunk]:
    if isinstance(values.items, AsyncIterable):
        return _later(values.items, to_pieces, chunker)
    return _now(values.items, to_pieces, chunker)


def _now(items: Iterable[Any], to_pieces: ToPieces, chunker: Chunker) -> Iterator[Chunk]:
    for position, item in enumerate(items):
        for piece in to_pieces(item, position):
            yield from chunker.push(piece)
    yield from chunker.finish()


async def _later(items: AsyncIterable[Any], to_pieces: ToPieces, chunker: Chunker) -> AsyncIterator[Chunk]:
    position = 0
    async for item in items:
        for piece in to_pieces(item, position):
            for chunk in chunker.push(piece):
                yield chunk
        position += 1
    for chunk in chunker.finish():
        yield chunk
