"""What a careful engineer writes without any framework: uvicorn, orjson, ONNX Runtime, and the shape checked.

No validation of values, no errors that name a field, no limits, no batching, one model.
"""

import numpy as np
import orjson
from graphs import INPUT_SIZE, NUM_CATEGORIES, NUM_LATENTS, open_graph

encoder, sampler, decoder = open_graph("encoder"), open_graph("sampler"), open_graph("decoder")
CORNERS = np.eye(NUM_CATEGORIES, dtype=np.float32)
NUMPY = orjson.OPT_SERIALIZE_NUMPY
JSON, NPY = b"application/json", b"application/x-npy"


def encode(inputs, temperature=0.0, seed=None):
    """Codes [B, N]."""
    if temperature == 0:
        return encoder.run(["codes"], {"inputs": inputs})[0]
    (logits,) = encoder.run(["logits"], {"inputs": inputs})
    noise = np.random.default_rng(seed).gumbel(size=logits.shape).astype(np.float32)
    temperatures = np.full(len(inputs), temperature, np.float32)
    taus = np.ones(len(inputs), np.float32)
    fed = {"logits": logits, "noise": noise, "temperature": temperatures, "relaxation_temperature": taus}
    return sampler.run(["codes"], fed)[0]


def decode(codes):
    """Outputs [B, D]."""
    return decoder.run(["outputs"], {"relaxed": CORNERS[codes]})[0]


def rows_of(document):
    """The inputs of a JSON document."""
    inputs = np.array(document["inputs"], np.float32)
    if inputs.ndim != 2 or inputs.shape[1] != INPUT_SIZE:
        raise ValueError("expected rows of 784 numbers")
    return inputs


def npy(array):
    """The array as an npy file."""
    descr = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    header = str(descr).encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + array.tobytes()


async def app(scope, receive, send):
    """An ASGI application."""
    if scope["type"] != "http":
        return
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    media_type, status = JSON, 200
    headers = dict(scope["headers"])
    try:
        if scope["path"].endswith("/encode"):
            if headers.get(b"content-type") == JSON:
                document = orjson.loads(body)
                codes = encode(rows_of(document), document.get("temperature", 0.0), document.get("seed"))
            else:
                codes = encode(np.frombuffer(body, np.float32).reshape(-1, INPUT_SIZE))
            reply = orjson.dumps({"codes": codes}, option=NUMPY)
        else:
            codes = np.array(orjson.loads(body)["codes"], np.intp)
            if codes.ndim != 2 or codes.shape[1] != NUM_LATENTS:
                raise ValueError("expected rows of 20 codes")
            outputs = decode(codes)
            if headers.get(b"accept") == NPY:
                media_type, reply = NPY, npy(outputs.reshape(-1, 28, 28))
            else:
                reply = orjson.dumps({"outputs": outputs.reshape(-1, 28, 28)}, option=NUMPY)
    except (ValueError, KeyError, TypeError) as error:
        status, reply = 400, orjson.dumps({"error": str(error)})
    lines = [(b"content-type", media_type), (b"content-length", str(len(reply)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": reply})
