#pragma once

#include <functional>
#include <utility>

#include "diffusion/video_call.h"

namespace eg4d::test {

// In place of a UNet: any function of its input, on the host.
class FakeVideoCall : public VideoCall {
 public:
  static constexpr int64_t kSinusoidWidth = 10;
  // input: [rows,height,width,8]; returns [rows,height,width,4].
  using Predict = std::function<std::vector<float>(int step, int video, const std::vector<float>& input)>;

  FakeVideoCall(Backend& backend, int64_t rows, int64_t height, int64_t width, Predict predict)
      : predict_(std::move(predict)),
        input_(Tensor::zeros(backend, {rows, height, width, 8})),
        sinusoids_(Tensor::zeros(backend, {rows, kSinusoidWidth})),
        prediction_(Tensor::zeros(backend, {rows, height, width, 4})) {}

  const Tensor& input() override { return input_; }
  const Tensor& sinusoids() override { return sinusoids_; }
  const Tensor& prediction() override { return prediction_; }
  void run(int step, int video) override {
    const std::vector<float> prediction = predict_(step, video, input_.to_host());
    prediction_.copy_from_host(prediction.data(), prediction.size() * sizeof(float));
  }

 private:
  Predict predict_;
  Tensor input_, sinusoids_, prediction_;
};

}  // namespace eg4d::test
