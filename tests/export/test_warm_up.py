"""The warm-up file has the messages that TensorFlow Serving reads."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework.tensor_pb2 import TensorProto

from madn.export.serving import SIGNATURES, ServingModule, write_savedmodel
from madn.export.warm_up import WARM_UP, prediction_log, write_warm_up

# The messages of tensorflow_serving/apis, as far as they are needed: message -> (field, number, type).
MESSAGES = {
    "ModelSpec": [("signature_name", 3, "string")],
    "Entry": [("key", 1, "string"), ("value", 2, "bytes")],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "Entry")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictionLog": [("predict_log", 6, "PredictLog")],
}


@pytest.fixture(scope="module")
def prediction_log_class():
    """PredictionLog as Google's own library builds it."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="log.proto", package="serving", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=field_type.LABEL_OPTIONAL)
            if kind in MESSAGES:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".serving.{kind}"
            else:
                added.type = field_type.TYPE_STRING if kind == "string" else field_type.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


@pytest.mark.parametrize("size", [1, 40, 200])  # messages of one, two and three bytes of length
def test_a_request_is_read_back(prediction_log_class, size):
    value = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    log = prediction_log_class.FromString(prediction_log("uint8", "blurred", value))
    request = log.predict_log.request
    assert request.model_spec.signature_name == "uint8" and request.inputs.key == "blurred"
    tensor = TensorProto.FromString(request.inputs.value)
    np.testing.assert_array_equal(tf.make_ndarray(tensor), value)


def test_the_file_lies_where_it_is_looked_for(prediction_log_class, tmp_path):
    write_warm_up(tmp_path, [("bytes", "blurred_bytes", tf.constant([b"\xff\xd8"])), ("uint8", "blurred", np.ones(3))])
    assert str(WARM_UP) == "assets.extra/tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / WARM_UP))]
    requests = [prediction_log_class.FromString(record).predict_log.request for record in records]
    assert [each.model_spec.signature_name for each in requests] == ["bytes", "uint8"]
    assert tf.make_ndarray(TensorProto.FromString(requests[0].inputs.value)).tolist() == [b"\xff\xd8"]


def test_a_savedmodel_answers_every_request_of_its_own_file(prediction_log_class, tmp_path):
    image = keras.Input((None, None, 3))
    write_savedmodel(ServingModule(keras.Model(image, keras.layers.Rescaling(0.5)(image))), tmp_path / "model")
    loaded, asked = tf.saved_model.load(str(tmp_path / "model")), []
    for record in tf.data.TFRecordDataset(str(tmp_path / "model" / WARM_UP)):
        request = prediction_log_class.FromString(record.numpy()).predict_log.request
        asked.append(request.model_spec.signature_name)
        value = tf.make_ndarray(TensorProto.FromString(request.inputs.value))
        (restored,) = loaded.signatures[asked[-1]](**{request.inputs.key: tf.constant(value)}).values()
        assert restored.shape[0] == value.shape[0]
    assert asked == list(SIGNATURES)
