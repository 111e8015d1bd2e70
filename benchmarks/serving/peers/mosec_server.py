"""mosec: a front end in Rust, workers in Python. Requests of one row are joined; those of 64 are batches already."""

import os

import numpy as np
import orjson
from graphs import INPUT_SIZE, open_graph
from mosec import Server, ValidationError, Worker


class Encoder(Worker):
    """JSON in and out, or raw float32 in."""

    def __init__(self):
        super().__init__()
        self.encoder = open_graph("encoder")

    def deserialize(self, data):
        """Rows [B, D]."""
        if data[:1] == b"{":
            inputs = np.array(orjson.loads(data)["inputs"], np.float32)
        else:
            inputs = np.frombuffer(data, np.float32).reshape(-1, INPUT_SIZE)
        if inputs.ndim != 2 or inputs.shape[1] != INPUT_SIZE:
            raise ValidationError("expected rows of 784 numbers")
        return inputs

    def serialize(self, data):
        """Codes as JSON."""
        return orjson.dumps({"codes": data}, option=orjson.OPT_SERIALIZE_NUMPY)


class OneByOne(Encoder):
    """A run a request."""

    def forward(self, data):
        """Codes [B, N]."""
        return self.encoder.run(["codes"], {"inputs": data})[0]


class Joined(Encoder):
    """A run for the requests that wait."""

    def forward(self, data):
        """Codes of each request."""
        codes = self.encoder.run(["codes"], {"inputs": np.concatenate(data)})[0]
        return np.split(codes, np.cumsum([len(rows) for rows in data])[:-1])


if __name__ == "__main__":
    server = Server()
    num_workers, max_batch = int(os.environ["BENCHMARK_WORKERS"]), int(os.environ["BENCHMARK_MAX_BATCH"])
    if max_batch == 1:
        server.append_worker(OneByOne, num=num_workers)
    else:
        server.append_worker(Joined, num=num_workers, max_batch_size=max_batch, max_wait_time=1)
    server.run()
