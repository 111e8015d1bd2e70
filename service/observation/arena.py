"""Numbers of all workers in shared memory: for each worker a region of named blocks of 64-bit floats.

A region is written by one process at a time and read by all. A block is there for good once it is made; a worker that
takes the place of one that died finds its blocks and counts on. A number is stored whole, and a new block is shown only
when it is complete, so a process killed at any moment leaves a region that can be read.

    region:  bytes in use | block, block, ...        block:  bytes of the key | numbers | key, padded to 8 | float64s
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator

REGION_BYTES = 16 << 20
"""For each place; pages that were never written take no memory."""

_USED = struct.Struct("<q")
_HEAD = struct.Struct("<qq")
_NUMBER_BYTES = 8


class Arena:
    """The memory, mapped into this process."""

    def __init__(self, descriptor: int) -> None:
        """Of a descriptor that `create` made, here or in the process that spawned this one."""
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self.num_places = len(self._memory) // REGION_BYTES

    @classmethod
    def create(cls, num_places: int) -> "Arena":
        """An empty arena. It has no name, and goes when the last process that maps it does."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("latent-codes-metrics")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, num_places * REGION_BYTES)
        return cls(descriptor)

    def region(self, place: int) -> "Region":
        """The region of a place, to write to. For the worker at that place alone."""
        return Region(self._view(place))

    def blocks(self, place: int) -> Iterator[tuple[str, "memoryview[float]"]]:
        """Key and numbers of each block that a place has now."""
        return _blocks(self._view(place))

    def _view(self, place: int) -> memoryview:
        return memoryview(self._memory)[place * REGION_BYTES : (place + 1) * REGION_BYTES]


class Region:
    """Makes and finds blocks."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._known = dict(_blocks(view))

    def block(self, key: str, num_numbers: int) -> "memoryview[float]":
        """The block of that key, of zeros when it is new.

        Where the region is full, one that nobody else sees: counting goes on, and is lost.
        """
        known = self._known.get(key)
        if known is None or len(known) != num_numbers:
            known = self._known[key] = self._make(key, num_numbers)
        return known

    def _make(self, key: str, num_numbers: int) -> "memoryview[float]":
        name = key.encode()
        used = _USED.unpack_from(self._view)[0] or _USED.size
        start = used + _HEAD.size + _padded(len(name))
        end = start + num_numbers * _NUMBER_BYTES
        if end > len(self._view):
            return memoryview(bytearray(num_numbers * _NUMBER_BYTES)).cast("d")
        _HEAD.pack_into(self._view, used, len(name), num_numbers)
        self._view[used + _HEAD.size : used + _HEAD.size + len(name)] = name
        _USED.pack_into(self._view, 0, end)
        return self._view[start:end].cast("d")


def _blocks(view: memoryview) -> Iterator[tuple[str, "memoryview[float]"]]:
    used = _USED.unpack_from(view)[0]
    at = _USED.size
    while at < used:
        num_bytes, num_numbers = _HEAD.unpack_from(view, at)
        at += _HEAD.size
        key = bytes(view[at : at + num_bytes]).decode()
        at += _padded(num_bytes)
        end = at + num_numbers * _NUMBER_BYTES
        yield key, view[at:end].cast("d")
        at = end


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // _NUMBER_BYTES) * _NUMBER_BYTES
