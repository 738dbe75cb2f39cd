#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "nn/prepared_call.h"
#include "nn/weights.h"

namespace eg4d {

// U²-Net (Qin et al., "U²-Net: going deeper with nested U-structure for salient object detection", 2020), its
// smaller sibling U²-Netp, and IS-Net (Qin et al., "Highly accurate dichotomous image segmentation", 2022):
// how much each pixel belongs to the picture's main object. Channels are read from the tensors.
class U2Net {
 public:
  enum class Kind { u2net, isnet };

  // Weights under the authors' names ("stage1.rebnconvin.conv_s1.weight"), with their batch norms or with
  // those already folded into the convolutions. Throws Error when tensors are missing, surplus or have
  // another shape. The backend must outlive it; the weights may go. type: of weights and products;
  // activations are f32.
  U2Net(Backend& backend, const WeightMap& weights, const NetworkType& type = {});
  ~U2Net();
  static void check(const WeightMap& weights);

  Kind kind() const;
  // pictures [N,H,W,3], normalised as the network wants it → logits [N,H,W,1] in the same size.
  Tensor forward(const Tensor& pictures);
  // The same, prepared for pictures of one shape. The network must outlive it.
  std::unique_ptr<PreparedFunction> prepare(const Shape& pictures);

 private:
  struct Layers;
  struct State;
  static Layers build(class Loader& loader);
  std::unique_ptr<State> state_;
};

// The convolutions of either network as a graph: what each is called and which earlier ones its input comes
// from (through pooling, resizing, concatenation and addition). No two have the same sources.
struct U2NetConvolution {
  std::string name;             // "stage1.rebnconvin.conv_s1"
  std::vector<size_t> sources;  // rising; none: the picture
  int64_t kernel = 3, stride = 1, dilation = 1;
  bool needed = true;  // false: an auxiliary output that only training uses
};
std::vector<U2NetConvolution> u2net_graph(U2Net::Kind kind);

// The weights of one of these networks from the authors' .pth, a .safetensors file of the same names, or an
// .onnx file as rembg publishes them, whose tensors have names of the exporter's: there each convolution is
// known by where its input comes from. Throws Error, "… is not U²-Net: …", for another network.
WeightMap read_u2net_weights(const std::filesystem::path& path);

}  // namespace eg4d
