"""The warm-up file of a SavedModel: requests that TensorFlow Serving plays before it answers the first client.

TensorFlow sets parts of itself up when a graph runs for the first time. TensorFlow Serving reads
assets.extra/tf_serving_warmup_requests, a TFRecord file of PredictionLog messages, when it loads a model.
"""

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")


def write_warm_up(folder: Path, requests: Iterable[tuple[str, str, tf.Tensor]]) -> None:
    """Write into the SavedModel in `folder` a request for each (signature, name of its input, input)."""
    file = folder / WARM_UP
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, name, value in requests:
            writer.write(prediction_log(signature, name, value))


def prediction_log(signature: str, name: str, value: tf.Tensor) -> bytes:
    """A PredictionLog message that asks `signature` for what it makes of `value`.

    The classes for it are in the package tensorflow-serving-api, which nothing else here would need. These are its
    fields, by their numbers in tensorflow_serving/apis: PredictionLog.predict_log 6, PredictLog.request 1,
    PredictRequest.model_spec 1 and .inputs 2 (a map, whose entries have key 1 and value 2), ModelSpec.signature_name 3.
    """
    spec = _field(3, signature.encode())
    entry = _field(1, name.encode()) + _field(2, tf.make_tensor_proto(value).SerializeToString())
    return _field(6, _field(1, _field(1, spec) + _field(2, entry)))


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer: its number, the wire type "length-delimited", its length, its content."""
    length, rest = bytearray(), len(content)
    while rest > 127:
        length.append(rest % 128 + 128)
        rest //= 128
    length.append(rest)
    return bytes([8 * number + 2]) + bytes(length) + content
