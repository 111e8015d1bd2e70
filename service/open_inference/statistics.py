"""The statistics extension, as Triton Inference Server defines it (docs/protocol/extension_statistics.md).

An execution is a run of one of a model's graphs: encoding takes one or two, reconstructing up to three. Arrays are
handed to ONNX Runtime where they lie, so `compute_input` and `compute_output` are no phases of their own and stay 0, as
`cache_hit` does: nothing is cached.
"""

from typing import Any

from service.statistics import Duration, ModelStatistics


def model_stat(name: str, version: int, statistics: ModelStatistics | None) -> dict[str, Any]:
    """The object of one version; of zeros where nothing was asked of it yet."""
    statistics = statistics or ModelStatistics()
    runs = statistics.runs
    executions = Duration(sum(run.count for run in runs.values()), sum(run.ns for run in runs.values()))
    nothing = _duration(Duration())
    return {
        "name": name,
        "version": str(version),
        "last_inference": statistics.last_inference_ms,
        "inference_count": statistics.inference_count,
        "execution_count": executions.count,
        "inference_stats": {
            "success": _duration(statistics.success),
            "fail": _duration(statistics.fail),
            "queue": _duration(statistics.queue),
            "compute_input": nothing,
            "compute_infer": _duration(executions),
            "compute_output": nothing,
            "cache_hit": nothing,
        },
        "batch_stats": [
            {
                "batch_size": num_rows,
                "compute_input": nothing,
                "compute_infer": _duration(runs[num_rows]),
                "compute_output": nothing,
            }
            for num_rows in sorted(runs)
        ],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
