#pragma once

// Timing of a GPU's work for the benchmarks.

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "backend/cuda/check.h"
#include "cuda/support/device.h"
#include "measure.h"

namespace eg4d::bench {

inline std::string gpu_name() {
  cudaDeviceProp device{};
  cuda::check(cudaGetDeviceProperties(&device, 0), "asking for its name");
  return device.name;
}

class Event {
 public:
  Event() { cuda::check(cudaEventCreate(&event_), "making an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }  // NOLINT(google-explicit-constructor)

 private:
  cudaEvent_t event_ = nullptr;
};

// Times work on a stream of its own.
class Timer {
 public:
  explicit Timer(int repeats) : repeats_(repeats) {
    cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }
  ~Timer() { cudaStreamDestroy(stream_); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  int repeats() const { return repeats_; }

  // Median milliseconds of what `enqueue` enqueues.
  double median(const std::function<void(cudaStream_t)>& enqueue) {
    std::vector<float> times;
    for (int i = -3; i < repeats_; ++i) {
      cuda::check(cudaEventRecord(begin_, stream_), "timing");
      enqueue(stream_);
      cuda::check(cudaEventRecord(end_, stream_), "timing");
      cuda::check(cudaEventSynchronize(end_), "working");
      float milliseconds = 0;
      cuda::check(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing");
      if (i >= 0) times.push_back(milliseconds);
    }
    if (times.empty()) return 0;
    std::ranges::sort(times);
    return times[times.size() / 2];
  }
  // The same of a graph of it: the GPU need not wait for the launches.
  double median_as_graph(const std::function<void(cudaStream_t)>& enqueue) {
    if (repeats_ == 0) return median(enqueue);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    cuda::check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording");
    enqueue(stream_);
    cuda::check(cudaStreamEndCapture(stream_, &graph), "recording");
    cuda::check(cudaGraphInstantiate(&executable, graph, 0), "recording");
    const double time =
        median([&](cudaStream_t stream) { cuda::check(cudaGraphLaunch(executable, stream), "working"); });
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    return time;
  }

 private:
  int repeats_;
  cudaStream_t stream_ = nullptr;
  Event begin_, end_;
};

// What a large copy reads and writes in a second.
inline double copy_bytes_per_second(Timer& timer) {
  const int64_t count = int64_t{1} << 28;
  const test::DeviceBuffer<float> from(count), to(count);
  const double milliseconds = timer.median([&](cudaStream_t stream) {
    cuda::check(cudaMemcpyAsync(to.data(), from.data(), from.bytes(), cudaMemcpyDeviceToDevice, stream),
                "copying");
  });
  return 2 * static_cast<double>(from.bytes()) / milliseconds * 1e3;
}

inline std::string number(double value) {
  return fmt::format("{:.3f}", value);
}

}  // namespace eg4d::bench
