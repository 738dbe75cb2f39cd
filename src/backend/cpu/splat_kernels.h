#pragma once

// The CPU kernels of the operations on Gaussians; each is in the file of its name. They may touch "device"
// memory freely.

#include <memory>

#include "backend/density_ops.h"
#include "backend/splat_ops.h"

namespace eg4d::cpu {

class Memory;

std::unique_ptr<RasterizeContext> create_rasterize_context(Memory& memory);
std::unique_ptr<FieldContext> create_field_context(Memory& memory, const FieldDescription& of);
void next_inputs(const NextInputs&);
void rasterize_forward(const RasterizeForward&);
void rasterize_backward(const RasterizeBackward&);
void sh_color_forward(const ShColor&);
void sh_color_backward(const ShColorBackward&);
void hexplane_forward(const HexPlane&);
void hexplane_backward(const HexPlaneBackward&);
void deformation_network_forward(const DeformationNetwork&);
void deformation_network_backward(const DeformationNetworkBackward&);
void gaussian_activation_forward(const GaussianActivation&);
void gaussian_activation_backward(const GaussianActivationBackward&);
void image_loss(const ImageLoss&);
void resize_picture(const ResizePicture&);
void adam(const Adam&);
void hexplane_adam(const HexPlaneAdam&);
void density_statistics(const DensityStatistics&);
void decide_density(const DecideDensity&);
void density_rows(const DensityRows&);
void split_noise(const SplitNoise&);
void split_gaussians(const SplitGaussians&);
void clamp_above(const ClampAbove&);
void clamp_unit(const ClampUnit&);
void clamp_unit_backward(const ClampUnitBackward&);
void unit_to_bytes(const UnitToBytes&);
void error_image(const ErrorImage&);
void move_towards(const MoveTowards&);
void gather_rows(const GatherRows&);

}  // namespace eg4d::cpu
