#include "backend/operations.h"

namespace eg4d {

const char* name_of(const Operation& operation) {
#define EG4D_OPERATION_NAME(type, name) name,
  static constexpr const char* kNames[] = {EG4D_OPERATIONS(EG4D_OPERATION_NAME)};
#undef EG4D_OPERATION_NAME
  return kNames[operation.index()];
}

}  // namespace eg4d
