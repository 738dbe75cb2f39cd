#pragma once

// A CPU backend that measures every operation of Stage II, and, for one iteration, runs the plain scalar
// version of each on the same inputs.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "forwarding_backend.h"

namespace eg4d::bench {

// Seconds by operation; several calls in one iteration add up.
using OperationSeconds = std::map<std::string, double>;

class TimedSplatOps final : public SplatOps {
 public:
  explicit TimedSplatOps(SplatOps& inner) : inner_(inner) {}

  OperationSeconds take() { return std::exchange(seconds_, {}); }
  OperationSeconds take_plain() { return std::exchange(plain_seconds_, {}); }
  void run_plain(bool on) { plain_ = on; }

  std::unique_ptr<RasterizeContext> create_rasterize_context() override {
    return inner_.create_rasterize_context();
  }
  void rasterize_forward(const RasterizeForward& a, Stream s) override;
  void rasterize_backward(const RasterizeBackward& a, Stream s) override;
  void sh_color_forward(const ShColor& a, Stream s) override;
  void sh_color_backward(const ShColor& a, Stream s) override;
  void hexplane_forward(const HexPlane& a, Stream s) override;
  void hexplane_backward(const HexPlane& a, Stream s) override;
  void deformation_network_forward(const DeformationNetwork& a, Stream s) override;
  void deformation_network_backward(const DeformationNetwork& a, Stream s) override;
  void gaussian_activation_forward(const GaussianActivation& a, Stream s) override;
  void gaussian_activation_backward(const GaussianActivationBackward& a, Stream s) override;
  void image_loss(const ImageLoss& a, Stream s) override;
  void resize_picture(const ResizePicture& a, Stream s) override;
  void adam(const Adam& a, Stream s) override;
  void hexplane_adam(const HexPlaneAdam& a, Stream s) override;
  void hexplane_regularization(const HexPlaneRegularization& a, Stream s) override;
  void density_statistics(const DensityStatistics& a, Stream s) override;
  void clamp_unit(float* values, int64_t count, Stream s) override { inner_.clamp_unit(values, count, s); }
  void clamp_unit_backward(const float* values, float* gradients, int64_t count, Stream s) override {
    inner_.clamp_unit_backward(values, gradients, count, s);
  }
  void move_towards(float* to, const float* from, float weight, int64_t count, Stream s) override {
    inner_.move_towards(to, from, weight, count, s);
  }
  void gather_rows(void* to, const void* from, const int32_t* index, int64_t count, int64_t row_bytes,
                   Stream s) override {
    inner_.gather_rows(to, from, index, count, row_bytes, s);
  }

 private:
  template <class Work>
  void measure(const char* name, const Work& work);
  template <class Work>
  void measure_plain(const char* name, const Work& work);

  SplatOps& inner_;
  OperationSeconds seconds_, plain_seconds_;
  bool plain_ = false;
};

class TimedBackend final : public ForwardingBackend {
 public:
  TimedSplatOps& timed() { return splat_; }
  SplatOps& splat() override { return splat_; }

 private:
  TimedSplatOps splat_{inner().splat()};
};

}  // namespace eg4d::bench
