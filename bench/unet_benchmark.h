#pragma once

// One pass of a network at its real size: what the benchmarks of the UNets share.

#include <filesystem>
#include <string>

#include "nn/tensor.h"
#include "support/manifest.h"
#include "timed_networks.h"

namespace eg4d::bench {

// A file of f16 weights by the program's own writer: pseudo-random numbers that keep the activations' size,
// norms near one, weights of variance 1/inputs; LPIPS's heads ("lin…") are not negative. All of it is in
// memory first.
void write_random_weights(const std::filesystem::path& path, const test::Manifest& manifest);

// Some numbers between -1 and 1.
Tensor wave(Backend& backend, Shape shape);

// The table of what ran since `totals` was last cleared.
void print_operations(const TimedNetworks& backend);
// Seconds in matrix products, convolutions and attention.
double seconds_of_products(const TimedNetworks& backend);

// "f32", or "bf16": weights and products, as on the processor.
NetworkType type_named(const std::string& precision);

double gib(size_t bytes);
double peak_resident_gib();  // of this process

}  // namespace eg4d::bench
