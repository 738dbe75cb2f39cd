#pragma once

// oneDNN's C handles, freed at the end of their scope. Brings dnnl.h with it: for onednn*.cpp alone.

#include <dnnl.h>

#include <memory>

namespace eg4d::cpu::onednn {

// Throws Error.
void check(dnnl_status_t status, const char* what);

template <auto destroy>
struct Destroy {
  template <class Object>
  void operator()(Object* object) const {
    destroy(object);
  }
};
template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

using OwnedEngine = Owned<dnnl_engine_t, dnnl_engine_destroy>;
using OwnedStream = Owned<dnnl_stream_t, dnnl_stream_destroy>;
using OwnedMemory = Owned<dnnl_memory_t, dnnl_memory_destroy>;
using OwnedAttributes = Owned<dnnl_primitive_attr_t, dnnl_primitive_attr_destroy>;
using OwnedPostOperations = Owned<dnnl_post_ops_t, dnnl_post_ops_destroy>;
using OwnedPlan = Owned<dnnl_primitive_desc_t, dnnl_primitive_desc_destroy>;
using OwnedPrimitive = Owned<dnnl_primitive_t, dnnl_primitive_destroy>;

// make<OwnedEngine>("creating the engine", dnnl_engine_create, dnnl_cpu, 0)
template <class Result, class Create, class... Arguments>
Result make(const char* what, Create create, Arguments... arguments) {
  typename Result::pointer handle = nullptr;
  check(create(&handle, arguments...), what);
  return Result(handle);
}

}  // namespace eg4d::cpu::onednn
