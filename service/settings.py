"""Settings of the service: one frozen object, read from `LATENT_CODES_*` once, where the process starts.

Nothing else in the service looks at the environment. `docs/settings.md` has the same table for its users.

Not pydantic-settings, which takes as long to import as pydantic itself, in the supervisor and again in every worker:
what it would be used for is two lines of `from_environment`.
"""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from service.errors import SettingsRefused, quoted

PREFIX = "LATENT_CODES_"

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
ArenaExtension = Literal["kSameAsRequested", "kNextPowerOfTwo"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseModel):
    """What can be chosen about a running service."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = Field(
        "auto",
        description=(
            "Worker processes, which share the port. `auto`: one on a GPU, one for each core elsewhere, at most 16."
        ),
    )
    model_repositories: tuple[Path, ...] = Field(
        (Path("model_repository"), Path("models/shipped")),
        min_length=1,
        description=(
            f"Folders of models, separated by `{os.pathsep}`, or a JSON list. Of a version that two hold, the first is "
            "served. A folder named here must exist; those of the default need not."
        ),
    )
    repository_poll_seconds: float = Field(
        5.0,
        ge=0,
        le=86400,
        description=(
            "How often to look for new versions and models, which are then served without a restart; 0 for never."
        ),
    )
    strict_readiness: bool = Field(
        True,
        description=(
            "Whether a model of which no version can be served makes the service not ready; otherwise it is ready "
            "while any model is served."
        ),
    )
    device: Device = Field(
        "auto",
        description=(
            "`cpu`; `cuda` or `tensorrt`, which refuse to start unless every model really runs there; or `auto`, "
            "which takes CUDA where it works. What TensorRT does not support, CUDA runs."
        ),
    )
    io_binding: Literal["auto"] | bool = Field(
        "auto",
        description=(
            "Whether what a run reads and writes is allocated on its device and copied once each way. `auto`: on a GPU."
        ),
    )
    pad_batches: Literal["auto"] | bool = Field(
        "auto",
        description=(
            "Whether runs are padded to a power of two of rows, which changes no code: then few sizes are planned for, "
            "all of them before the first request. `auto`: on a GPU."
        ),
    )
    gpu_memory_limit_bytes: int = Field(
        0,
        ge=0,
        description=(
            "Most memory of the arena that each graph of a model has on a GPU (a model has three or four), so that "
            "several models share it; 0: what the device has."
        ),
    )
    gpu_arena_extension: ArenaExtension = Field(
        "kSameAsRequested",
        description=(
            "How such an arena grows: `kSameAsRequested`, by what is needed, or `kNextPowerOfTwo`, less often and by "
            "more."
        ),
    )
    tensorrt_cache: Path | None = Field(
        None,
        description=(
            "Folder in which TensorRT keeps the engines that it built for this GPU; without one it builds them at "
            "every start."
        ),
    )
    near_tie_margin: Literal["auto"] | Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        "auto",
        description=(
            "A row is flagged in `near_ties` where a symbol was decided by less. `auto`: 0 on the CPU, where codes do "
            "not depend on the batch, 0.0001 elsewhere; `benchmarks/serving/invariance.py` measures what a device "
            "needs."
        ),
    )
    intra_op_num_threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="Threads within one run of a graph. With 1, codes on the CPU are the same in any batch.",
    )
    max_body_bytes: int = Field(16 << 20, ge=1, description="Longest request body; a longer one gets 413.")
    max_image_pixels: int = Field(
        25_000_000,
        ge=1,
        description=(
            "Most pixels, together, of the images in one request, counted before any is decoded; and of a picture in a "
            "reply. More get 422."
        ),
    )
    max_rows: int = Field(
        4096, ge=1, description="Most rows times samples in one request; more get 422, with the advice to split."
    )
    max_batch_rows: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description=(
            "Most rows in one run of a graph, of one request or of several that come together; larger requests are run "
            "in parts, with the same answers. `auto`: 64 on the CPU, 1024 on a GPU."
        ),
    )
    max_batch_wait_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        description=(
            "How long a run may wait for others to join, and only while fewer requests wait than shared the run "
            "before. 0: what comes together runs together."
        ),
    )
    max_queue_rows: int = Field(
        8192,
        ge=1,
        description=(
            "Most rows times samples that a worker has admitted and not answered; a request beyond that gets 503 with "
            "`Retry-After`."
        ),
    )
    max_inline_ms: float = Field(
        1.0,
        ge=0,
        le=1000,
        description=(
            "Work estimated to take more milliseconds than this is done in a thread, beside the event loop; shorter "
            "work costs less than handing it over."
        ),
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description=(
            "Keys that callers of the models need, as `name:key`, separated by commas or blanks. Without any, here or "
            "in the file, everybody may call."
        ),
    )
    api_keys_file: Path | None = Field(
        None, description="File of more such keys, one a line; read when a worker starts."
    )
    admin_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys of administrators, in the same form. Without any, nobody may load or unload models.",
    )
    admin_keys_file: Path | None = Field(None, description="File of more such keys.")
    open_metrics: bool = Field(True, description="Whether `/metrics` needs no key, where other routes do.")
    cors_origins: tuple[str, ...] = Field(
        (),
        description=(
            "Origins whose pages may call from a browser, such as `https://example.org`, separated by blanks; `*`: all."
        ),
    )
    request_timeout_ms: int = Field(
        30_000,
        ge=0,
        le=3_600_000,
        description=(
            "Deadline of a request, after which it gets 504 and is not worked on; `X-Request-Timeout-Ms` asks for a "
            "shorter one. 0: none."
        ),
    )
    max_connections: int = Field(
        2048, ge=1, le=1 << 20, description="Most open connections of a worker; one more gets 503 and is closed."
    )
    max_head_bytes: int = Field(
        32 << 10, ge=256, description="Longest request line with its headers; a longer one gets 431."
    )
    max_unsent_bytes: int = Field(
        256 << 20,
        ge=1,
        description=(
            "Most bytes of replies that a worker keeps for clients that do not take them; beyond that, connections are "
            "closed, those first that have waited longest."
        ),
    )
    receipt_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="Longest time in which a request must have arrived whole; then it gets 408 and is closed.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="How long to go on accepting after SIGTERM, not ready any more, until whoever sends has noticed.",
    )
    grace_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="How long the requests that were accepted may take to finish when the service or a worker stops.",
    )
    saturated_seconds: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="How long the queues of all workers may be full before the service is not ready.",
    )
    log_level: LogLevel = Field("info", description="`debug`, `info`, `warning` or `error`.")
    access_log: bool = Field(False, description="Whether every request is logged, as one JSON document on a line.")
    usage_window_seconds: float = Field(
        600.0, ge=1, le=86400, description="The window in which it is counted how a model's codes are used."
    )
    otlp_endpoint: str = Field(
        "",
        description=(
            "URL to export OpenTelemetry traces to, such as `http://localhost:4318/v1/traces`; needs the extra `otel`."
        ),
    )

    @property
    def has_administrators(self) -> bool:
        """Whether anybody may load and unload models."""
        return bool(self.admin_keys.get_secret_value().strip() or self.admin_keys_file)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        return value.split() if isinstance(value, str) else value

    @field_validator("model_repositories", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except json.JSONDecodeError as error:
                raise ValueError(f"a JSON list cannot be read: {error.msg}") from None
        return [part for part in value.split(os.pathsep) if part]

    @classmethod
    def from_environment(cls) -> Self:
        """The settings that `os.environ` asks for. Raises SettingsRefused, which names each variable at fault."""
        _refuse_unknown(os.environ)
        given = {name.upper(): value for name, value in os.environ.items()}
        variables = {name: PREFIX + name.upper() for name in cls.model_fields}
        try:
            return cls.model_validate({name: given[key] for name, key in variables.items() if key in given})
        except ValidationError as error:
            sentences = [
                f"{_variable(problem)}={_shown(_variable(problem))}: {problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors(include_url=False)
            ]
            raise SettingsRefused("; ".join(sentences)) from None


def _variable(problem: Any) -> str:
    return PREFIX + str(problem["loc"][0]).upper()


def _shown(variable: str) -> str:
    """What the environment says, unless it is secret."""
    field = Settings.model_fields[variable.removeprefix(PREFIX).lower()]
    return "a secret" if field.annotation is SecretStr else quoted(os.environ.get(variable, ""))


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)
            raise SettingsRefused(f"{name} is not a setting; the nearest is {near[0]}")
