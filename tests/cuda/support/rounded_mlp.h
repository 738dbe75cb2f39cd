#pragma once

#include "support/reference_mlp.h"

namespace eg4d::test {

// The deformation network with the operands of its products rounded as the tensor cores take them, all else
// in double. A ReLU that rounding switches then switches here too; without that, the few that do (one in a
// thousand) would hide every error below a few hundredths.
struct RoundedMlp {
  double (*round)(double);
  bool last_layers_too;  // those are otherwise computed in f32
  struct Result {
    std::vector<std::vector<double>> outputs;
    MlpGradients<double> gradients;
  };
  Result operator()(const ReferenceMlp<double>& mlp, const std::vector<double>& features,
                    const std::vector<std::vector<double>>& d_outputs) const;
  // How near to 0 the numbers before ReLUs come, for each row.
  std::vector<double> margins(const ReferenceMlp<double>& mlp, const std::vector<double>& features) const;
};

double unrounded(double value);
double round_to_tf32(double value);  // 10 bits after the leading one, ties away from zero
double round_to_bf16(double value);  // 7 bits, ties to even

}  // namespace eg4d::test
