#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "nn/session.h"

namespace eg4d {

// A network call that is planned and recorded once and then replayed, with the same tensors, whose contents
// may change. Several calls may share one arena as long as none runs while tensors of another are alive in
// it; where a larger plan has moved the arena's memory since, a call is recorded anew.
class PreparedCall {
 public:
  using Body = std::function<void(Session&)>;  // the tensors it uses must stay where they are

  // Plans. The arena, and what the body uses, must outlive it.
  PreparedCall(Arena& arena, DType type, Body body);
  PreparedCall(const PreparedCall&) = delete;
  PreparedCall& operator=(const PreparedCall&) = delete;

  // Allocates nothing and copies nothing to or from the host.
  void run();

 private:
  Arena& arena_;
  const DType type_;
  const Body body_;
  std::unique_ptr<Recording> recording_;
  uint64_t version_ = 0;  // of the arena, when it was recorded
};

// The prepared call of a network that makes one tensor of another.
class PreparedFunction {
 public:
  // In the session's arena; the input is of the session's type.
  using Body = std::function<Tensor(Session&, const Tensor& input)>;

  // As PreparedCall.
  PreparedFunction(Arena& arena, DType type, const Shape& input, const Body& body);
  PreparedFunction(const PreparedFunction&) = delete;
  PreparedFunction& operator=(const PreparedFunction&) = delete;

  const Tensor& input() const { return input_; }    // f32, to be written before run()
  const Tensor& output() const { return output_; }  // f32, until the next run()
  void run() { call_->run(); }
  std::vector<float> apply(std::span<const float> input);  // all of it, from the host to the host

 private:
  Tensor input_, output_;
  std::unique_ptr<PreparedCall> call_;
};

}  // namespace eg4d
