"""The configuration of a run: composes the sections that stand beside the code they configure.

A configuration is a TOML file with one table a section. Every key has a default; a key that does not exist is refused
with the nearest one that does. The resolved configuration is saved with the run, and can be run again.
"""

import copy
import dataclasses
import difflib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, TypeAdapter, ValidationError

from models.errors import CodeError
from models.manifest import ModelName
from models.noise import MAX_SEED
from training.data import DataConfig
from training.errors import ConfigError
from training.estimators import ESTIMATORS, EstimatorConfig, StraightThroughGumbel
from training.grid import SweepConfig
from training.latents import LatentConfig
from training.likelihoods import LikelihoodConfig
from training.model import default_relaxation
from training.networks import ConvConfig, MlpConfig, NetworkConfig
from training.objectives import ObjectiveConfig
from training.optimizers import OptimizerConfig
from training.priors import PriorConfig
from training.relaxations import RELAXATIONS
from training.schedules import SCHEDULES, ExponentialSchedule, ScheduleOption, as_table, smallest


@dataclass(frozen=True, kw_only=True)
class RelaxationConfig:
    """Which relaxation of the posterior; None is binary Concrete for bits and Concrete for categories."""

    name: (
        Literal["binary_concrete", "concrete", "logistic_normal", "kumaraswamy", "hard_concrete", "hard_kumaraswamy"]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The loop: how long, in which portions, and how often it looks up.

    Of the checkpoints the newest `keep_checkpoints` stay, and those at the steps of `milestones`, which are saved
    whatever `checkpoint_every` is. `num_threads` "auto" is the fastest number of CPU threads, measured when a run is
    created and written into its configuration. `start_from` is the folder of another run, whose newest weights this one
    begins with.

    `precision` is that of the networks' layers; noise, losses and weights are float32 with either. `record` lets a GPU
    record the step once and replay it; `compile` compiles the loss and its gradient with `torch.compile`.
    """

    seed: int = 0
    num_steps: int = 10_000
    batch_size: int = 100
    log_every: int = 100
    evaluate_every: int = 1_000
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2
    milestones: tuple[int, ...] = ()
    num_threads: Literal["auto"] | int = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    record: bool = True
    compile: bool = False
    start_from: str | None = None

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value, minimum = getattr(self, option.name), 0 if option.name == "seed" else 1
            if type(value) is int and value < minimum:
                raise ValueError(f"{option.name}: expected at least {minimum}, got {value}")
        if any(not 1 <= step <= self.num_steps for step in self.milestones):
            raise ValueError(
                f"milestones: expected steps from 1 to num_steps = {self.num_steps}, got {list(self.milestones)}"
            )
        if self.seed > MAX_SEED:
            raise ValueError(f"seed: expected at most {MAX_SEED}, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run. Two runs of the same configuration on the same CPU give the same numbers.

    `name` is that of the run's folder and of the model it becomes.
    """

    name: ModelName = "digits-binary"
    description: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    relaxation: RelaxationConfig = field(default_factory=RelaxationConfig)
    likelihood: LikelihoodConfig = field(default_factory=LikelihoodConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    network: Annotated[NetworkConfig, Field(discriminator="kind")] = field(default_factory=MlpConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    estimator: Annotated[EstimatorConfig, Field(discriminator="name")] = field(default_factory=StraightThroughGumbel)
    relaxation_temperature: ScheduleOption = field(default_factory=ExponentialSchedule)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        self.estimator.check_latent(self.latent)
        self.estimator.check_temperature(smallest(self.relaxation_temperature))
        if self.relaxation.name is not None and self.latent.kind not in RELAXATIONS[self.relaxation.name].kinds:
            fitting = [name for name, relaxation in RELAXATIONS.items() if self.latent.kind in relaxation.kinds]
            raise ConfigError(
                f"relaxation.name: expected one of {', '.join(fitting)} for {self.latent.kind} latents, "
                f"got {self.relaxation.name!r}"
            )
        # Filled in here, so that the resolved configuration saved with a run tells the whole model.
        if self.relaxation.name is None:
            object.__setattr__(self, "relaxation", RelaxationConfig(name=default_relaxation(self.latent)))
        if self.likelihood.name != "bernoulli" and self.data.binarization is None:
            # Binarised by default is what only the Bernoulli likelihood needs.
            object.__setattr__(self, "data", dataclasses.replace(self.data, binarization="none"))


_ADAPTER = TypeAdapter(RunConfig)
_NETWORKS = {"mlp": MlpConfig, "conv": ConvConfig}
_UNION_MEMBERS = {*_NETWORKS, *SCHEDULES, *ESTIMATORS}


def read(path: Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration in a TOML file (None: the defaults), with `section.key=value` overrides applied in order.

    Values of overrides are written as in TOML; a bare word is a string. Raises ConfigError naming the key.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        _override(table, override)
    return parse(table)


def parse(table: dict[str, Any]) -> RunConfig:
    """The configuration in a nested dictionary. Raises ConfigError naming the key."""
    table = copy.deepcopy(table)  # _check_keys completes it
    _check_keys(RunConfig, table, prefix="")
    try:
        # Strictly, so that true is no 1 and "7" no 7; as JSON, where a strict array fits a tuple. Dates become strings.
        return _ADAPTER.validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(problem) for problem in error.errors())) from None
    except CodeError as error:
        raise ConfigError(f"latent.{error}") from None


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration as a nested dictionary, without keys that are None. Inverse of `parse`."""
    return _without_none(dataclasses.asdict(config))


def to_toml(config: RunConfig) -> str:
    return tomli_w.dumps(to_dict(config))


def _override(table: dict[str, Any], override: str) -> None:
    try:
        override.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"--set: expected text in UTF-8, got {override!r}") from None
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key}: {part} is a value, not a section")
    table[parts[-1]] = value


def _check_keys(section: type, table: dict[str, Any], prefix: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(section)}
    for key, value in table.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys are {', '.join(fields)}"
            raise ConfigError(f"unknown key {prefix}{key}: {hint}")
        inner: Any = fields[key].type
        if key == "network" and isinstance(value, dict):
            kind = value.get("kind", "mlp")
            if not isinstance(kind, str) or kind not in _NETWORKS:
                raise ConfigError(f"network.kind: expected one of {', '.join(_NETWORKS)}, got {kind!r}")
            # Without it pydantic would have to guess which of the two is meant.
            value["kind"] = kind
            inner = _NETWORKS[kind]
        if key == "estimator" and isinstance(value, dict):
            name = value.setdefault("name", StraightThroughGumbel().name)
            if not isinstance(name, str) or name not in ESTIMATORS:
                raise ConfigError(f"estimator.name: expected one of {', '.join(ESTIMATORS)}, got {name!r}")
            inner = ESTIMATORS[name]
        if inner is ScheduleOption:
            try:
                table[key] = value = as_table(value)
            except ValueError as error:
                raise ConfigError(f"{prefix}{key}: {error}") from None
            inner = SCHEDULES[value["kind"]]
        if dataclasses.is_dataclass(inner):
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{key}: expected a section, got {value!r}")
            _check_keys(inner, value, prefix=f"{prefix}{key}.")


def _sentence(problem: Any) -> str:
    # Within a union the location names the chosen member too, which is no part of the key.
    where = ".".join(str(part) for part in problem["loc"] if part not in _UNION_MEMBERS)
    message = problem["msg"].removeprefix("Value error, ")
    given = (
        "" if isinstance(problem["input"], dict) or problem["type"] == "value_error" else f", got {problem['input']!r}"
    )
    return f"{where}: {message}{given}"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple):
        return list(value)
    return value
