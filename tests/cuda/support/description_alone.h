#pragma once

#include "backend/splat_ops.h"

namespace eg4d::test {

// A field's context for kernels, which look at nothing but its description.
class DescriptionAlone final : public FieldContext {
 public:
  using FieldContext::FieldContext;
  void reserve(const DeformationNetwork&) override {}
};

}  // namespace eg4d::test
