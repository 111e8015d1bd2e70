"""How much an evaluation samples."""

from dataclasses import dataclass

from models.noise import MAX_SEED
from training.errors import EvaluationError


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """`num_samples` codes a row for -ELBO, `importance_samples` for each importance-weighted bound.

    `exact` sums over all codes too, where there are at most 65,536. `chunk_size` codes are decoded at a time: memory
    grows with it, and with nothing else. The same seed and chunk size on the same device give the same numbers.
    """

    num_samples: int = 20
    importance_samples: tuple[int, ...] = (5, 50)
    exact: bool = True
    seed: int = 0
    chunk_size: int = 512

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise EvaluationError(f"num_samples: expected at least 1, got {self.num_samples}")
        if any(count < 1 for count in self.importance_samples):
            raise EvaluationError(f"importance_samples: expected at least 1 each, got {list(self.importance_samples)}")
        if len(set(self.importance_samples)) < len(self.importance_samples):
            raise EvaluationError(f"importance_samples: expected each once, got {list(self.importance_samples)}")
        if not 0 <= self.seed <= MAX_SEED:
            raise EvaluationError(f"seed: expected 0 to {MAX_SEED}, got {self.seed}")
        if self.chunk_size < 1:
            raise EvaluationError(f"chunk_size: expected at least 1, got {self.chunk_size}")
