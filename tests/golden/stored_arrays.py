"""Reads the two kinds of files that hold known answers and results: safetensors and NumPy. Standard library only."""
import array
import ast
import collections
import json
import struct
import sys

Array = collections.namedtuple("Array", "shape values")

TYPECODES = {"F32": "f", "I32": "i", "<f4": "f"}


def read_values(typecode, data):
    values = array.array(typecode)
    values.frombytes(data)
    if sys.byteorder != "little":
        values.byteswap()
    return values


def read_safetensors(path, unwanted=("hidden",)):
    """name -> Array, for the F32 and I32 tensors."""
    with open(path, "rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        base = stream.tell()
        found = {}
        for name, entry in header.items():
            if name != "__metadata__" and name not in unwanted:
                begin, end = entry["data_offsets"]
                stream.seek(base + begin)
                values = read_values(TYPECODES[entry["dtype"]], stream.read(end - begin))
                found[name] = Array(tuple(entry["shape"]), values)
        return found


def read_npy(path):
    with open(path, "rb") as stream:
        magic = stream.read(8)
        assert magic[:6] == b"\x93NUMPY", "%s is no NumPy file: it begins with %r" % (path, magic)
        width = "<H" if magic[6] == 1 else "<I"
        header_bytes = struct.unpack(width, stream.read(struct.calcsize(width)))[0]
        header = ast.literal_eval(stream.read(header_bytes).decode("latin-1"))
        assert header["descr"] in TYPECODES and not header["fortran_order"], "%s holds %r" % (path, header)
        found = Array(tuple(header["shape"]), read_values(TYPECODES[header["descr"]], stream.read()))
    count = 1
    for size in found.shape:
        count *= size
    assert count == len(found.values), "%s says %s and holds %d numbers" % (path, found.shape, len(found.values))
    return found


def largest_difference(got, wanted):
    """(difference, place) over two arrays of one shape; what is not a number differs infinitely."""
    assert got.shape == wanted.shape, "shape %s, expected %s" % (got.shape, wanted.shape)
    worst, place = 0.0, 0
    for i, (x, y) in enumerate(zip(got.values, wanted.values)):
        difference = abs(x - y)
        if not difference <= worst:
            worst, place = (difference if difference == difference else float("inf")), i
    return worst, place


def rows(values, shape):
    """An array of shape (A, B, C) as nested lists."""
    a, b, c = shape
    return [[list(values[(i * b + j) * c:(i * b + j + 1) * c]) for j in range(b)] for i in range(a)]
