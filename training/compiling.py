"""A function compiled with `torch.compile`, and called as it is where it cannot be."""

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class CompiledFunction(Generic[_P, _R]):
    """Compiled when it is first called, for the shapes of that call.

    Where that fails, for want of a C++ compiler on a CPU for instance, one line of the log says so and the function is
    called instead, or what was given to be called `otherwise`, in that call and in every later one: the numbers are
    the same but for their rounding.
    """

    def __init__(
        self,
        function: Callable[_P, _R],
        *,
        otherwise: Callable[_P, _R] | None = None,
        compiler: Callable[[Callable[_P, _R]], Callable[_P, _R]] | None = None,
    ) -> None:
        """`compiler` None is `torch.compile`."""
        self._otherwise = function if otherwise is None else otherwise
        self._call = torch.compile(function, dynamic=False) if compiler is None else compiler(function)
        self._is_first = True

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not self._is_first:
            return self._call(*args, **kwargs)
        self._is_first = False
        try:
            return self._call(*args, **kwargs)
        except RuntimeError as error:
            # What the compiler needs and lacks is its own to say, in many kinds of RuntimeError.
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            logger.warning("steps are not compiled (%s)", reason)
            self._call = self._otherwise
        return self._call(*args, **kwargs)
