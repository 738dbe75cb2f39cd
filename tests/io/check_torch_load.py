#!/usr/bin/env python3
"""Compares our checkpoint reader and writer with PyTorch's. Run it where PyTorch and NumPy are installed:

    python3 tests/io/check_torch_load.py check tests/data/io/written_by_eg4d.pth   # we wrote it, PyTorch reads it
    python3 tests/io/check_torch_load.py write tests/data/io/saved_by_torch.pth    # PyTorch writes it, our tests read it
    python3 tests/io/check_torch_load.py write_old tests/data/io/old_format.pth    # likewise, as before PyTorch 1.6

Without PyTorch, `simulate FILE` writes the second file with Python's own pickle module and stand-ins of the same names;
tests/data/io/like_torch.pth came from it.
"""
import collections
import pickle
import struct
import sys
import types
import zipfile


def content(torch, numpy):
    """What the tests expect: containers, views and numbers as in the Python EG4D's best_*.pth."""
    state = collections.OrderedDict()
    state["weight"] = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    state["half"] = torch.tensor([1.5, -2.0], dtype=torch.float16)
    state["brain"] = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    state["double"] = torch.tensor([0.1], dtype=torch.float64)
    state["long"] = torch.tensor([-(2**40)], dtype=torch.int64)
    state["int"] = torch.tensor([-7], dtype=torch.int32)
    state["byte"] = torch.tensor([200], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False], dtype=torch.bool)
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    base = torch.arange(12, dtype=torch.float32)
    views = {
        "transposed": base.reshape(3, 4).t(),
        "tail": base[10:],
        "every_other": base[1::2],
        "expanded": base[3:4].expand(5),
        "empty": torch.zeros((0, 3), dtype=torch.float32),
        "scalar": torch.tensor(7.0, dtype=torch.float32),
    }
    optimizer = {
        "state": {0: {"step": torch.tensor(7.0, dtype=torch.float32), "exp_avg": torch.zeros((2, 3), dtype=torch.float32)}},
        "param_groups": [{"lr": numpy.float64(0.00016), "betas": (0.9, 0.999), "eps": 1e-15, "amsgrad": False,
                          "foreach": None, "name": "xyz", "params": [0]}],
    }
    numbers = [numpy.float32(0.5), numpy.int64(-3), numpy.bool_(True), 2**40, -1, 300, 70000, "é"]
    captured = (3, torch.nn.Parameter(torch.ones((2, 3), dtype=torch.float32)), state, views, torch.Size([2, 3]), optimizer,
                numbers, numpy.float64(4.4))
    return captured, 14000


def check(path):
    import torch

    value = torch.load(path, weights_only=True)
    expected = {
        "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3) * 0.25,
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "brain": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "long": torch.tensor([-(2**40)], dtype=torch.int64),
        "int": torch.tensor([-7], dtype=torch.int32),
        "byte": torch.tensor([200], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros((0, 3)),
        "scalar": torch.tensor(7.0),
    }
    for name, tensor in expected.items():
        found = value.pop(name)
        assert found.dtype == tensor.dtype and found.shape == tensor.shape and torch.equal(found, tensor), name
        assert found.is_contiguous(), name
    nested = {"list": [1, 300, 70000, -5, 2**40, 0.5, True, None, "é"], "tuple": (1, "a"), 7: {}, "none": []}
    assert value == {"nested": nested}, value
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        assert archive.testzip() is None
        for entry in archive.infolist():
            file.seek(entry.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            assert (entry.header_offset + 30 + name_length + extra_length) % 64 == 0, entry.filename
    print(f"torch {torch.__version__} read {path} with weights_only=True; all values are equal")


class Storage:
    def __init__(self, torch_type, letter, values):
        self.type, self.letter, self.values = torch_type, letter, values


class Tensor:
    """Stands for torch.Tensor: a view of a storage."""

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def reshape(self, *shape):
        strides, step = [], 1
        for extent in reversed(shape):
            strides.insert(0, step)
            step *= extent
        return Tensor(self.storage, self.offset, shape, strides)

    def t(self):
        return Tensor(self.storage, self.offset, self.shape[::-1], self.strides[::-1])

    def __getitem__(self, s):
        start, stop, step = s.indices(self.shape[0])
        return Tensor(self.storage, self.offset + start * self.strides[0], [len(range(start, stop, step))],
                      [step * self.strides[0]])

    def expand(self, count):
        return Tensor(self.storage, self.offset, [count], [0])


class Parameter:
    def __init__(self, data):
        self.data = data


class Number:
    """Stands for a NumPy scalar."""

    def __init__(self, code, data):
        self.code, self.data = code, data


class NumberType:
    def __init__(self, code):
        self.code = code


def stand_ins():
    """Modules named torch and numpy that hold just what the pickle refers to."""
    modules = {name: types.ModuleType(name) for name in
               ("torch", "torch._utils", "numpy", "numpy.core", "numpy.core.multiarray")}
    sys.modules.update(modules)

    def function(module, name):
        def stand_in(*_):
            raise NotImplementedError

        stand_in.__module__, stand_in.__qualname__, stand_in.__name__ = module, name, name
        setattr(modules[module], name, stand_in)
        return stand_in

    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function("torch._utils", name)
    function("numpy.core.multiarray", "scalar")
    function("numpy", "dtype")

    class Size(tuple):
        def __reduce__(self):
            return Size, (tuple(self),)

    Size.__module__, Size.__qualname__ = "torch", "Size"
    torch, numpy = modules["torch"], modules["numpy"]
    torch.Size = Size
    torch.nn = types.SimpleNamespace(Parameter=Parameter)
    half = lambda v: struct.unpack("<H", struct.pack("<e", v))[0]
    brain = lambda v: struct.unpack("<I", struct.pack("<f", v))[0] >> 16
    same = lambda v: v
    for name, storage, letter, convert in (
            ("float32", "FloatStorage", "f", same), ("float16", "HalfStorage", "H", half),
            ("bfloat16", "BFloat16Storage", "H", brain), ("float64", "DoubleStorage", "d", same),
            ("int64", "LongStorage", "q", same), ("int32", "IntStorage", "i", same), ("uint8", "ByteStorage", "B", same),
            ("bool", "BoolStorage", "?", same)):
        setattr(torch, name, (function("torch", storage), letter, convert))

    def tensor(values, dtype):
        scalar = not isinstance(values, list)
        storage_type, letter, convert = dtype
        values = [convert(v) for v in ([values] if scalar else values)]
        storage = Storage(storage_type, letter, values)
        return Tensor(storage, 0, [], []) if scalar else Tensor(storage, 0, [len(values)], [1])

    def filled(value):
        def make(shape, dtype):
            count = 1
            for extent in shape:
                count *= extent
            return Tensor(tensor([value] * count, dtype).storage, 0, (), ()).reshape(*shape)

        return make

    torch.tensor, torch.zeros, torch.ones = tensor, filled(0.0), filled(1.0)
    torch.arange = lambda count, dtype: tensor([float(i) for i in range(count)], dtype)
    numpy.float64 = lambda v: Number("f8", struct.pack("<d", v))
    numpy.float32 = lambda v: Number("f4", struct.pack("<f", v))
    numpy.int64 = lambda v: Number("i8", struct.pack("<q", v))
    numpy.bool_ = lambda v: Number("b1", struct.pack("?", v))
    return torch, numpy


def simulate(path):
    torch, numpy = stand_ins()
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            key = storages.setdefault(id(value), (str(len(storages)), value))[0]
            return "storage", value.type, key, "cpu", len(value.values)

        def reducer_override(self, value):
            utils = sys.modules["torch._utils"]
            if isinstance(value, Tensor):
                return utils._rebuild_tensor_v2, (value.storage, value.offset, value.shape, value.strides, False,
                                                  collections.OrderedDict())
            if isinstance(value, Parameter):
                return utils._rebuild_parameter, (value.data, True, collections.OrderedDict())
            if isinstance(value, Number):
                return sys.modules["numpy.core.multiarray"].scalar, (NumberType(value.code), value.data)
            if isinstance(value, NumberType):
                order = "|" if value.code == "b1" else "<"
                return numpy.dtype, (value.code, False, True), (3, order, None, None, None, -1, -1, 0)
            return NotImplemented

    class Buffer:
        data = b""

        def write(self, part):
            Buffer.data += bytes(part)

    Pickler(Buffer(), protocol=2).dump(content(torch, numpy))
    with zipfile.ZipFile(path, "w") as archive:
        def add(name, data):
            archive.writestr(zipfile.ZipInfo("best/" + name), data)

        add("data.pkl", Buffer.data)
        add("byteorder", "little")
        for key, storage in storages.values():
            add("data/" + key, struct.pack(f"<{len(storage.values)}{storage.letter}", *storage.values))
        add("version", "3\n")


def write(path):
    import numpy
    import torch

    torch.save(content(torch, numpy), path)
    print(f"torch {torch.__version__} wrote {path}")


def write_old(path):
    import numpy
    import torch

    torch.save(content(torch, numpy), path, _use_new_zipfile_serialization=False)
    print(f"torch {torch.__version__} wrote {path}")


if __name__ == "__main__":
    commands = {"check": check, "write": write, "write_old": write_old, "simulate": simulate}
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](sys.argv[2])
