#include "backend/cuda/networks/attention_maps.h"

#include "backend/cuda/sm90/matrix_map.h"

namespace eg4d::cuda {

CUtensorMap describe_tokens(const Attention& a, const Attention::Operand& x, int64_t tokens, int rows,
                            int (&steps)[2]) {
  cuuint64_t extents[5] = {static_cast<cuuint64_t>(a.head_dim), static_cast<cuuint64_t>(tokens),
                           static_cast<cuuint64_t>(a.heads), static_cast<cuuint64_t>(a.inner),
                           static_cast<cuuint64_t>(a.outer)};
  const int64_t elements[4] = {x.token_stride, a.head_dim, x.inner_stride, x.outer_stride};
  cuuint64_t strides[4];
  for (int i = 0; i < 4; ++i) {
    if (elements[i] == 0) extents[i + 1] = 1;
    strides[i] = extents[i + 1] == 1 ? 16 : static_cast<cuuint64_t>(elements[i]) * 2;
  }
  steps[0] = extents[3] > 1;
  steps[1] = extents[4] > 1;
  const cuuint32_t box[5] = {64, static_cast<cuuint32_t>(rows), 1, 1, 1}, every[5] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const EncodeTiled encode = encoder();
  if (!encode) fail("the GPU's driver is older than its copy engine: update it");
  const CUresult result = encode(
      &map, x.data.type == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5,
      const_cast<void*>(x.data.data), extents, strides, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) fail("the GPU's driver does not take the layout of attention's operands");
  return map;
}

}  // namespace eg4d::cuda
