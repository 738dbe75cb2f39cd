#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "io/mapped_file.h"

namespace eg4d {

// What an ONNX file (https://onnx.ai, onnx.proto) tells about a network: its operations and its stored
// tensors. Nothing of it is run.
struct OnnxGraph {
  struct Node {
    std::string operation;                                // "Conv"
    std::vector<std::string> inputs, outputs;             // names of values; an input left out is ""
    std::map<std::string, std::vector<int64_t>> numbers;  // integer attributes; a single one has one element
  };
  struct Tensor {
    DType dtype = DType::f32;
    Shape shape;
    std::shared_ptr<const std::byte> data;  // at any alignment
  };

  std::vector<Node> nodes;                     // in the file's order
  std::map<std::string, Tensor> initializers;  // of the types that DType has; others are left out
  std::vector<std::string> inputs, outputs;    // initializers are not among the inputs
};

// Tensors stay in the mapped file where they lie in it as they are. Throws Error, one sentence naming the
// file: damage, tensors of another size than their shape, tensors in another file, more than 2²⁰ nodes.
OnnxGraph read_onnx(const std::filesystem::path& path);
// With an owner, tensors share it; without, the bytes must outlive the graph.
OnnxGraph decode_onnx(Bytes file, const std::string& name, const std::shared_ptr<const void>& owner = {});

}  // namespace eg4d
