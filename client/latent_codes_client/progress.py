"""A progress bar, for those who ask for one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from latent_codes_client.errors import InvalidArgument


@contextmanager
def bar(total: int | None, *, shown: bool, unit: str = "row") -> Iterator[Callable[[int], object]]:
    """Tell the result how many more are done. The bar is on standard error, by tqdm."""
    if not shown:
        yield lambda num_done: None  # noqa: ARG005 - nobody looks
        return
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        raise InvalidArgument("progress: needs the package tqdm: pip install 'latent-codes-client[progress]'") from None
    with tqdm(total=total, unit=unit, unit_scale=True) as shown_bar:
        yield shown_bar.update
