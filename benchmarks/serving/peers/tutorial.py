"""FastAPI as tutorials write it: a pydantic model of lists of floats, and a `def` endpoint."""

import numpy as np
from fastapi import FastAPI
from graphs import NUM_CATEGORIES, open_graph
from pydantic import BaseModel

app = FastAPI()
encoder, decoder = open_graph("encoder"), open_graph("decoder")


class EncodeRequest(BaseModel):
    """Rows of pixels."""

    inputs: list[list[float]]


class EncodeReply(BaseModel):
    """Rows of symbols."""

    codes: list[list[int]]


class DecodeRequest(BaseModel):
    """Rows of symbols."""

    codes: list[list[int]]


class DecodeReply(BaseModel):
    """Images."""

    outputs: list[list[list[float]]]


@app.post("/encode")
def encode(request: EncodeRequest) -> EncodeReply:
    """Rows to codes."""
    codes = encoder.run(["codes"], {"inputs": np.array(request.inputs, np.float32)})[0]
    return EncodeReply(codes=codes.tolist())


@app.post("/decode")
def decode(request: DecodeRequest) -> DecodeReply:
    """Codes to images."""
    corners = np.eye(NUM_CATEGORIES, dtype=np.float32)[np.array(request.codes)]
    outputs = decoder.run(["outputs"], {"relaxed": corners})[0]
    return DecodeReply(outputs=outputs.reshape(-1, 28, 28).tolist())
