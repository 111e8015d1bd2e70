"""Measures a trained model: every bound side by side, rates and code usage, each number with its protocol.

measurement   one pass over the rows of a split, and the evaluation that comes of it
numbers       from what was measured of each row to named metrics
record        metrics and arrays as a file beside the run, and as a table
config        how much is sampled
"""

from training.evaluation.config import EvaluationConfig
from training.evaluation.measurement import evaluate
from training.evaluation.record import Evaluation, EvaluationRecord, read_record, table, write_record

__all__ = ["Evaluation", "EvaluationConfig", "EvaluationRecord", "evaluate", "read_record", "table", "write_record"]
