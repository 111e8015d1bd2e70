"""Client of the Latent Codes service: numpy arrays in, discrete codes out."""

from latent_codes_client.calls import CodeFormat, Output
from latent_codes_client.client import AsyncLatentCodesClient, LatentCodesClient
from latent_codes_client.errors import (
    ClientError,
    ConnectionFailed,
    FieldError,
    InvalidArgument,
    InvalidReply,
    NoReply,
    NotAllowed,
    NotFound,
    Problem,
    RequestRefused,
    ServiceError,
    ServiceFailed,
    TimedOut,
    Unavailable,
)
from latent_codes_client.results import Decoding, Encoding, Generation, Model, ModelSummary, Reconstruction

__all__ = [
    "AsyncLatentCodesClient",
    "ClientError",
    "CodeFormat",
    "ConnectionFailed",
    "Decoding",
    "Encoding",
    "FieldError",
    "Generation",
    "InvalidArgument",
    "InvalidReply",
    "LatentCodesClient",
    "Model",
    "ModelSummary",
    "NoReply",
    "NotAllowed",
    "NotFound",
    "Output",
    "Problem",
    "Reconstruction",
    "RequestRefused",
    "ServiceError",
    "ServiceFailed",
    "TimedOut",
    "Unavailable",
]
