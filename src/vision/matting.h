#pragma once

#include <filesystem>
#include <memory>

#include "io/image.h"
#include "vision/u2net.h"

namespace eg4d {

// Tells a picture's main object from its background, with U²-Net, U²-Netp or IS-Net: prepares the picture and
// reads the result as rembg does, so that the published weights give its mattes.
class Matting {
 public:
  // side: the picture is resized to side × side for the network; 0: what it was trained on (320 for U²-Net
  // and U²-Netp, 1024 for IS-Net). type: as U2Net takes it.
  Matting(Backend& backend, const std::filesystem::path& weights, int side = 0, const NetworkType& type = {});

  // The matte, one channel of the picture's size; transparency of the picture is not looked at.
  Picture matte(const Picture& picture);

 private:
  U2Net network_;
  std::unique_ptr<PreparedFunction> call_;
  int side_;
};

// [H,W,3] as the network wants it: divided by the picture's largest value, then mean and deviation of the
// training pictures (U²-Net: ImageNet's; IS-Net: 0.5 and 1).
std::vector<float> matting_input(const Picture& rgb, U2Net::Kind kind);

}  // namespace eg4d
