"""Parts over workers: a pool of actors of Ray Data, on this machine or on a cluster by its address.

What travels is the number of a part and its receipt; rows are read and written where they are worked on. A worker that
dies is replaced and its part done again, which gives the same file.
"""

import json
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from service.bulk.jobs import Receipt
from service.bulk.work import Assignment, PartWorker
from service.errors import JobFailed, JobRefused

_CONNECT_SECONDS = 5.0


def in_this_process(given: Assignment) -> Iterator[Receipt]:
    """One part after the other, without Ray."""
    if not given.parts:
        return
    worker = PartWorker(given)
    for part in given.parts:
        yield worker.do(part)


def on_ray(given: Assignment, *, num_workers: int, gpus_per_worker: float, address: str | None) -> Iterator[Receipt]:
    """On so many actors of a core each; receipts come as parts are done, in any order.

    `address` is a Ray cluster's; None starts Ray on this machine and ends it afterwards. Raises JobRefused when there
    is no Ray, or no cluster at the address, JobFailed when a worker breaks, and OSError when one cannot write.
    """
    # Ray warns of arguments that a restarted worker might miss; the driver, which outlives the workers, holds them.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise JobRefused("several workers need Ray: install the extra `bulk`, or use --workers 0") from None
    try:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None:
            # Nothing to look at here, so no port for it; and as many workers as are asked for, on whatever cores.
            ray.init(num_cpus=num_workers, include_dashboard=False, **quiet)
        else:
            _require_answer(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise JobRefused(f"no Ray cluster at {address}: {str(error).splitlines()[0][:200]}") from error
    try:
        _require_gpus(gpus_per_worker, ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        # Made here and not read: a task of its own for that would want a core that the workers have.
        numbers = [{"at": at} for at in range(len(given.parts))]
        done = ray.data.from_items(numbers, override_num_blocks=len(numbers)).map(
            _Worker,  # type: ignore[arg-type]  # a class is made once an actor, which Ray's types leave out
            # Within a list, so that a worker fetches it itself, again after a restart.
            fn_constructor_args=([ray.put(given)],),
            # A cluster may have fewer cores free than that: begin with what there is.
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=num_workers, initial_size=num_workers),
            num_cpus=1,
            num_gpus=gpus_per_worker or None,
        )
        for row in done.iter_rows():
            if row["failure"]:
                raise OSError(*json.loads(row["failure"]))
            yield Receipt.from_json(row["receipt"])
    except ray.exceptions.RayError as error:
        raise JobFailed(_cause(error)) from error
    finally:
        ray.shutdown()


class _Worker:
    """An actor: loads the model once, then does parts."""

    def __init__(self, given: list[Any]) -> None:
        import ray

        assignment: Assignment = ray.get(given[0])
        self._parts = assignment.parts
        self._worker = PartWorker(assignment)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"receipt": self._worker.do(self._parts[row["at"]]).to_json(), "failure": ""}
        except OSError as error:
            # Told and not raised: Ray would try again for a while and wrap the error in its own words.
            return {"receipt": b"", "failure": json.dumps(_arguments(error))}


def _arguments(error: OSError) -> list[Any]:
    """What makes the same error elsewhere."""
    return [str(error)] if error.errno is None else [error.errno, error.strerror, error.filename]


def _require_answer(address: str) -> None:
    """Raise OSError unless somebody listens at `ray://host:port` or `host:port`: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


def _require_gpus(wanted: float, there_are: float) -> None:
    """Ray would wait for ever."""
    if wanted > there_are:
        raise JobRefused(f"a worker wants {wanted:g} GPU, and Ray has {there_are:g}; leave --gpus-per-worker out")


def _cause(error: Exception) -> str:
    """What went wrong in a worker, without Ray's traceback around it."""
    inner: BaseException = error
    while (cause := getattr(inner, "cause", None) or inner.__cause__) is not None:
        inner = cause
    return str(inner).strip().splitlines()[-1][:300] if str(inner).strip() else type(inner).__name__
