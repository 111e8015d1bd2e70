"""Client of the Latent Codes service: numpy arrays in, discrete codes out."""

from latent_codes_client.arrays import CodeFormat
from latent_codes_client.async_client import AsyncLatentCodesClient
from latent_codes_client.calls import Output
from latent_codes_client.client import LatentCodesClient
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
from latent_codes_client.given import GivenCodes, Inputs
from latent_codes_client.results import Decoding, Encoding, Generation, Model, ModelSummary, Reconstruction
from latent_codes_client.retries import Retries

__all__ = [
    "AsyncLatentCodesClient",
    "ClientError",
    "CodeFormat",
    "ConnectionFailed",
    "Decoding",
    "Encoding",
    "FieldError",
    "Generation",
    "GivenCodes",
    "Inputs",
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
    "Retries",
    "ServiceError",
    "ServiceFailed",
    "TimedOut",
    "Unavailable",
]
