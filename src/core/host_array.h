#pragma once

#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace eg4d {

// Leaves new elements as the memory is.
template <class T>
struct UnfilledAllocator : std::allocator<T> {
  template <class Other>
  struct rebind {
    using other = UnfilledAllocator<Other>;
  };
  template <class Other>
  void construct(Other* at) noexcept {
    ::new (static_cast<void*>(at)) Other;
  }
  template <class Other, class... Arguments>
  void construct(Other* at, Arguments&&... arguments) {
    ::new (static_cast<void*>(at)) Other(std::forward<Arguments>(arguments)...);
  }
};

// For large arrays that are filled at once: a vector of zeros would be written twice.
template <class T>
using HostArray = std::vector<T, UnfilledAllocator<T>>;

}  // namespace eg4d
