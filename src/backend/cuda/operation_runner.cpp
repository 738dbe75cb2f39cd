#include "backend/cuda/operation_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/check.h"

namespace eg4d::cuda {
namespace {

template <class Type, class... Types>
concept OneOf = (std::same_as<Type, Types> || ...);

template <class Type>
concept Here =
    OneOf<Type, NextInputs, RasterizeForward, RasterizeBackward, ShColor, ShColorBackward, HexPlane,
          HexPlaneBackward, DeformationNetwork, DeformationNetworkBackward, GaussianActivation,
          GaussianActivationBackward, ImageLoss, ResizePicture, Adam, HexPlaneAdam, DensityStatistics,
          DecideDensity, DensityRows, SplitNoise, SplitGaussians, ClampAbove, ClampUnit, ClampUnitBackward,
          UnitToBytes, ErrorImage, MoveTowards, GatherRows, CopyBytes, FillBytes>;

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const char *first = static_cast<const char*>(a), *second = static_cast<const char*>(b);
  return first < second + b_bytes && second < first + a_bytes;
}
bool overlap(const CopyBytes& a) {
  return overlap(a.to, a.bytes, a.from, a.bytes);
}

// Bytes of scratch memory.
struct ScratchBytes {
  size_t operator()(const DeformationNetwork& a) const {
    NetworkContext& context = context_of(a);
    context.reserve(a);
    return mlp_workspace_bytes(mlp_of(a, kept(a)), context.precision, false);
  }
  size_t operator()(const DeformationNetworkBackward& a) const {
    return mlp_workspace_bytes(mlp_of(a, kept(a.forward)), context_of(a.forward).precision, true);
  }
  size_t operator()(const ImageLoss& a) const { return image_loss_workspace_bytes(a.width, a.height); }
  size_t operator()(const DensityRows& a) const { return density_rows_workspace_bytes(a.count); }
  size_t operator()(const CopyBytes& a) const { return overlap(a) ? a.bytes : 0; }
  template <class Other>
  size_t operator()(const Other&) const {
    return 0;
  }

  static void* kept(const DeformationNetwork& a) { return a.keep ? context_of(a).activations() : nullptr; }
};

struct Enqueue {
  void* scratch;
  cudaStream_t stream;

  void operator()(const NextInputs& a) const { next_inputs(a, stream); }
  void operator()(const RasterizeBackward& a) const {
    rasterize_backward(a, context_of(a.forward).workspace(), stream);
  }
  void operator()(const ShColor& a) const { sh_color_forward(a, stream); }
  void operator()(const ShColorBackward& a) const { sh_color_backward(a, stream); }
  void operator()(const HexPlane& a) const { hexplane_forward(a, stream); }
  void operator()(const DeformationNetwork& a) const {
    mlp_forward(mlp_of(a, ScratchBytes::kept(a)), context_of(a).precision, scratch, stream);
  }
  void operator()(const GaussianActivation& a) const { gaussian_activation_forward(a, stream); }
  void operator()(const GaussianActivationBackward& a) const { gaussian_activation_backward(a, stream); }
  void operator()(const ImageLoss& a) const { image_loss(a, scratch, stream); }
  void operator()(const ResizePicture& a) const { resize_picture(a, stream); }
  void operator()(const Adam& a) const { adam({&a, 1}, stream); }
  void operator()(const HexPlaneAdam& a) const { hexplane_adam(a, stream); }
  void operator()(const DensityStatistics& a) const { density_statistics(a, stream); }
  void operator()(const DecideDensity& a) const { decide_density(a, stream); }
  void operator()(const DensityRows& a) const { density_rows(a, scratch, stream); }
  void operator()(const SplitNoise& a) const { split_noise(a, stream); }
  void operator()(const SplitGaussians& a) const { split_gaussians(a, stream); }
  void operator()(const ClampAbove& a) const { clamp_above(a, stream); }
  void operator()(const ClampUnit& a) const { clamp_unit(a, stream); }
  void operator()(const ClampUnitBackward& a) const { clamp_unit_backward(a, stream); }
  void operator()(const UnitToBytes& a) const { unit_to_bytes(a, stream); }
  void operator()(const ErrorImage& a) const { error_image(a, stream); }
  void operator()(const MoveTowards& a) const { move_towards(a, stream); }
  void operator()(const GatherRows& a) const { gather_rows(a, stream); }
  void operator()(const CopyBytes& a) const {
    if (a.bytes == 0) return;
    const void* from = a.from;
    if (overlap(a)) {
      copy(scratch, from, a.bytes);
      from = scratch;
    }
    copy(a.to, from, a.bytes);
  }
  void operator()(const FillBytes& a) const { fill_bytes({&a, 1}, stream); }
  template <class Other>
  void operator()(const Other&) const {
    throw std::logic_error("an operation that cannot be enqueued");
  }

 private:
  void copy(void* to, const void* from, size_t bytes) const {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copying memory");
  }
};

}  // namespace

void require_here(const Operation& operation) {
  const bool here = std::visit([]<class Type>(const Type&) { return Here<Type>; }, operation);
  if (!here && !NetworkRunner::has(operation))
    throw NotOnThisDevice(fmt::format(
        "the operation '{}' runs on the CPU only in this version; use --device cpu", name_of(operation)));
}

SideStream::SideStream(cudaStream_t main) : main_(main) {
  check(cudaStreamCreateWithFlags(&side_, cudaStreamNonBlocking), "starting");
  for (cudaEvent_t* event : {&left_, &back_})
    check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "starting");
}

SideStream::~SideStream() {
  cudaStreamSynchronize(side_);
  for (cudaEvent_t event : {left_, back_}) cudaEventDestroy(event);
  cudaStreamDestroy(side_);
}

cudaStream_t SideStream::leave() {
  check(cudaEventRecord(left_, main_), "working beside");
  check(cudaStreamWaitEvent(side_, left_, 0), "working beside");
  away_ = true;
  return side_;
}

void SideStream::come_back() {
  if (!std::exchange(away_, false)) return;
  check(cudaEventRecord(back_, side_), "working beside");
  check(cudaStreamWaitEvent(main_, back_, 0), "working beside");
}

void OperationRunner::run(const Operation& operation) {
  require_here(operation);
  prepare(operation);
  if (const auto* forward = std::get_if<RasterizeForward>(&operation)) {
    RasterContext& context = context_of(*forward);
    context.count(*forward);
    context.mark_counted();
    const RasterizerTotals totals = context.totals(*forward);
    context.use(*forward, static_cast<int64_t>(totals.pairs), are_long(totals, false));
    context.draw(*forward);
  } else {
    enqueue({&operation, 1});
  }
}

void OperationRunner::prepare(const Operation& operation) {
  if (const auto* forward = std::get_if<RasterizeForward>(&operation)) context_of(*forward).prepare(*forward);
  if (const auto* field = std::get_if<HexPlaneBackward>(&operation)) {
    const HexPlaneLayout& layout = field->forward.context->description.planes;
    if (field->forward.count > 0 && layout.feature_width() > 0)
      field_.reserve(hexplane_backward_workspace_bytes(layout, field->forward.count));
  }
  scratch_.reserve(NetworkRunner::has(operation) ? networks_.prepare(operation)
                                                 : std::visit(ScratchBytes{}, operation));
}

const HexPlaneBackward* OperationRunner::orderable(std::span<const Operation> operations) {
  const auto is_field = [](const Operation& a) { return std::holds_alternative<HexPlaneBackward>(a); };
  const auto found = std::ranges::find_if(operations, is_field);
  if (found == operations.end()) return nullptr;
  const auto& field = std::get<HexPlaneBackward>(*found);
  // Whether the operation leaves alone what the order is made of. All but fills write nothing but gradients,
  // pictures and statistics.
  const auto harmless = [&]<class Type>(const Type& operation) {
    if constexpr (std::same_as<Type, FillBytes>) {
      const HexPlane& in = field.forward;
      const std::pair<const float*, int64_t> inputs[] = {{in.points, 3 * in.count},
                                                         {in.box, 6},
                                                         {in.grid, in.context->description.planes.size()},
                                                         {in.time, 1}};
      return std::ranges::none_of(inputs, [&](const auto& input) {
        return overlap(operation.to, operation.bytes, input.first,
                       static_cast<size_t>(input.second) * sizeof(float));
      });
    } else {
      return OneOf<Type, RasterizeBackward, ShColorBackward, DeformationNetworkBackward,
                   GaussianActivationBackward, ImageLoss, ResizePicture, DensityStatistics, ErrorImage>;
    }
  };
  const bool all = std::all_of(operations.begin(), found,
                               [&](const Operation& operation) { return std::visit(harmless, operation); });
  return all ? &field : nullptr;
}

void OperationRunner::enqueue(std::span<const Operation> operations, const std::function<void()>& drawing) {
  const HexPlaneBackward* const field = orderable(operations);
  const bool beside = field && (drawing || field != std::get_if<HexPlaneBackward>(&operations.front()));
  try {
    if (beside) hexplane_backward_order(*field, field_.data(), order_stream_.leave());
    if (drawing) drawing();
    enqueue_each(operations, beside ? field : nullptr);
  } catch (...) {
    order_stream_.come_back();
    weights_stream_.come_back();
    throw;
  }
}

// Steps of Adam, between which may be that of the field, are one launch; so are fills behind one another.
void OperationRunner::enqueue_each(std::span<const Operation> operations, const HexPlaneBackward* ordered) {
  std::vector<Adam> steps;
  std::vector<FillBytes> fills;
  const auto flush = [&] {
    if (!steps.empty() || !fills.empty()) weights_stream_.come_back();
    if (!steps.empty()) adam(steps, stream_);
    if (!fills.empty()) fill_bytes(fills, stream_);
    steps.clear();
    fills.clear();
  };
  const WeightStore::Pass weights(networks_.weights(), operations);
  for (const Operation& operation : operations) {
    if (const auto* step = std::get_if<Adam>(&operation)) {
      const auto same = [&](const Adam& other) { return other.parameter == step->parameter; };
      if (!fills.empty() || steps.size() == kMostAdamTensors || std::ranges::any_of(steps, same)) flush();
      steps.push_back(*step);
    } else if (const auto* fill = std::get_if<FillBytes>(&operation)) {
      const auto same = [&](const FillBytes& other) {
        return overlap(fill->to, fill->bytes, other.to, other.bytes);
      };
      if (!steps.empty() || fills.size() == kMostFills || std::ranges::any_of(fills, same)) flush();
      fills.push_back(*fill);
    } else {
      if (!fills.empty() || !std::holds_alternative<HexPlaneAdam>(operation)) flush();
      const auto* const field = std::get_if<HexPlaneBackward>(&operation);
      if (!field) weights_stream_.come_back();
      if (NetworkRunner::has(operation)) {
        networks_.enqueue(operation, scratch_.data());
      } else if (const auto* network = std::get_if<DeformationNetworkBackward>(&operation)) {
        mlp_backward(mlp_of(*network, ScratchBytes::kept(network->forward)),
                     context_of(network->forward).precision, scratch_.data(), stream_,
                     {[](void* side) { return static_cast<SideStream*>(side)->leave(); }, &weights_stream_});
      } else if (field) {
        if (field == ordered)
          order_stream_.come_back();
        else
          hexplane_backward_order(*field, field_.data(), stream_);
        hexplane_backward_gradients(*field, field_.data(), stream_);
      } else {
        std::visit(Enqueue{scratch_.data(), stream_}, operation);
      }
    }
  }
  weights_stream_.come_back();
  flush();
}

}  // namespace eg4d::cuda
