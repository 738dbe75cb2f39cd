#pragma once

// Tests of what devices compute run on every device that is there: the processor, and a GPU where
// make_backend finds one. The plain references in tests/support are what all of them are held to.
//
//   class Render : public OnEachDevice {};
//   TEST_P(Render, DrawsOnePixel) { backend().run(…); }      // Render.DrawsOnePixel/cpu, …/cuda
//   EG4D_ON_EACH_DEVICE(Render);
//
// What is the processor's alone (numbers of threads, guarded memory) is a TEST or TEST_F, in a suite …OnCpu,
// or begins with EG4D_TEST_OF_THE_PROCESSOR. A test that comes to an operation that its device lacks is
// skipped.

#include <gtest/gtest.h>

#include <cctype>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backend/backend.h"
#include "support/instruction_sets.h"

namespace eg4d::test {

struct TestDevice {
  std::string name = "cpu";     // as make_backend takes it
  int64_t instruction_set = 0;  // the processor's; 0 takes the best
  bool guard_memory = false;    // the processor's
  // Of a GPU's deformation field. Tests are of f32, whatever the GPU takes by itself.
  FieldPrecision precision = FieldPrecision::f32;

  bool is_cpu() const { return name == "cpu"; }
  std::string label() const;  // "cpu", "cpu_AVX2", "cpu_guarded", "cuda", "cuda1", "cuda_bf16"
};
void PrintTo(const TestDevice& device, std::ostream* out);

// "cpu", and "cuda" where it is there; or those of $EG4D_TEST_DEVICES ("cuda:1,cpu"), which must be there.
std::vector<TestDevice> test_devices();
std::vector<TestDevice> test_devices_by_instruction_set();  // the processor once for each that it has
std::vector<TestDevice> test_devices_by_memory();           // the processor with guarded memory and without
std::vector<TestDevice> test_devices_by_precision();        // a GPU in each precision of the field

// The device of the running test; the processor outside of one, and in a test that has no device.
const TestDevice& current_device();
std::unique_ptr<Backend> make_test_backend(const CpuBackendOptions& options_of_cpu = {});

// Calls body() on each instruction set of the processor, once on another device; failures name it.
template <class Body>
void for_each_instruction_set(const Body& body) {
  if (!current_device().is_cpu()) return body();
  for (const int64_t target : instruction_sets()) {
    const testing::ScopedTrace trace(__FILE__, __LINE__, hwy::TargetName(target));
    const UseInstructionSet use(target);
    body();
  }
}

// Largest relative error of an operation's results (‖a-b‖/‖b‖) against a plain version that rounds operands
// and results as the device does.
double tolerance(DType type);

// Largest relative errors of what a deformation field gives, and of gradients through it, against the
// reference (docs/gpu.md says where the numbers come from). The same for the processor and a GPU in f32.
struct FieldTolerance {
  double forward = 1e-4, gradient = 1e-3;
};
FieldTolerance field_tolerance();  // of the running test's device

namespace detail {
// Until the end of a test.
class UseDevice {
 public:
  explicit UseDevice(const TestDevice& device);
  ~UseDevice();
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;

 private:
  std::unique_ptr<UseInstructionSet> instruction_set_;
};

class DeviceFixture {
 public:
  // Made when it is first asked for; the processor's memory is guarded.
  Backend& backend() {
    if (!backend_) backend_ = make_test_backend({.guard_memory = true});
    return *backend_;
  }

 protected:
  explicit DeviceFixture(const TestDevice& device) : use_(device) {}

 private:
  UseDevice use_;
  std::unique_ptr<Backend> backend_;
};

// A TEST_F of such a class has no parameter.
inline bool running_test_has_parameter() {
  return testing::UnitTest::GetInstance()->current_test_info()->value_param() != nullptr;
}
}  // namespace detail

class OnEachDevice : public testing::TestWithParam<TestDevice>, public detail::DeviceFixture {
 protected:
  OnEachDevice() : DeviceFixture(detail::running_test_has_parameter() ? GetParam() : TestDevice()) {}
};

// With another parameter beside.
template <class Parameter>
class OnEachDeviceWith : public testing::TestWithParam<std::tuple<TestDevice, Parameter>>,
                         public detail::DeviceFixture {
  using Base = testing::TestWithParam<std::tuple<TestDevice, Parameter>>;

 protected:
  OnEachDeviceWith() : DeviceFixture(std::get<0>(Base::GetParam())) {}
  static const Parameter& parameter() { return std::get<1>(Base::GetParam()); }
};

// Of parameters, for gtest: "cpu"; "cpu_" and the name that the function gives the other parameter.
struct DeviceLabel {
  std::string operator()(const testing::TestParamInfo<TestDevice>& info) const { return info.param.label(); }
};
template <class Name>
auto device_label_and(Name name_of_other) {
  return [name_of_other](const auto& info) {
    std::string name = std::get<0>(info.param).label() + "_" + name_of_other(std::get<1>(info.param));
    for (char& letter : name)
      if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
    return name;
  };
}

}  // namespace eg4d::test

// Ends a test that is the processor's alone, though its suite runs on every device.
#define EG4D_TEST_OF_THE_PROCESSOR() \
  if (!eg4d::test::current_device().is_cpu()) GTEST_SKIP() << "a test of the processor alone"

#define EG4D_ON_EACH_DEVICE(Suite) \
  INSTANTIATE_TEST_SUITE_P(, Suite, testing::ValuesIn(eg4d::test::test_devices()), eg4d::test::DeviceLabel())
// A suite of tests that need nothing but a device.
#define EG4D_DEVICE_SUITE(Suite)                    \
  class Suite : public eg4d::test::OnEachDevice {}; \
  EG4D_ON_EACH_DEVICE(Suite)
