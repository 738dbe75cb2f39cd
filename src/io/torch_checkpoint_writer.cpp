#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "core/error.h"
#include "io/torch_checkpoint.h"
#include "io/torch_storage_types.h"
#include "io/zip_writer.h"

namespace eg4d {
namespace {

// Writes pickle protocol 2; the letters are Python's opcodes (Lib/pickle.py).
class Pickler {
 public:
  std::string pickle = "\x80\x02";           // PROTO 2
  std::vector<const TorchTensor*> storages;  // in the order of their keys 0, 1, …

  void put(const TorchValue& value) {
    if (value.is_none())
      pickle += 'N';
    else if (const auto* boolean = value.get_if<bool>())
      pickle += *boolean ? '\x88' : '\x89';
    else if (const auto* integer = value.get_if<int64_t>())
      put(*integer);
    else if (const auto* real = value.get_if<double>())
      put(*real);
    else if (const auto* text = value.get_if<std::string>())
      put(*text);
    else if (const auto* tensor = value.get_if<TorchTensor>())
      put(*tensor);
    else if (const auto* dict = value.get_if<TorchValue::Dict>())
      put(*dict);
    else
      put_items(value.items(), value.get_if<TorchValue::List>() != nullptr);
  }

 private:
  void little_endian(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) pickle += static_cast<char>(value >> 8 * i);
  }

  void put(int64_t value) {
    if (value >= 0 && value < 256) {
      pickle += 'K';
      little_endian(static_cast<uint64_t>(value), 1);
    } else if (value >= 0 && value < 65536) {
      pickle += 'M';
      little_endian(static_cast<uint64_t>(value), 2);
    } else if (value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max()) {
      pickle += 'J';
      little_endian(static_cast<uint64_t>(value), 4);
    } else {
      pickle += "\x8a\x08";  // LONG1 of 8 bytes
      little_endian(static_cast<uint64_t>(value), 8);
    }
  }

  void put(double value) {
    pickle += 'G';
    const uint64_t bits = std::bit_cast<uint64_t>(value);
    for (int shift = 56; shift >= 0; shift -= 8) pickle += static_cast<char>(bits >> shift);
  }

  void put(const std::string& text) {
    pickle += 'X';
    little_endian(text.size(), 4);
    pickle += text;
  }

  void put(const TorchValue::Dict& dict) {
    pickle += "}(";
    for (const auto& [key, value] : dict.entries) {
      put(key);
      put(value);
    }
    pickle += 'u';
  }

  void put_items(const std::vector<TorchValue>& items, bool list) {
    pickle += list ? "](" : "(";
    for (const TorchValue& item : items) put(item);
    pickle += list ? 'e' : 't';
  }

  void put_shape(const Shape& shape) {
    pickle += '(';
    for (const int64_t extent : shape) put(extent);
    pickle += 't';
  }

  // torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, OrderedDict())
  void put(const TorchTensor& tensor) {
    const auto* type = std::find_if(std::begin(kTorchStorageTypes), std::end(kTorchStorageTypes),
                                    [&](const TorchStorageType& t) { return t.dtype == tensor.dtype; });
    pickle += "ctorch._utils\n_rebuild_tensor_v2\n((";
    put(std::string("storage"));
    pickle += "ctorch\n" + std::string(type->name) + "\n";
    put(std::to_string(storages.size()));
    put(std::string("cpu"));
    put(element_count(tensor.shape));
    pickle += "tQK";  // BINPERSID; offset 0
    pickle += '\0';
    put_shape(tensor.shape);
    Shape strides(tensor.shape.size(), 1);
    for (size_t axis = strides.size(); axis-- > 1;)
      strides[axis - 1] = strides[axis] * std::max<int64_t>(tensor.shape[axis], 1);
    put_shape(strides);
    pickle +=
        "\x89"
        "ccollections\nOrderedDict\n)RtR";
    storages.push_back(&tensor);
  }
};

}  // namespace

void write_torch_checkpoint(const std::filesystem::path& path, const TorchValue& value) {
  Pickler pickler;
  pickler.put(value);
  pickler.pickle += '.';
  ZipWriter zip(path);
  zip.add("archive/data.pkl", pickler.pickle);
  zip.add("archive/byteorder", "little");
  for (size_t key = 0; key < pickler.storages.size(); ++key) {
    const TorchTensor& tensor = *pickler.storages[key];
    zip.add(fmt::format("archive/data/{}", key), tensor.data.get(), tensor.bytes());
  }
  zip.add("archive/version", "3\n");
  zip.commit();
}

}  // namespace eg4d
