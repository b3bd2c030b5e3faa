"""What the inference endpoint refuses. No message holds a path of this machine.

InferenceError
├── BadBody              the request as a whole: JSON, lengths
├── BadTensor            one input or one requested output
├── RunFailed            the model could not be run on these inputs
├── BodyTooLarge
├── UnsupportedEncoding  a body compressed in another way than gzip or deflate
├── NotFound             no such thing
│   └── ModelNotFound    no such model, or no such version of it
├── NotLoaded            a model that was asked to load can't
├── ModelNotReady        it is still loading, or it failed to
├── Overloaded           too many requests wait for the model
├── Expired              the request waited longer than its timeout
└── ClientGone           nobody waits for the answer any more
LoadFailed               a version that can't be served; ends in the index, not in an answer
"""

from tieshare_service.errors import ServiceError


class InferenceError(ServiceError):
    """The root of everything that a request can be refused for."""

    type = "inference-error"


class BadBody(InferenceError):
    """The body is not an inference request."""

    type = "inference-bad-body"


class BadTensor(InferenceError):
    """One tensor of the request: its name, datatype, shape or data."""

    type = "inference-bad-tensor"


class RunFailed(InferenceError):
    """ONNX Runtime refused the inputs while it ran the model."""

    type = "inference-run-failed"


class BodyTooLarge(InferenceError):
    """The body is over the limit."""

    type = "inference-body-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request is larger than {limit} bytes")


class UnsupportedEncoding(InferenceError):
    """The body is compressed in a way that is not understood."""

    type = "inference-unsupported-encoding"


class NotFound(InferenceError):
    """What the path names is not there."""

    type = "inference-not-found"


class NotLoaded(InferenceError):
    """A model that was asked to load, and no version of it can; the message says why."""

    type = "inference-not-loaded"


class ModelNotFound(NotFound):
    """No such model, or no such version of it."""

    type = "inference-model-not-found"


class ModelNotReady(InferenceError):
    """The model or version exists, but nothing of it can answer yet."""

    type = "inference-model-not-ready"


class Overloaded(InferenceError):
    """As many requests wait for the model as may."""

    type = "inference-overloaded"


class Expired(InferenceError):
    """The request waited for its run longer than its timeout says."""

    type = "inference-expired"


class ClientGone(InferenceError):
    """The client closed its connection before its request ran."""

    type = "inference-client-gone"


class LoadFailed(ServiceError):
    """A version that can't be served; the message is the reason that the index shows."""

    type = "inference-load-failed"
