#include "random/torch_random.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numbers>

#include "core/error.h"
#include "core/threads.h"
#include "random/random.h"

namespace eg4d {

MersenneTwister::MersenneTwister(uint32_t seed) {
  state_[0] = seed;
  for (uint32_t i = 1; i < state_.size(); ++i)
    state_[i] = 1812433253u * (state_[i - 1] ^ state_[i - 1] >> 30) + i;
}

void MersenneTwister::refill() {
  constexpr size_t n = 624, m = 397;
  for (size_t i = 0; i < n; ++i) {
    const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % n] & 0x7fffffffu);
    state_[i] = state_[(i + m) % n] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
  }
  next_ = 0;
}

uint32_t MersenneTwister::next_u32() {
  if (next_ == state_.size()) refill();
  uint32_t y = state_[next_++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9d2c5680u;
  y ^= y << 15 & 0xefc60000u;
  return y ^ y >> 18;
}

uint64_t MersenneTwister::next_u64() {
  const uint64_t high = next_u32();
  return high << 32 | next_u32();
}

double TorchCpuStream::uniform() {
  return static_cast<double>(twister_.next_u64() & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
}

double TorchCpuStream::normal() {
  if (spare_) {
    const double value = *spare_;
    spare_.reset();
    return value;
  }
  const double u1 = uniform();
  const double u2 = uniform();
  const double radius = std::sqrt(-2.0 * std::log1p(-u2));
  const double angle = 2.0 * std::numbers::pi * u1;
  spare_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

float TorchCpuStream::uniform_float() {
  return static_cast<float>(twister_.next_u32() & 0xffffff) * 0x1p-24f;
}

void TorchCpuStream::draw_block(float* block) {
  float uniforms[16];
  for (float& u : uniforms) u = uniform_float();
  for (int j = 0; j < 8; ++j) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(uniforms[j])));
    const double angle = 2.0 * std::numbers::pi * static_cast<double>(uniforms[j + 8]);
    block[j] = static_cast<float>(radius * std::cos(angle));
    block[j + 8] = static_cast<float>(radius * std::sin(angle));
  }
}

void TorchCpuStream::draw(std::span<float> values) {
  const size_t count = values.size();
  if (count < 16) {
    for (float& value : values) value = static_cast<float>(normal());
    return;
  }
  // All uniforms of the full blocks and of the remainder are drawn before the last block is drawn again.
  for (size_t i = 0; i + 16 <= count; i += 16) draw_block(&values[i]);
  if (count % 16 == 0) return;
  for (size_t i = 0; i < count % 16; ++i) uniform_float();
  draw_block(&values[count - 16]);
}

TorchCudaDevice torch_cuda_device(const std::string& name) {
  static const std::map<std::string, TorchCudaDevice> known = {
      {"v100", {80, 2048}},  {"a100", {108, 2048}},   {"h100", {132, 2048}},    {"h200", {132, 2048}},
      {"a6000", {84, 1536}}, {"rtx3090", {82, 1536}}, {"rtx4090", {128, 1536}}, {"l40s", {142, 1536}}};
  if (const auto found = known.find(name); found != known.end()) return found->second;
  TorchCudaDevice device;
  const char* end = name.data() + name.size();
  const auto first = std::from_chars(name.data(), end, device.multiprocessors);
  if (first.ec == std::errc() && first.ptr < end && *first.ptr == 'x') {
    const auto second = std::from_chars(first.ptr + 1, end, device.threads_per_multiprocessor);
    const bool complete = second.ec == std::errc() && second.ptr == end;
    if (complete && device.multiprocessors > 0 && device.multiprocessors <= 4096 &&
        device.threads_per_multiprocessor >= 256 && device.threads_per_multiprocessor <= 65536)
      return device;
  }
  throw UsageError(
      fmt::format("unknown GPU \"{}\" in --rng: name one of a100, h100, h200, v100, a6000, rtx3090, rtx4090, "
                  "l40s, or give its "
                  "multiprocessors and the threads each holds, as in torch-cuda:108x2048",
                  name));
}

namespace {

// The four normals of one Philox block, as cuRAND's Box-Muller makes them (cuRAND documentation, "Philox").
void normal4(const uint32_t words[4], float out[4]) {
  for (int pair = 0; pair < 4; pair += 2) {
    const float u = static_cast<float>(words[pair]) * 0x1p-32f + 0x1p-33f;
    const float v = static_cast<float>(words[pair + 1]) *
                    (0x1p-32f * 2 * std::numbers::pi_v<float>)+0x1p-32f * std::numbers::pi_v<float>;
    const double radius = std::sqrt(-2.0 * std::log(static_cast<double>(u)));
    out[pair] = static_cast<float>(radius * std::sin(static_cast<double>(v)));
    out[pair + 1] = static_cast<float>(radius * std::cos(static_cast<double>(v)));
  }
}

}  // namespace

void TorchCudaStream::draw(std::span<float> values) {
  constexpr int64_t block_size = 256, unroll = 4;
  const int64_t count = static_cast<int64_t>(values.size());
  if (count == 0) return;
  const int64_t resident =
      int64_t{device_.multiprocessors} * (device_.threads_per_multiprocessor / block_size);
  const int64_t threads = std::min((count + block_size - 1) / block_size, resident) * block_size;
  const int64_t rounds = (count - 1) / (threads * unroll) + 1;
  parallel_for(threads, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      for (int64_t round = 0; round < rounds; ++round) {
        uint32_t words[4];
        float normals[4];
        Philox::block(seed_, static_cast<uint64_t>(thread), offset_ + static_cast<uint64_t>(round), words);
        normal4(words, normals);
        for (int64_t k = 0; k < unroll; ++k) {
          const int64_t index = thread + (round * unroll + k) * threads;
          if (index < count) values[static_cast<size_t>(index)] = normals[k];
        }
      }
    }
  });
  offset_ += static_cast<uint64_t>(rounds);
}

}  // namespace eg4d
