#include "timed_backend.h"

#include "measure.h"
#include "support/reference_hexplane.h"
#include "support/reference_mlp.h"
#include "support/reference_rasterizer.h"
#include "support/reference_sh_color.h"
#include "support/reference_training.h"

namespace eg4d::bench {
namespace {

constexpr int kPlainStep = 100;  // any; only the time counts
constexpr double kPlainRate = 1e-3;

std::vector<float> copy(const float* values, int64_t count) {
  return values ? std::vector<float>(values, values + count) : std::vector<float>();
}

test::RasterScene<float> scene_of(const RasterizeForward& a) {
  test::RasterScene<float> scene;
  scene.camera = *a.camera;
  scene.width = a.width;
  scene.height = a.height;
  scene.count = a.count;
  scene.means = copy(a.means, 3 * a.count);
  scene.scales = copy(a.scales, 3 * a.count);
  scene.rotations = copy(a.rotations, 4 * a.count);
  scene.opacities = copy(a.opacities, a.count);
  scene.colors = copy(a.colors, 3 * a.count);
  return scene;
}

test::ShScene<float> scene_of(const ShColor& a) {
  test::ShScene<float> scene;
  scene.count = a.count;
  scene.degree = a.degree;
  std::copy_n(a.camera_center, 3, scene.camera_center);
  scene.positions = copy(a.positions, 3 * a.count);
  scene.sh_dc = copy(a.sh_dc, 3 * a.count);
  scene.sh_rest = copy(a.sh_rest, 45 * a.count);
  scene.gain_bias = copy(a.gain_bias, 4 * a.count);
  return scene;
}

test::HexPlaneInput<float> input_of(const HexPlane& a) {
  test::HexPlaneInput<float> input;
  input.layout = a.context->description.planes;
  input.grid = copy(a.grid, input.layout.size());
  input.box = copy(a.box, 6);
  input.points = copy(a.points, 3 * a.count);
  input.times.assign(static_cast<size_t>(a.count), *a.time);
  return input;
}

test::ReferenceLayer<float> layer_of(const DeformationNetworkLayout::Layer& a, const float* weights) {
  return {a.in, a.out, copy(weights + a.weight, int64_t{a.in} * a.out), copy(weights + a.bias, a.out)};
}

// The heads in use.
test::ReferenceMlp<float> mlp_of(const DeformationNetwork& a) {
  test::ReferenceMlp<float> mlp;
  const DeformationNetworkLayout& network = a.context->description.network;
  for (const auto& layer : network.trunk) mlp.trunk.push_back(layer_of(layer, a.weights));
  for (size_t i = 0; i < network.heads.size(); ++i)
    if (a.outputs[i])
      mlp.heads.push_back(
          {layer_of(network.heads[i].hidden, a.weights), layer_of(network.heads[i].last, a.weights)});
  return mlp;
}

// Runs the plain version of an operation where there is one, and tells under which name its time counts.
struct PlainVersion {
  bool plain;
  OperationSeconds& seconds;

  template <class Work>
  void measure_plain(const char* name, const Work& work) {
    const double begin = thread_seconds();
    work();
    seconds[name] += thread_seconds() - begin;
  }

  const char* operator()(const RasterizeForward& a) {
    if (plain) {
      const auto scene = scene_of(a);
      test::ReferenceRasterizer<float> plain;
      measure_plain("rasterise forward", [&] { plain.forward(scene); });
    }
    return "rasterise forward";
  }

  const char* operator()(const RasterizeBackward& a) {
    if (plain) {
      const auto scene = scene_of(a.forward);
      const auto d_image = copy(a.d_image, int64_t{3} * a.forward.width * a.forward.height);
      test::ReferenceRasterizer<float> plain;
      plain.forward(scene);
      measure_plain("rasterise backward", [&] { plain.backward(scene, d_image); });
    }
    return "rasterise backward";
  }

  const char* operator()(const ShColor& a) {
    if (plain) {
      const auto scene = scene_of(a);
      measure_plain("colour", [&] { test::reference_sh_color(scene); });
    }
    return "colour";
  }

  const char* operator()(const ShColorBackward& operation) {
    const ShColor& a = operation.forward;
    if (plain) {
      const auto scene = scene_of(a);
      const auto colors = copy(a.colors, 3 * a.count), d_colors = copy(operation.d_colors, 3 * a.count);
      measure_plain("colour", [&] { test::reference_sh_color_backward(scene, colors, d_colors); });
    }
    return "colour";
  }

  const char* operator()(const HexPlane& a) {
    if (plain) {
      const auto input = input_of(a);
      measure_plain("hexplane forward", [&] { test::reference_hexplane(input); });
    }
    return "hexplane forward";
  }

  const char* operator()(const HexPlaneBackward& operation) {
    const HexPlane& a = operation.forward;
    if (plain) {
      const auto input = input_of(a);
      const auto d_features = copy(operation.d_features, a.count * input.layout.feature_width());
      measure_plain("hexplane backward", [&] { test::reference_hexplane_backward(input, d_features); });
    }
    return "hexplane backward";
  }

  const char* operator()(const DeformationNetwork& a) {
    if (plain) {
      const auto mlp = mlp_of(a);
      const auto features = copy(a.features, a.count * mlp.trunk[0].in);
      measure_plain("network forward", [&] { test::reference_mlp(mlp, features); });
    }
    return "network forward";
  }

  const char* operator()(const DeformationNetworkBackward& operation) {
    const DeformationNetwork& a = operation.forward;
    if (plain) {
      const auto mlp = mlp_of(a);
      const auto features = copy(a.features, a.count * mlp.trunk[0].in);
      std::vector<std::vector<float>> d_outputs;
      const auto& heads = a.context->description.network.heads;
      for (size_t i = 0; i < heads.size(); ++i)
        if (a.outputs[i]) d_outputs.push_back(copy(operation.d_outputs[i], a.count * heads[i].last.out));
      measure_plain("network backward", [&] { test::reference_mlp_backward(mlp, features, d_outputs); });
    }
    return "network backward";
  }

  const char* operator()(const GaussianActivation&) { return "activations"; }

  const char* operator()(const GaussianActivationBackward&) { return "activations"; }

  const char* operator()(const ImageLoss& a) {
    if (plain && a.dssim_weight != 0) {
      const int64_t count = int64_t{3} * a.width * a.height;
      const auto image = copy(a.image, count), target = copy(a.target, count);
      std::vector<float> d_image;
      measure_plain("loss", [&] { test::reference_ssim<float>(image, target, a.width, a.height, &d_image); });
    }
    return "loss";
  }

  const char* operator()(const ResizePicture&) { return "loss"; }

  const char* operator()(const Adam& a) {
    if (plain) {
      auto parameter = copy(a.parameter, a.count), first = copy(a.first_moment, a.count),
           second = copy(a.second_moment, a.count);
      const auto gradient = copy(a.gradient, a.count);
      measure_plain("Adam, rest", [&] {
        test::reference_adam(parameter, gradient, first, second, kPlainStep, kPlainRate);
      });
    }
    return "Adam, rest";
  }

  const char* operator()(const HexPlaneAdam& a) {
    if (plain) {
      const int64_t count = a.adam.count;
      auto parameter = copy(a.adam.parameter, count), first = copy(a.adam.first_moment, count),
           second = copy(a.adam.second_moment, count), gradient = copy(a.adam.gradient, count);
      measure_plain("Adam, hexplane", [&] {
        test::reference_regularization(a.context->description.planes, parameter,
                                       {a.plane_smoothness, a.time_smoothness, a.time_l1}, &gradient);
        test::reference_adam(parameter, gradient, first, second, kPlainStep, kPlainRate);
      });
    }
    return "Adam, hexplane";
  }

  const char* operator()(const DensityStatistics&) { return "density statistics"; }

  template <class Other>
  const char* operator()(const Other& a) {
    return name_of(Operation(a));
  }
};

}  // namespace

void TimedBackend::perform(const Operation& operation) {
  const char* name = std::visit(
      [&](const auto& a) {
        return PlainVersion{plain_, plain_seconds_}(a);
      },
      operation);
  const double begin = wall_seconds();
  ObservingBackend::perform(operation);
  seconds_[name] += wall_seconds() - begin;
}

}  // namespace eg4d::bench
