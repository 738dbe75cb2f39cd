#include "io/onnx.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "core/error.h"
#include "io/protobuf_reader.h"

namespace eg4d {
namespace {

// Field numbers of onnx.proto.
namespace model {
constexpr uint32_t graph = 7;
}
namespace graph {
constexpr uint32_t node = 1, initializer = 5, input = 11, output = 12;
}
namespace node {
constexpr uint32_t input = 1, output = 2, operation = 4, attribute = 5;
}
namespace attribute {
constexpr uint32_t name = 1, integer = 3, tensor = 5, integers = 8;
}
namespace tensor {
constexpr uint32_t dims = 1, data_type = 2, float_data = 4, name = 8, raw_data = 9, data_location = 14;
}
namespace value_info {
constexpr uint32_t name = 1;
}

constexpr size_t kMaxNodes = size_t{1} << 20;
constexpr size_t kMaxAxes = 16;

std::optional<DType> type_of(int64_t data_type) {
  switch (data_type) {
    case 1:
      return DType::f32;
    case 2:
      return DType::u8;
    case 6:
      return DType::i32;
    case 7:
      return DType::i64;
    case 9:
      return DType::boolean;
    case 10:
      return DType::f16;
    case 11:
      return DType::f64;
    case 16:
      return DType::bf16;
    default:
      return {};
  }
}

class OnnxReader {
 public:
  OnnxReader(const std::string& name, const std::shared_ptr<const void>& owner)
      : name_(name), owner_(owner) {}

  OnnxGraph read(Bytes file) {
    std::optional<Bytes> graph_bytes;
    each(file, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
      if (field.number == model::graph) graph_bytes = reader.bytes_of(field);
    });
    if (!graph_bytes) fail("it is no ONNX model");
    read_graph(*graph_bytes);
    std::erase_if(graph_.inputs, [&](const std::string& input) { return stored_.count(input) != 0; });
    return std::move(graph_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("cannot read '{}': {}", name_, what));
  }

  template <class Body>
  void each(Bytes message, const Body& body) const {
    ProtobufReader reader(message, name_);
    while (const auto field = reader.next()) body(reader, *field);
  }

  void read_graph(Bytes bytes) {
    each(bytes, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
      switch (field.number) {
        case graph::node:
          read_node(reader.bytes_of(field));
          break;
        case graph::initializer:
          read_tensor(reader.bytes_of(field), {});
          break;
        case graph::input:
          graph_.inputs.push_back(name_of_value(reader.bytes_of(field)));
          break;
        case graph::output:
          graph_.outputs.push_back(name_of_value(reader.bytes_of(field)));
          break;
      }
    });
  }

  std::string name_of_value(Bytes bytes) const {
    std::string result;
    each(bytes, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
      if (field.number == value_info::name) result = reader.text_of(field);
    });
    return result;
  }

  void read_node(Bytes bytes) {
    if (graph_.nodes.size() == kMaxNodes) fail(fmt::format("it has more than {} nodes", kMaxNodes));
    OnnxGraph::Node result;
    std::optional<Bytes> constant;
    each(bytes, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
      switch (field.number) {
        case node::input:
          result.inputs.push_back(reader.text_of(field));
          break;
        case node::output:
          result.outputs.push_back(reader.text_of(field));
          break;
        case node::operation:
          result.operation = reader.text_of(field);
          break;
        case node::attribute:
          if (const auto value = read_attribute(reader.bytes_of(field), result)) constant = value;
          break;
      }
    });
    // Some exporters store tensors as nodes that make them.
    if (result.operation == "Constant" && constant && result.outputs.size() == 1)
      read_tensor(*constant, result.outputs[0]);
    graph_.nodes.push_back(std::move(result));
  }

  // Returns a tensor's bytes when the attribute is one.
  std::optional<Bytes> read_attribute(Bytes bytes, OnnxGraph::Node& to) const {
    std::string name;
    std::vector<int64_t> numbers;
    std::optional<Bytes> constant;
    each(bytes, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
      switch (field.number) {
        case attribute::name:
          name = reader.text_of(field);
          break;
        case attribute::integer:
        case attribute::integers:
          reader.append_integers(field, numbers);
          break;
        case attribute::tensor:
          constant = reader.bytes_of(field);
          break;
      }
    });
    if (!numbers.empty()) to.numbers[name] = std::move(numbers);
    return constant;
  }

  void read_tensor(Bytes bytes, std::string name) {
    Shape shape;
    int64_t data_type = 0;
    std::optional<Bytes> raw;
    std::vector<float> floats;
    each(bytes, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
      switch (field.number) {
        case tensor::dims:
          reader.append_integers(field, shape);
          break;
        case tensor::data_type:
          data_type = reader.integer_of(field);
          break;
        case tensor::float_data:
          append_floats(reader, field, floats);
          break;
        case tensor::name:
          if (name.empty()) name = reader.text_of(field);
          break;
        case tensor::raw_data:
          raw = reader.bytes_of(field);
          break;
        case tensor::data_location:
          if (reader.integer_of(field) != 0)
            fail("its tensors lie in another file; export it with them inside");
          break;
      }
    });
    stored_.insert(name);
    const std::optional<DType> type = type_of(data_type);
    if (!type || (!raw && *type != DType::f32)) return;  // nothing that weights are stored as
    if (!raw) {
      auto copy = std::make_shared<std::vector<float>>(std::move(floats));
      keep(name, *type, shape, copy->size() * sizeof(float),
           {copy, reinterpret_cast<const std::byte*>(copy->data())});
    } else {
      keep(name, *type, shape, raw->size(), {owner_, raw->data()});
    }
  }

  void append_floats(const ProtobufReader& reader, const ProtobufReader::Field& field,
                     std::vector<float>& floats) const {
    if (field.kind != ProtobufReader::Field::Kind::bytes) {
      floats.push_back(reader.real_of(field));
      return;
    }
    if (field.bytes.size() % sizeof(float) != 0) fail("it is damaged or truncated");
    const size_t before = floats.size();
    floats.resize(before + field.bytes.size() / sizeof(float));
    if (!field.bytes.empty()) std::memcpy(floats.data() + before, field.bytes.data(), field.bytes.size());
  }

  void keep(const std::string& name, DType type, const Shape& shape, size_t bytes,
            std::shared_ptr<const std::byte> data) {
    int64_t count = 1;
    bool possible = shape.size() <= kMaxAxes;
    for (const int64_t extent : shape)
      possible = possible && extent >= 0 && !__builtin_mul_overflow(count, extent, &count);
    if (!possible || bytes % size_of(type) != 0 || bytes / size_of(type) != static_cast<uint64_t>(count))
      fail(fmt::format("its tensor '{}' of shape {} has {} bytes", name, to_string(shape), bytes));
    graph_.initializers[name] = {type, shape, std::move(data)};
  }

  const std::string& name_;
  const std::shared_ptr<const void>& owner_;
  OnnxGraph graph_;
  std::set<std::string> stored_;
};

}  // namespace

OnnxGraph decode_onnx(Bytes file, const std::string& name, const std::shared_ptr<const void>& owner) {
  return OnnxReader(name, owner).read(file);
}

OnnxGraph read_onnx(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  return decode_onnx(file->bytes(), path.string(), file);
}

}  // namespace eg4d
