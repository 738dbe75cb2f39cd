#pragma once

// The one list of device operations: (structure, name for people).

#include <variant>

#include "backend/density_ops.h"
#include "backend/memory_ops.h"
#include "backend/neural_ops.h"
#include "backend/sampling_ops.h"
#include "backend/splat_ops.h"

// clang-format off
#define EG4D_OPERATIONS(operation)                                          \
  /* networks */                                                            \
  operation(Linear, "linear")                                               \
  operation(LinearBackward, "linear backward")                              \
  operation(Convolution, "convolution")                                     \
  operation(ConvolutionBackward, "convolution backward")                    \
  operation(GroupNorm, "group norm")                                        \
  operation(GroupNormBackward, "group norm backward")                       \
  operation(LayerNorm, "layer norm")                                        \
  operation(Attention, "attention")                                         \
  operation(AttentionBackward, "attention backward")                        \
  operation(Geglu, "GEGLU")                                                 \
  operation(FeedForward, "feed forward")                                    \
  operation(MixedNorm, "mixed norm")                                        \
  operation(ScaledSum, "scaled sum")                                        \
  operation(Convert, "convert")                                             \
  operation(Activate, "activation")                                         \
  operation(Upsample, "upsample")                                           \
  operation(ResizeFeatures, "resize features")                              \
  operation(MaxPool, "max pool")                                            \
  operation(MaxPoolBackward, "max pool backward")                           \
  operation(ScaleChannels, "scale channels")                                \
  operation(ScaleChannelsBackward, "scale channels backward")               \
  operation(FeatureDistance, "feature distance")                            \
  operation(FeatureDistanceBackward, "feature distance backward")           \
  operation(Patches, "patches")                                             \
  operation(CopyRows, "copy rows")                                          \
  /* sampling */                                                            \
  operation(NetworkInput, "network input")                                  \
  operation(TimestepSinusoids, "time step sinusoids")                       \
  operation(EulerStep, "Euler step")                                        \
  operation(NoisyLatents, "noisy latents")                                  \
  operation(SampleMoments, "sample moments")                                \
  operation(FitPicture, "fit picture")                                      \
  operation(FitPictureBackward, "fit picture backward")                     \
  /* Gaussians */                                                           \
  operation(NextInputs, "next inputs")                                      \
  operation(RasterizeForward, "rasterise")                                  \
  operation(RasterizeBackward, "rasterise backward")                        \
  operation(ShColor, "colour")                                              \
  operation(ShColorBackward, "colour backward")                             \
  operation(HexPlane, "hexplane")                                           \
  operation(HexPlaneBackward, "hexplane backward")                          \
  operation(DeformationNetwork, "deformation network")                      \
  operation(DeformationNetworkBackward, "deformation network backward")     \
  operation(GaussianActivation, "Gaussian activation")                      \
  operation(GaussianActivationBackward, "Gaussian activation backward")     \
  operation(ImageLoss, "image loss")                                        \
  operation(ResizePicture, "resize picture")                                \
  operation(ErrorImage, "error image")                                      \
  operation(Adam, "Adam")                                                   \
  operation(HexPlaneAdam, "hexplane Adam")                                  \
  operation(DensityStatistics, "density statistics")                        \
  operation(DecideDensity, "density decisions")                             \
  operation(DensityRows, "density rows")                                    \
  operation(SplitNoise, "split noise")                                      \
  operation(SplitGaussians, "split")                                        \
  operation(ClampAbove, "clamp above")                                      \
  operation(ClampUnit, "clamp")                                             \
  operation(ClampUnitBackward, "clamp backward")                            \
  operation(UnitToBytes, "to bytes")                                        \
  operation(MoveTowards, "running mean")                                    \
  operation(GatherRows, "gather rows")                                      \
  /* memory */                                                              \
  operation(CopyBytes, "copy")                                              \
  operation(FillBytes, "fill")
// clang-format on

namespace eg4d {

namespace detail {
struct NoOperation;
template <class First, class... Rest>
struct OperationVariant {
  using Type = std::variant<Rest...>;  // the first stands before the list's first comma
};
}  // namespace detail

#define EG4D_OPERATION_TYPE(type, name) , type
using Operation = detail::OperationVariant<detail::NoOperation EG4D_OPERATIONS(EG4D_OPERATION_TYPE)>::Type;
#undef EG4D_OPERATION_TYPE

// "group norm"
const char* name_of(const Operation& operation);

}  // namespace eg4d
