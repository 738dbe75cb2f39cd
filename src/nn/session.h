#pragma once

#include <functional>
#include <string>

#include "nn/arena.h"

namespace eg4d {

// Sees intermediate results by the key path of the module that made them ("input_blocks.3"); for tests and
// for looking into a network. The tensor is only valid during the call.
using Observer = std::function<void(const std::string& name, const Tensor& value)>;

// One walk through a network: where its activations live, what type they have, and what runs its layers.
class Session {
 public:
  // Goes through `body(session)` twice: first without operations, to plan the arena, then for real. A call
  // that is made again and again with one shape is a PreparedCall, which does each once.
  template <class Body>
  static void run(Arena& arena, const Observer& observer, Body&& body, DType type = DType::f32) {
    plan(arena, body, type);
    walk(arena, observer, body, type);
  }
  // The first of the two.
  template <class Body>
  static void plan(Arena& arena, Body&& body, DType type = DType::f32) {
    const Arena::Plan planning(arena);
    Session session(arena, nullptr, true, type);
    body(session);
    arena.use_plan();
  }
  // What a plan of that body would need of an arena, which is not made.
  template <class Body>
  static size_t planned_bytes(Backend& backend, Body&& body, DType type = DType::f32) {
    Arena arena(backend);
    const Arena::Plan planning(arena);
    Session session(arena, nullptr, true, type);
    body(session);
    return arena.needed();
  }
  // The second: as often as wanted after a plan of the same body.
  template <class Body>
  static void walk(Arena& arena, const Observer& observer, Body&& body, DType type = DType::f32) {
    Session session(arena, &observer, false, type);
    body(session);
  }

  DType type() const { return type_; }  // of activations
  Tensor empty(Shape shape) { return arena_.empty(std::move(shape), type_); }
  Tensor zeros(Shape shape, DType type = DType::f32);
  // Memory outside the arena for a result that outlives the walk, in the session's type: made in the plan,
  // where `kept` is not of that shape and type yet.
  void keep(Tensor& kept, const Shape& shape);

  void run(const Operation& operation) {
    if (!planning_) backend().run(operation);
  }
  Backend& backend() { return arena_.backend(); }
  bool planning() const { return planning_; }  // nothing outside the arena may change then
  void observe(const std::string& name, const Tensor& value) const {
    if (observer_ && *observer_) (*observer_)(name, value);
  }

 private:
  Session(Arena& arena, const Observer* observer, bool planning, DType type)
      : arena_(arena), observer_(observer), planning_(planning), type_(type) {}

  Arena& arena_;
  const Observer* observer_;
  bool planning_;
  DType type_;
};

}  // namespace eg4d
