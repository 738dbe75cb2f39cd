#include "backend/cuda/networks/cudnn_graph.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/cuda/check.h"
#include "core/error.h"

namespace eg4d::cuda {
namespace {

void require(cudnnStatus_t status, const char* doing) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> details{};
  cudnn().cudnnGetLastErrorString(details.data(), details.size());
  if (status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)
    throw out_of_memory_of_library("cuDNN", doing);
  throw CudnnRefusal(fmt::format("{}: {} ({})", doing, cudnn().cudnnGetErrorString(status), details.data()));
}

template <class Value>
std::vector<Value> values_of(const CudnnObject& object, cudnnBackendAttributeName_t name,
                             cudnnBackendAttributeType_t type, int64_t most) {
  std::vector<Value> values(static_cast<size_t>(most));
  int64_t count = 0;
  require(cudnn().cudnnBackendGetAttribute(object.get(), name, type, most, &count, values.data()),
          "asking cuDNN");
  values.resize(static_cast<size_t>(std::min(count, most)));
  return values;
}

// An engine's notes are asked of the engine that stands in its configuration.
CudnnObject engine_of(const CudnnObject& configuration) {
  CudnnObject engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  int64_t count = 0;
  require(cudnn().cudnnBackendGetAttribute(configuration.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &handle),
          "asking cuDNN for an engine");
  return engine;
}

bool is_wanted(const CudnnObject& engine) {
  for (const auto note :
       values_of<cudnnBackendNumericalNote_t>(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                              CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT))
    if (note != CUDNN_NUMERICAL_NOTE_TENSOR_CORE && note != CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP)
      return false;
  return true;
}

std::string name_of_engine(const CudnnObject& engine) {
  std::string name = "engine";
  for (const int64_t index : values_of<int64_t>(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1))
    name += fmt::format(" {}", index);
  for (const auto note : values_of<cudnnBackendBehaviorNote_t>(
           engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT))
    if (note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) name += ", compiled";
  return name;
}

// Of one kind of heuristic; none when it has nothing to say.
std::vector<CudnnObject> configurations(const CudnnObject& graph, cudnnBackendHeurMode_t mode) {
  constexpr int64_t kMost = 16;
  std::vector<CudnnObject> found;
  try {
    CudnnObject heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
        .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode)
        .finish();
    std::vector<cudnnBackendDescriptor_t> handles;
    for (int64_t i = 0; i < kMost; ++i) {
      found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      handles.push_back(found.back().get());
    }
    int64_t count = 0;
    require(cudnn().cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, kMost, &count, handles.data()),
            "asking cuDNN for engines");
    found.erase(found.begin() + std::min(count, kMost), found.end());
  } catch (const CudnnRefusal&) {
    found.clear();
  }
  return found;
}

}  // namespace

// ---------------------------------------------------------------- objects

CudnnObject::CudnnObject(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t handle = nullptr;
  require(cudnn().cudnnBackendCreateDescriptor(type, &handle), "describing something to cuDNN");
  handle_.reset(handle, [](void* made) { cudnn().cudnnBackendDestroyDescriptor(made); });
}

CudnnObject& CudnnObject::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                              int64_t count, const void* values) {
  require(cudnn().cudnnBackendSetAttribute(get(), name, type, count, values),
          "describing something to cuDNN");
  return *this;
}
CudnnObject& CudnnObject::set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values) {
  return set(name, CUDNN_TYPE_INT64, static_cast<int64_t>(values.size()), values.data());
}
CudnnObject& CudnnObject::set(cudnnBackendAttributeName_t name, const std::vector<CudnnObject>& objects) {
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const CudnnObject& object : objects) {
    handles.push_back(object.get());
    used_.push_back(object);
  }
  return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(handles.size()), handles.data());
}
CudnnObject& CudnnObject::set(cudnnBackendAttributeName_t name, const CudnnObject& object) {
  return set(name, std::vector<CudnnObject>{object});
}
CudnnObject& CudnnObject::set(cudnnBackendAttributeName_t name, float value) {
  return set(name, CUDNN_TYPE_FLOAT, 1, &value);
}
CudnnObject& CudnnObject::set_type(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
  return set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}
CudnnObject& CudnnObject::finish() {
  require(cudnn().cudnnBackendFinalize(get()), "describing something to cuDNN");
  return *this;
}

cudnnDataType_t cudnn_type(DType type) {
  return type == DType::f16 ? CUDNN_DATA_HALF : type == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

CudnnObject describe(const CudnnTensor& tensor) {
  CudnnObject object(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  object.set_type(CUDNN_ATTR_TENSOR_DATA_TYPE, tensor.type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, tensor.extents)
      .set(CUDNN_ATTR_TENSOR_STRIDES, tensor.strides)
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::vector{tensor.id})
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::vector{tensor.alignment});
  if (tensor.between) object.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &tensor.between);
  object.finish();
  return object;
}

namespace {

CudnnObject pointwise_of(cudnnPointwiseMode_t mode, const CudnnObject& x, const CudnnObject* b,
                         const CudnnObject& y) {
  CudnnObject how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode)
      .set_type(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT)
      .finish();
  CudnnObject operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  if (b) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  operation.finish();
  return operation;
}

}  // namespace

CudnnObject pointwise(cudnnPointwiseMode_t mode, const CudnnObject& x, const CudnnObject& b,
                      const CudnnObject& y) {
  return pointwise_of(mode, x, &b, y);
}
CudnnObject pointwise(cudnnPointwiseMode_t mode, const CudnnObject& x, const CudnnObject& y) {
  return pointwise_of(mode, x, nullptr, y);
}

// ---------------------------------------------------------------- handle, plans

CudnnHandle::CudnnHandle(cudaStream_t stream) {
  try {
    require(cudnn().cudnnCreate(&handle_), "starting cuDNN");
    require(cudnn().cudnnSetStream(handle_, stream), "starting cuDNN");
  } catch (const CudnnRefusal& refusal) {
    throw Error(fmt::format("the GPU failed while {}", refusal.what()));
  }
}
CudnnHandle::~CudnnHandle() {
  cudnn().cudnnDestroy(handle_);
}

CudnnPlan::CudnnPlan(CudnnObject plan, CudnnObject graph, std::string engine)
    : plan_(std::move(plan)), graph_(std::move(graph)), engine_(std::move(engine)) {
  for (const int64_t bytes :
       values_of<int64_t>(plan_, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1))
    workspace_ = static_cast<size_t>(bytes);
}

std::vector<CudnnPlan> CudnnPlan::find(const CudnnHandle& handle, const std::vector<CudnnObject>& operations,
                                       size_t most) {
  CudnnObject graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  cudnnHandle_t cudnn_handle = handle.get();
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &cudnn_handle)
      .set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations)
      .finish();
  std::vector<CudnnPlan> plans;
  std::string refusal = "cuDNN knows no engine";
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const CudnnObject& configuration : configurations(graph, mode)) {
      if (plans.size() == most) return plans;
      try {
        const CudnnObject engine = engine_of(configuration);
        if (!is_wanted(engine)) continue;
        CudnnObject plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &cudnn_handle)
            .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration)
            .finish();
        plans.push_back(CudnnPlan(plan, graph, name_of_engine(engine)));
      } catch (const CudnnRefusal& why) {
        refusal = why.what();
      }
    }
    if (!plans.empty()) return plans;  // the next ones say the same, or are worse
  }
  throw CudnnRefusal(refusal);
}

void CudnnPlan::run(const CudnnHandle& handle, const std::vector<Binding>& bindings, void* workspace) const {
  std::vector<int64_t> ids;
  std::vector<const void*> addresses;
  for (const Binding& binding : bindings) {
    ids.push_back(binding.id);
    addresses.push_back(binding.address);
  }
  try {
    CudnnObject pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
             static_cast<int64_t>(addresses.size()), addresses.data())
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace)
        .finish();
    require(cudnn().cudnnBackendExecute(handle.get(), plan_.get(), pack.get()), "running a graph");
  } catch (const CudnnRefusal& refusal) {
    throw Error(fmt::format("the GPU failed while cuDNN was {}", refusal.what()));
  }
}

}  // namespace eg4d::cuda
