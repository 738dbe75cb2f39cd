#include "support/device_fixture.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "backend/forwarding_backend.h"
#include "core/error.h"

namespace eg4d::test {
namespace {

TestDevice current;

std::vector<TestDevice> find_devices() {
  const char* named = std::getenv("EG4D_TEST_DEVICES");
  std::vector<TestDevice> devices;
  if (!named || !*named) {
    devices.push_back({});
    try {
      make_backend("cuda");
      devices.push_back({.name = "cuda"});
    } catch (const Error&) {  // none here
    }
    return devices;
  }
  std::istringstream names(named);
  for (std::string name; std::getline(names, name, ',');) {
    try {
      make_backend(name);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "EG4D_TEST_DEVICES: %s\n", error.what());
      std::exit(1);
    }
    devices.push_back({.name = name});
  }
  return devices;
}

}  // namespace

namespace {

// A device that does not have every operation: a test that meets one it lacks ends there, skipped.
class SkipWhatIsMissing final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& a) override {
    return or_skip([&] { return ForwardingBackend::pack_linear(a); });
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& a) override {
    return or_skip([&] { return ForwardingBackend::pack_convolution(a); });
  }
  void run(const Operation& operation) override {
    or_skip([&] { ForwardingBackend::run(operation); });
  }
  void replay(const Recording& recording) override {
    or_skip([&] { ForwardingBackend::replay(recording); });
  }

 private:
  template <class Work>
  static auto or_skip(const Work& work) -> decltype(work()) {
    try {
      return work();
    } catch (const NotOnThisDevice& error) {
      // What GTEST_SKIP does, but from inside of what the test calls: gtest takes this exception as told.
      const testing::TestPartResult skip(testing::TestPartResult::kSkip, __FILE__, __LINE__, error.what());
      testing::internal::AssertHelper(skip.type(), skip.file_name(), skip.line_number(), skip.message()) =
          testing::Message();
      throw testing::AssertionException(skip);
    }
  }
};

}  // namespace

std::string TestDevice::label() const {
  std::string text = name;
  std::erase(text, ':');
  if (instruction_set != 0) text += std::string("_") + hwy::TargetName(instruction_set);
  if (guard_memory) text += "_guarded";
  if (precision != FieldPrecision::f32) text += std::string("_") + name_of(precision);
  return text;
}

void PrintTo(const TestDevice& device, std::ostream* out) {
  *out << device.label();
}

std::vector<TestDevice> test_devices() {
  static const std::vector<TestDevice> devices = find_devices();
  return devices;
}

std::vector<TestDevice> test_devices_by_instruction_set() {
  std::vector<TestDevice> devices;
  for (const TestDevice& device : test_devices()) {
    if (device.is_cpu())
      for (const int64_t set : instruction_sets()) devices.push_back({.instruction_set = set});
    else
      devices.push_back(device);
  }
  return devices;
}

std::vector<TestDevice> test_devices_by_memory() {
  std::vector<TestDevice> devices;
  for (const TestDevice& device : test_devices()) {
    devices.push_back(device);
    if (device.is_cpu()) devices.push_back({.guard_memory = true});
  }
  return devices;
}

std::vector<TestDevice> test_devices_by_precision() {
  std::vector<TestDevice> devices;
  for (const TestDevice& device : test_devices()) {
    devices.push_back(device);
    for (const FieldPrecision precision : {FieldPrecision::tf32, FieldPrecision::bf16})
      if (!device.is_cpu()) devices.push_back({.name = device.name, .precision = precision});
  }
  return devices;
}

const TestDevice& current_device() {
  return current;
}

std::unique_ptr<Backend> make_test_backend(const CpuBackendOptions& options_of_cpu) {
  if (!current.is_cpu())
    return std::make_unique<SkipWhatIsMissing>(make_backend(current.name, current.precision));
  CpuBackendOptions options = options_of_cpu;
  options.guard_memory |= current.guard_memory;
  return make_cpu_backend(options);
}

double tolerance(DType type) {
  switch (type) {
    case DType::f16:
      return 2e-3;
    case DType::bf16:
      return 1.6e-2;
    default:
      return 1e-5;
  }
}

FieldTolerance field_tolerance() {
  switch (current.precision) {
    case FieldPrecision::tf32:
      return {.forward = 1e-3, .gradient = 0.1};
    case FieldPrecision::bf16:
      return {.forward = 1e-2, .gradient = 0.15};
    default:
      return {};
  }
}

namespace detail {

UseDevice::UseDevice(const TestDevice& device) {
  current = device;
  if (device.instruction_set != 0)
    instruction_set_ = std::make_unique<UseInstructionSet>(device.instruction_set);
}
UseDevice::~UseDevice() {
  current = {};
}

}  // namespace detail
}  // namespace eg4d::test
