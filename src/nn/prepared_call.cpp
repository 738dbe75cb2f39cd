#include "nn/prepared_call.h"

#include <stdexcept>

#include "nn/layers.h"

namespace eg4d {

PreparedCall::PreparedCall(Arena& arena, DType type, Body body)
    : arena_(arena), type_(type), body_(std::move(body)) {
  Session::plan(arena_, body_, type_);
}

void PreparedCall::run() {
  if (arena_.in_use()) throw std::logic_error("a network call began while activations of another are alive");
  Backend& backend = arena_.backend();
  if (!recording_ || version_ != arena_.version()) {
    recording_.reset();
    recording_ = backend.record([this] { Session::walk(arena_, {}, body_, type_); });
    version_ = arena_.version();
  }
  backend.replay(*recording_);
}

PreparedFunction::PreparedFunction(Arena& arena, DType type, const Shape& input, const Body& body)
    : input_(Tensor::empty(arena.backend(), input)) {
  const auto walk = [this, body](Session& session) {
    const Tensor result = body(session, in_session_type(session, input_));
    if (session.planning() && !output_.defined()) output_ = Tensor::empty(session.backend(), result.shape());
    copy(session, result, output_);
  };
  call_ = std::make_unique<PreparedCall>(arena, type, walk);
}

std::vector<float> PreparedFunction::apply(std::span<const float> input) {
  input_.copy_from_host(input.data(), input.size_bytes());
  run();
  return output_.to_host();
}

}  // namespace eg4d
