"""Small ONNX files made by hand, field by field, because onnxruntime reads them and cannot write them.

The fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, in protobuf's wire format.
"""

import struct

import numpy as np
import numpy.typing as npt


def softmax_of(weights: npt.NDArray[np.float32]) -> bytes:
    """A model of one float input (n, k): the softmax of its product with `weights` (k, m). NaN counts as nought."""
    k, m = weights.shape
    tensor = _int(1, k) + _int(1, m) + _int(2, 1) + _text(8, "w") + _field(9, weights.astype("<f4").tobytes())
    zero = _int(2, 1) + _text(8, "zero") + _field(9, struct.pack("<f", 0.0))
    nodes = (
        _node("IsNaN", ["x"], "missing"),
        _node("Where", ["missing", "zero", "x"], "given"),
        _node("MatMul", ["given", "w"], "product"),
        _node("Softmax", ["product"], "shares"),
    )
    graph = b"".join(_field(1, n) for n in nodes) + _text(2, "g") + _field(5, tensor) + _field(5, zero)
    graph += _field(11, _value("x", k)) + _field(12, _value("shares", m))
    return _int(1, 8) + _field(7, graph) + _field(8, _text(1, "") + _int(2, 13))


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, kind)


def _value(name: str, width: int) -> bytes:
    shape = _field(1, _text(2, "n")) + _field(1, _int(1, width))
    return _text(1, name) + _field(2, _field(1, _int(1, 1) + _field(2, shape)))


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
