"""wrk, the load generator: as many requests as the server answers, over connections that stay open."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from workloads import Workload

_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "{content_type}"
wrk.headers["Accept"] = "{accept}"
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\\n{{"requests": %d, "microseconds": %d, "errors": %d, "p50_us": %d, "p99_us": %d, "max_us": %d}}\\n',
    summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


def require() -> str:
    """The path of wrk, or the end of the program."""
    path = shutil.which("wrk")
    if path is None:
        raise SystemExit("wrk is needed to make load: apt-get install wrk")
    return path


def load(url: str, workload: Workload, seconds: float) -> dict[str, Any]:
    """Requests a second, latencies in microseconds, and how many requests failed."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "script.lua")
        body.write_bytes(workload.body)
        script.write_text(_SCRIPT.format(body=body, content_type=workload.content_type, accept=workload.accept))
        finished = subprocess.run(
            [
                require(),
                "--threads=1",
                f"--connections={workload.num_connections}",
                f"--duration={max(1, round(seconds))}s",
                f"--script={script}",
                url,
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 60,
        )
    measured = json.loads(finished.stdout.strip().splitlines()[-1])
    measured["requests_per_second"] = measured["requests"] / measured["microseconds"] * 1e6
    return measured
