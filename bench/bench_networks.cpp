// The layers of the UNets at the shapes of SVD-XT, SV3D and SDXL, 576×576 (latents 72×72): our operations
// against the fastest that oneDNN itself has for the same shape (any layout, any algorithm; for attention two
// batched products and a softmax, which write the matrix of scores). What only moves memory is given in GB/s.
//
//   bench_networks [frames per shape = 2] [seconds per figure = 0.3] [only names that contain this]

#include <dnnl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/threads.h"
#include "nn/tensor.h"

namespace eg4d {
namespace {

using Clock = std::chrono::steady_clock;
double g_seconds = 0.3;
std::string g_wanted;

bool wanted(const std::string& name) {
  return name.find(g_wanted) != std::string::npos;
}

// Shortest time of each body; they take turns, so that a busy machine treats them alike.
std::vector<double> best_seconds(const std::vector<std::function<void()>>& bodies) {
  std::vector<double> best(bodies.size(), 1e9);
  double spent = 0;
  for (int round = 0; round < 3 || spent < g_seconds * static_cast<double>(bodies.size()); ++round)
    for (size_t i = 0; i < bodies.size(); ++i) {
      const auto start = Clock::now();
      bodies[i]();
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best[i] = std::min(best[i], seconds);
      spent += seconds;
    }
  return best;
}

Tensor noise(Backend& backend, Shape shape) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) * 0x1p-23f - 1;
  }
  return Tensor::from_host<float>(backend, std::move(shape), values);
}

void compare(const std::string& what, double flop, const std::function<void()>& ours,
             const std::vector<std::function<void()>>& references) {
  std::vector<std::function<void()>> bodies{ours};
  bodies.insert(bodies.end(), references.begin(), references.end());
  const std::vector<double> seconds = best_seconds(bodies);
  const double reference = *std::min_element(seconds.begin() + 1, seconds.end());
  fmt::print("{:<52} {:8.1f} {:8.1f} GFLOP/s {:6.2f}\n", what, flop / seconds[0] / 1e9,
             flop / reference / 1e9, reference / seconds[0]);
  std::fflush(stdout);
}

void report_bandwidth(const std::string& what, double bytes, const std::function<void()>& body) {
  const double seconds = best_seconds({body})[0];
  fmt::print("{:<52} {:8.2f} ms {:8.1f} GB/s\n", what, seconds * 1e3, bytes / seconds / 1e9);
  std::fflush(stdout);
}

// ---------------------------------------------------------------- oneDNN by itself

dnnl_engine_t g_engine = nullptr;
dnnl_stream_t g_stream = nullptr;

dnnl_memory_t memory(const dnnl_memory_desc_t& layout) {
  dnnl_memory_t result = nullptr;
  dnnl_memory_create(&result, &layout, g_engine, DNNL_MEMORY_ALLOCATE);
  void* data = nullptr;
  dnnl_memory_get_data_handle(result, &data);
  float* values = static_cast<float*>(data);
  for (size_t i = 0; i < dnnl_memory_desc_get_size(&layout) / sizeof(float); ++i)
    values[i] = 0.5f - 1.0f * (i % 7) / 7;
  return result;
}

dnnl_memory_desc_t layout(std::vector<int64_t> extents, dnnl_format_tag_t tag) {
  dnnl_memory_desc_t result;
  dnnl_memory_desc_init_by_tag(&result, static_cast<int>(extents.size()), extents.data(), dnnl_f32, tag);
  return result;
}

// An operation with all its memory as oneDNN likes it, ready to run; nothing when oneDNN does not have it.
struct Ready {
  dnnl_primitive_t primitive = nullptr;
  std::vector<dnnl_exec_arg_t> arguments;
  ~Ready() {
    for (const dnnl_exec_arg_t& argument : arguments) dnnl_memory_destroy(argument.memory);
    dnnl_primitive_destroy(primitive);
  }
  void run() const {
    dnnl_primitive_execute(primitive, g_stream, static_cast<int>(arguments.size()), arguments.data());
    dnnl_stream_wait(g_stream);
  }
};

using Roles = std::vector<std::pair<int, dnnl_query_t>>;

std::shared_ptr<Ready> prepare(const_dnnl_op_desc_t operation, const Roles& roles) {
  dnnl_primitive_desc_t description = nullptr;
  if (dnnl_primitive_desc_create(&description, operation, nullptr, g_engine, nullptr) != dnnl_success)
    return nullptr;
  auto ready = std::make_shared<Ready>();
  dnnl_primitive_create(&ready->primitive, description);
  for (const auto& [role, query] : roles)
    ready->arguments.push_back(
        {role, memory(*dnnl_primitive_desc_query_md(description, query, role == DNNL_ARG_BIAS))});
  dnnl_primitive_desc_destroy(description);
  return ready;
}

using Bodies = std::vector<std::function<void()>>;

void add(Bodies& bodies, std::shared_ptr<Ready> ready) {
  if (ready) bodies.push_back([ready = std::move(ready)] { ready->run(); });
}

const Roles kWeighted = {{DNNL_ARG_SRC, dnnl_query_src_md},
                         {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                         {DNNL_ARG_BIAS, dnnl_query_weights_md},
                         {DNNL_ARG_DST, dnnl_query_dst_md}};

Bodies onednn_linear(int64_t rows, int64_t in, int64_t out) {
  Bodies bodies;
  {
    const auto x = layout({rows, in}, dnnl_ab), w = layout({in, out}, dnnl_format_tag_any);
    const auto b = layout({1, out}, dnnl_ab), y = layout({rows, out}, dnnl_ab);
    dnnl_matmul_desc_t operation;
    dnnl_matmul_desc_init(&operation, &x, &w, &b, &y);
    add(bodies, prepare(&operation, kWeighted));
  }
  const auto x = layout({rows, in}, dnnl_format_tag_any), w = layout({out, in}, dnnl_format_tag_any);
  const auto b = layout({out}, dnnl_a), y = layout({rows, out}, dnnl_format_tag_any);
  dnnl_inner_product_desc_t operation;
  dnnl_inner_product_forward_desc_init(&operation, dnnl_forward_inference, &x, &w, &b, &y);
  add(bodies, prepare(&operation, kWeighted));
  return bodies;
}

Bodies onednn_convolution(const Convolution& a, int64_t in, int64_t out, int64_t kernel_height,
                          int64_t kernel_width) {
  const int64_t height = convolution_extent(a.height, kernel_height, a.pad_top, a.pad_bottom, a.stride);
  const int64_t width = convolution_extent(a.width, kernel_width, a.pad_left, a.pad_right, a.stride);
  Bodies bodies;
  for (const auto& [tag, algorithm] : {std::pair{dnnl_nhwc, dnnl_convolution_direct},
                                       {dnnl_format_tag_any, dnnl_convolution_direct},
                                       {dnnl_format_tag_any, dnnl_convolution_auto}}) {
    const auto x = layout({a.batch, in, a.height, a.width}, tag),
               y = layout({a.batch, out, height, width}, tag);
    const auto w = layout({out, in, kernel_height, kernel_width}, dnnl_format_tag_any),
               b = layout({out}, dnnl_a);
    const dnnl_dims_t strides = {a.stride, a.stride}, before = {a.pad_top, a.pad_left},
                      after = {a.pad_bottom, a.pad_right};
    dnnl_convolution_desc_t operation;
    dnnl_convolution_forward_desc_init(&operation, dnnl_forward_inference, algorithm, &x, &w, &b, &y, strides,
                                       before, after);
    add(bodies, prepare(&operation, kWeighted));
  }
  return bodies;
}

// Scores, softmax, weighted sum for `batch` heads.
Bodies onednn_attention(int64_t batch, int64_t tokens, int64_t keys, int64_t width) {
  const auto q = layout({batch, tokens, width}, dnnl_abc), k = layout({batch, width, keys}, dnnl_acb);
  const auto s = layout({batch, tokens, keys}, dnnl_abc), v = layout({batch, keys, width}, dnnl_abc);
  const Roles products = {{DNNL_ARG_SRC, dnnl_query_src_md},
                          {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                          {DNNL_ARG_DST, dnnl_query_dst_md}};
  dnnl_matmul_desc_t scores, sums;
  dnnl_matmul_desc_init(&scores, &q, &k, nullptr, &s);
  dnnl_matmul_desc_init(&sums, &s, &v, nullptr, &q);
  dnnl_softmax_desc_t softmax;
  dnnl_softmax_forward_desc_init(&softmax, dnnl_forward_inference, &s, 2);
  const auto first = prepare(&scores, products), last = prepare(&sums, products);
  const auto middle =
      prepare(&softmax, {{DNNL_ARG_SRC, dnnl_query_src_md}, {DNNL_ARG_DST, dnnl_query_dst_md}});
  return {[=] {
    first->run();
    middle->run();
    last->run();
  }};
}

// ---------------------------------------------------------------- ours

void linear(Backend& backend, int64_t rows, int64_t in, int64_t out) {
  const std::string name = fmt::format("linear {}: {} → {}", rows, in, out);
  if (!wanted(name)) return;
  const std::vector<float> weight = noise(backend, {out, in}).to_host(), bias(static_cast<size_t>(out), 0.1f);
  const auto packed = backend.pack_linear({.in = in, .out = out, .weight = weight, .bias = bias});
  const Tensor x = noise(backend, {rows, in}), y = Tensor::empty(backend, {rows, out});
  compare(
      name, 2.0 * rows * in * out,
      [&] {
        backend.run(
            Linear{.rows = rows, .x = x.data(), .weight = packed.get(), .residual = nullptr, .y = y.data()});
      },
      onednn_linear(rows, in, out));
}

void convolution(Backend& backend, Convolution a, int64_t in, int64_t out, int64_t kernel_height,
                 int64_t kernel_width) {
  const std::string name = fmt::format("{}×{} convolution{} {}×{}×{}: {} → {}", kernel_height, kernel_width,
                                       a.stride == 2 ? " /2" : "", a.batch, a.height, a.width, in, out);
  if (!wanted(name)) return;
  a.pad_top = a.pad_bottom = kernel_height / 2;
  a.pad_left = a.pad_right = kernel_width / 2;
  const std::vector<float> weight = noise(backend, {out, in, kernel_height, kernel_width}).to_host();
  const std::vector<float> bias(static_cast<size_t>(out), 0.1f);
  const auto packed = backend.pack_convolution({.in = in,
                                                .out = out,
                                                .kernel_height = kernel_height,
                                                .kernel_width = kernel_width,
                                                .weight = weight,
                                                .bias = bias});
  const int64_t height = convolution_extent(a.height, kernel_height, a.pad_top, a.pad_bottom, a.stride);
  const int64_t width = convolution_extent(a.width, kernel_width, a.pad_left, a.pad_right, a.stride);
  const Tensor x = noise(backend, {a.batch, a.height, a.width, in});
  const Tensor y = Tensor::empty(backend, {a.batch, height, width, out});
  a.x = x.data();
  a.weight = packed.get();
  a.y = y.data();
  compare(
      name, 2.0 * a.batch * height * width * in * out * kernel_height * kernel_width, [&] { backend.run(a); },
      onednn_convolution(a, in, out, kernel_height, kernel_width));
}

// Queries, keys and values as the transformers have them: token by token, heads side by side.
void attention(Backend& backend, const std::string& what, int64_t outer, int64_t inner, int64_t tokens,
               int64_t keys, int64_t heads, int64_t head_dim) {
  const int64_t width = heads * head_dim;
  const std::string name = fmt::format("attention {}: {}×{} heads, {}×{} tokens of {}", what, outer * inner,
                                       heads, tokens, keys, head_dim);
  if (!wanted(name)) return;
  const Tensor q = noise(backend, {outer, tokens, inner, width}),
               kv = noise(backend, {outer, keys, inner, 2 * width});
  const Tensor y = Tensor::empty(backend, q.shape());
  Attention a;
  a.outer = outer;
  a.inner = inner;
  a.heads = heads;
  a.head_dim = head_dim;
  a.queries = tokens;
  a.keys = keys;
  a.q = {q.data(), tokens * inner * width, width, inner * width};
  a.k = {kv.data(), keys * inner * 2 * width, 2 * width, inner * 2 * width};
  a.v = a.k;
  a.v.data = a.v.data.at(width);
  a.y = y.data();
  a.y_outer_stride = a.q.outer_stride;
  a.y_inner_stride = a.q.inner_stride;
  a.y_token_stride = a.q.token_stride;
  compare(
      name, 4.0 * outer * inner * heads * tokens * keys * head_dim, [&] { backend.run(a); },
      onednn_attention(outer * inner * heads, tokens, keys, head_dim));
}

void memory_bound(Backend& backend, int64_t pictures, int64_t pixels, int64_t channels) {
  if (!g_wanted.empty()) return;
  const Tensor x = noise(backend, {pictures, pixels, channels}), y = Tensor::empty(backend, x.shape());
  const Tensor scale = noise(backend, {channels});
  const double bytes = 4.0 * x.count();
  GroupNorm group;
  group.batch = pictures;
  group.positions = pixels;
  group.channels = channels;
  group.x = x.data();
  group.scale = group.shift = scale.data();
  group.activation = Activation::silu;
  group.y = y.data();
  report_bandwidth(fmt::format("group norm + SiLU {}×{}×{}", pictures, pixels, channels), 3 * bytes,
                   [&] { backend.run(group); });
  LayerNorm layer;
  layer.rows = pictures * pixels;
  layer.width = channels;
  layer.x = x.data();
  layer.scale = layer.shift = scale.data();
  layer.y = y.data();
  report_bandwidth(fmt::format("layer norm {}×{}", layer.rows, channels), 2 * bytes,
                   [&] { backend.run(layer); });
  const int64_t rows = pictures * pixels / 8;
  const Tensor wide = noise(backend, {rows, 8 * channels}),
               gated = Tensor::empty(backend, {rows, 4 * channels});
  report_bandwidth(fmt::format("GEGLU {}×{}", rows, 4 * channels), 12.0 * gated.count(), [&] {
    backend.run(Geglu{.rows = rows, .width = 4 * channels, .x = wide.data(), .y = gated.data()});
  });
}

}  // namespace
}  // namespace eg4d

int main(int argc, char** argv) {
  using namespace eg4d;
  const int64_t n = argc > 1 ? std::max(std::atoi(argv[1]), 1) : 2;
  if (argc > 2) g_seconds = std::atof(argv[2]);
  if (argc > 3) g_wanted = argv[3];
  const auto backend = make_cpu_backend();
  dnnl_engine_create(&g_engine, dnnl_cpu, 0);
  dnnl_stream_create(&g_stream, g_engine, dnnl_stream_default_flags);
  fmt::print("{}; {} pictures\n{:<52} {:>8} {:>8}          ratio\n", backend->name(), n, "", "ours",
             "oneDNN");

  const auto square = [](int64_t batch, int64_t size, int64_t stride = 1) {
    Convolution a;
    a.batch = batch;
    a.height = a.width = size;
    a.stride = stride;
    return a;
  };
  for (const auto& [size, channels] : {std::pair<int64_t, int64_t>{72, 320}, {36, 640}, {18, 1280}}) {
    const int64_t rows = n * size * size;
    linear(*backend, rows, channels, channels);
    linear(*backend, rows, channels, 2 * channels);
    linear(*backend, rows, channels, 8 * channels);
    linear(*backend, rows, 4 * channels, channels);
    convolution(*backend, square(n, size), channels, channels, 3, 3);
    convolution(*backend, square(n, size), 2 * channels, channels, 3, 3);
    convolution(*backend, square(n, size, 2), channels, channels, 3, 3);
    Convolution frames = square(1, 21);
    frames.width = size * size / 4;
    convolution(*backend, frames, channels, channels, 3, 1);
    attention(*backend, "of pixels", 1, 1, size * size, size * size, channels / 64, 64);
    attention(*backend, "of frames", 1, size * size, 21, 21, channels / 64, 64);
    if (channels > 320) attention(*backend, "to a text", 1, 1, size * size, 77, channels / 64, 64);
    memory_bound(*backend, n, size * size, channels);
  }
  convolution(*backend, square(n, 9), 1280, 1280, 3, 3);
  convolution(*backend, square(n, 72), 8, 320, 3, 3);
  attention(*backend, "of the autoencoder", 1, 1, 72 * 72, 72 * 72, 1, 512);
  attention(*backend, "of the image tower", 1, 1, 257, 257, 16, 80);
  attention(*backend, "of the text encoder", 1, 1, 77, 77, 20, 64);
  linear(*backend, 77, 1280, 5120);  // there, and keys of a text in SDXL's UNet
  linear(*backend, 77, 2048, 2560);
}
