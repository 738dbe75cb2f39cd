#pragma once

#include <functional>
#include <string>

#include "nn/arena.h"

namespace eg4d {

// Sees intermediate results by the key path of the module that made them ("input_blocks.3"); for tests and
// for looking into a network. The tensor is only valid during the call.
using Observer = std::function<void(const std::string& name, const Tensor& value)>;

// One call of a network: where its activations live and what runs its layers.
class Session {
 public:
  // Goes through `body(session)` without operations, so that the arena has all the memory they want.
  template <class Body>
  static void plan(Arena& arena, Body&& body) {
    arena.begin_plan();
    {
      Session session(arena, nullptr, true);
      body(session);
    }
    arena.end_plan();
  }
  // Goes through `body(session)` twice: first to plan, then for real.
  template <class Body>
  static void run(Arena& arena, const Observer& observer, Body&& body) {
    plan(arena, body);
    Session session(arena, &observer, false);
    body(session);
  }

  Tensor empty(Shape shape) { return arena_.empty(std::move(shape)); }
  Tensor zeros(Shape shape, DType type = DType::f32);
  void run(const Operation& operation) {
    if (!planning_) backend().run(operation);
  }
  Backend& backend() { return arena_.backend(); }
  bool planning() const { return planning_; }  // nothing outside the arena may change then
  void observe(const std::string& name, const Tensor& value) const {
    if (observer_ && *observer_) (*observer_)(name, value);
  }

 private:
  Session(Arena& arena, const Observer* observer, bool planning)
      : arena_(arena), observer_(observer), planning_(planning) {}

  Arena& arena_;
  const Observer* observer_;
  bool planning_;
};

}  // namespace eg4d
