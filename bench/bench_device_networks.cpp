// The networks of Stages I and III on a device, at full size: milliseconds, share of what the device reaches
// in products (measured first), device memory, and where the time goes; then seconds of loading.
//
//   bench_device_networks FOLDER [device = cuda] [f16 | bf16 | f32] [repeats = 7] [part,…] [shapes]
//
// FOLDER: of write_random_models. Parts, done in the order given: sv3d, svd, wide
// (SVD's call of 2×25×72×128), decoder, temporal, clip, sdxl, target, texts, vision, distillation, load.
// "shapes": also each operation by its shape.

#include <algorithm>
#include <sstream>

#include "device_profile.h"
#include "diffusion/image_to_image.h"
#include "diffusion/video_networks.h"
#include "models/model_catalog.h"
#include "nn/network_type.h"
#include "pipeline/diffusion_painter.h"
#include "unet_benchmark.h"
#include "vision/lpips.h"
#include "vision/matting.h"

namespace eg4d::bench {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSide = 72, kPixels = 8 * kSide;

// What a kind of operation counts to.
const char* group_of(const std::string& kind) {
  if (kind.starts_with("linear") || kind.starts_with("feed forward")) return "products";
  if (kind.starts_with("convolution")) return "convolutions";
  if (kind.starts_with("attention")) return "attention";
  if (kind.find("norm") != std::string::npos) return "norms";
  return "rest";
}
constexpr const char* kGroups[] = {"products", "convolutions", "attention", "norms", "rest"};

class Networks {
 public:
  Networks(const fs::path& folder, const std::string& device, DType precision, int repeats,
           const std::string& parts, bool shapes)
      : folder_(folder),
        on_processor_(device == "cpu"),
        backend_(make_backend(device)),
        precision_(precision),
        repeats_(repeats),
        shapes_(shapes) {
    std::istringstream words(parts);
    for (std::string part; std::getline(words, part, ',');) parts_.push_back(part);
  }

  void run();

 private:
  using Work = std::function<void()>;
  struct Row {
    std::string work;
    double goal = 0, milliseconds = 0, first = 0;
    size_t memory = 0;
    std::map<std::string, Profile::Total> groups;
  };

  fs::path file(const char* model) const {
    const ModelEntry& entry = find_model_entry(model);
    fs::path path = folder_ / entry.file;
    return is_single_file(entry.kind) ? path.replace_extension(".safetensors") : path;
  }
  NetworkType half() const { return network_type(backend_, precision_); }
  NetworkType exact() const { return exact_network_type(backend_, precision_); }
  Tensor numbers(Shape shape) { return wave(backend_, std::move(shape)); }

  // prepare() makes what one call of the work is.
  void measure(const std::string& work, double goal, const std::function<Work()>& prepare);
  void measure_ceiling();
  void video_calls(const char* model, const char* name, int64_t frames, int64_t width, double goal,
                   bool injection);
  void decoder(const char* model, const char* name, int64_t frames, std::vector<int64_t> pieces, double goal);
  void clip();
  void sdxl();
  void target();
  void texts();
  void vision();
  void distillation();
  void load();
  void table() const;

  const fs::path folder_;
  const bool on_processor_;
  Profile backend_;
  const DType precision_;
  const int repeats_;
  const bool shapes_;
  std::vector<std::string> parts_;
  std::vector<Row> rows_;
  double ceiling_ = 0, copies_ = 0;  // flop/s of products, bytes/s of copies
};

void Networks::measure(const std::string& work, double goal, const std::function<Work()>& prepare) {
  Row row;
  row.work = work;
  row.goal = goal;
  {
    const double start = wall_seconds();
    const Work run = prepare();
    run();
    backend_.wait();
    row.first = wall_seconds() - start;
    row.milliseconds = milliseconds_of(backend_, repeats_, run);
    row.memory = backend_.allocated_bytes();
  }
  backend_.timing = true;
  backend_.totals.clear();
  prepare()();
  backend_.timing = false;
  for (const auto& [key, total] : backend_.totals) row.groups[group_of(key.first)].add(total);
  fmt::print("{}: {:.2f} ms (the first {:.1f} s), {:.2f} GiB\n", work, row.milliseconds, row.first,
             gib(row.memory));
  if (shapes_) print_totals(backend_);
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

// A product that is large enough for the device, and a copy.
void Networks::measure_ceiling() {
  const int64_t extent = on_processor_ ? 512 : 8192, bytes = int64_t{1} << (on_processor_ ? 26 : 30);
  const std::vector<float> values = wave(backend_, {extent, extent}).to_host();
  const auto weight = backend_.pack_linear({.in = extent, .out = extent, .weight = values, .type = half()});
  const Tensor x = Tensor::zeros(backend_, {extent, extent}, half().activations),
               y = Tensor::zeros(backend_, {extent, extent}, half().activations),
               from = Tensor::zeros(backend_, {bytes}, DType::u8),
               to = Tensor::zeros(backend_, {bytes}, DType::u8), source = numbers({extent, extent});
  backend_.run(Convert{.count = x.count(), .x = source.array(), .y = x.array()});
  constexpr int kCalls = 20;
  const auto seconds = [&](const Operation& operation) {
    return 1e-3 / kCalls * milliseconds_of(backend_, repeats_, [&] {
             for (int i = 0; i < kCalls; ++i) backend_.run(operation);
           });
  };
  const auto wide = static_cast<double>(extent);
  ceiling_ = 2 * wide * wide * wide /
             seconds(Linear{.rows = extent, .x = x.array(), .weight = weight.get(), .y = y.array()});
  copies_ =
      2.0 * static_cast<double>(bytes) / seconds(CopyBytes{to.raw(), from.raw(), static_cast<size_t>(bytes)});
  fmt::print("{}, {}: products of {}³ {:.0f} TFLOP/s, copies {:.2f} TB/s\n", backend_.name(),
             name_of(precision_), extent, ceiling_ * 1e-12, copies_ * 1e-12);
  std::fflush(stdout);
}

void Networks::video_calls(const char* model, const char* name, int64_t frames, int64_t width, double goal,
                           bool injection) {
  const VideoCheckpoint checkpoint(file(model));
  const auto network = checkpoint.unet(backend_, half());
  const int64_t rows = 2 * frames;
  const auto conditioning = network->condition(numbers({rows, 1, network->context_width()}),
                                               numbers({rows, network->vector_width()}), frames);
  const auto call = [&](std::optional<AttentionInjection::Options> injected, bool first) -> Work {
    const auto made = std::make_shared<VideoUNet::Call>(
        *network, VideoUNet::Call::Size{rows, frames, kSide, width}, injected);
    const Tensor x = numbers(made->input().shape());
    backend_.run(Convert{.count = x.count(), .x = x.array(), .y = made->input().array()});
    made->set_timestep(0.3f);
    if (injected) made->run(*conditioning, 0, true);
    return [made, &conditioning, first] { made->run(*conditioning, 0, first); };
  };
  const std::string work = fmt::format("{}, 2×{}×{}×{}", name, frames, kSide, width);
  measure(work, goal, [&] { return call({}, true); });
  if (!injection) return;
  measure(work + ", injection, first video", goal + 3,
          [&] { return call(AttentionInjection::Options{}, true); });
  measure(work + ", injection, others", goal + 3, [&] { return call(AttentionInjection::Options{}, false); });
}

// Of `frames` pictures, `piece` at a time; in the type that the program takes, and all in 16 bits.
void Networks::decoder(const char* model, const char* name, int64_t frames, std::vector<int64_t> pieces,
                       double goal) {
  const VideoCheckpoint checkpoint(file(model));
  std::vector<NetworkType> types = {exact()};
  if (half() != exact()) types.push_back(half());
  for (const NetworkType& type : types) {
    const auto network = checkpoint.decoder(backend_, type);
    for (const int64_t piece : pieces)
      measure(fmt::format("{}, {} pictures of {}², {} at a time, activations {}", name, frames, kPixels,
                          piece, name_of(type.activations)),
              goal, [&]() -> Work {
                const std::shared_ptr<PreparedFunction> decode = network->prepare({piece, kSide, kSide, 4});
                return [decode, count = frames / piece] {
                  for (int64_t i = 0; i < count; ++i) decode->run();
                };
              });
  }
}

// A picture's conditions, as VideoNetworks makes them.
void Networks::clip() {
  const VideoCheckpoint checkpoint(file("sv3d_p"));
  const auto tower = checkpoint.image_encoder(backend_, exact());
  measure("OpenCLIP's image tower, one picture", 0, [&]() -> Work {
    const std::shared_ptr<PreparedFunction> embed = tower->prepare(1);
    return [embed] { embed->run(); };
  });
  const auto encoder = checkpoint.condition_encoder(backend_, exact());
  measure("condition's encoder, one picture", 0, [&]() -> Work {
    const std::shared_ptr<PreparedFunction> encode = encoder->prepare_moments({1, kPixels, kPixels, 3});
    return [encode] { encode->run(); };
  });
}

void Networks::sdxl() {
  const ImageCheckpoint checkpoint(file("sdxl_turbo"));
  {
    const auto network = checkpoint.unet(backend_, half());
    const auto conditioning =
        network->condition(numbers({1, 77, network->context_width()}), numbers({1, network->vector_width()}));
    measure("SDXL's UNet, one picture, 72×72", 10, [&]() -> Work {
      const auto call = std::make_shared<ImageUNet::Call>(*network, kSide, kSide, conditioning);
      return [call] { call->run(); };
    });
  }
  const auto encoder = checkpoint.encoder(backend_, exact());
  measure("SDXL's encoder, one picture of 576²", 0, [&]() -> Work {
    const std::shared_ptr<PreparedFunction> encode = encoder->prepare_moments({1, kPixels, kPixels, 3});
    return [encode] { encode->run(); };
  });
  const auto decoder = checkpoint.decoder(backend_, exact());
  measure("SDXL's decoder, one picture of 576²", 0, [&]() -> Work {
    const std::shared_ptr<PreparedFunction> decode = decoder->prepare({1, kSide, kSide, 4}, 0.13f);
    return [decode] { decode->run(); };
  });
}

// What a picture that Stage III is to show takes, with what is done on the host for it.
void Networks::target() {
  const ImageCheckpoint checkpoint(file("sdxl_turbo"));
  const PromptEmbedding prompt = embed_prompt(backend_, checkpoint, "a toy", exact());
  const auto noise = make_normal_stream("philox", 0);
  const std::vector<float> picture(kPixels * kPixels * 3, 0.5f);
  measure("SDXL-Turbo, a picture of 576² refined", 60, [&]() -> Work {
    // Anew, for it keeps what it has recorded.
    const auto network = std::make_shared<ImageToImage>(backend_, checkpoint, precision_);
    network->set_prompt(prompt, {});
    return [&, network] { network->refine(picture, kPixels, kPixels, {}, *noise); };
  });
  // With its matte, from picture to picture.
  const NetworkPrecision named = precision_ == DType::f16    ? NetworkPrecision::f16
                                 : precision_ == DType::bf16 ? NetworkPrecision::bf16
                                                             : NetworkPrecision::f32;
  const Picture reference(static_cast<int>(kPixels), static_cast<int>(kPixels), 3);
  DiffusionPainter::Models models;
  models.network.path = file("sdxl_turbo");
  models.matting.emplace().path = file("u2net");
  DiffusionPainterOptions options;
  options.precision = named;
  measure("a picture that Stage III is to show, painted", 60, [&]() -> Work {
    const auto painter = std::make_shared<DiffusionPainter>(backend_, models, options);
    return [&, painter] { painter->paint(reference, 0, Background::white); };
  });
}

void Networks::texts() {
  const ImageCheckpoint checkpoint(file("sdxl_turbo"));
  for (const size_t which : {size_t{0}, size_t{1}}) {
    const std::shared_ptr<ClipTextEncoder> encoder = checkpoint.text_encoder(backend_, which, exact());
    const ClipTokenizer::Row row = checkpoint.tokenizer(which).row({320, 1000}, 0);
    measure(which == 0 ? "CLIP-L's text encoder" : "OpenCLIP bigG's text encoder", 0,
            [&]() -> Work { return [&, row] { encoder->encode({row}); }; });
  }
}

void Networks::vision() {
  const Tensor a = numbers({1, kPixels, kPixels, 3}), b = numbers({1, kPixels, kPixels, 3}),
               values = Tensor::zeros(backend_, {1}, DType::f64),
               gradient = Tensor::zeros(backend_, a.shape());
  for (const NetworkType& type : {NetworkType{}, exact()}) {
    const Lpips lpips(backend_, WeightMap(file("alexnet")), WeightMap(file("lpips_alex")), type);
    measure(type == NetworkType{} ? "LPIPS and its gradient, 576², f32" : "LPIPS and its gradient, 576²", 0,
            [&]() -> Work {
              const auto arena = std::make_shared<Arena>(backend_);
              lpips.plan(*arena, a.shape(), true);
              const std::shared_ptr<Recording> recording =
                  backend_.record([&] { lpips.measure(*arena, a, b, values, 1, gradient); });
              return [this, arena, recording] { backend_.replay(*recording); };
            });
  }
  U2Net matting(backend_, WeightMap(file("u2net")), exact());
  measure("U²-Net, 320²", 0, [&]() -> Work {
    const std::shared_ptr<PreparedFunction> matte = matting.prepare({1, 320, 320, 3});
    return [matte] { matte->run(); };
  });
}

// The way back through SDXL's encoder.
void Networks::distillation() {
  const ImageCheckpoint checkpoint(file("sdxl_turbo"));
  const auto encoder = checkpoint.encoder(backend_, exact());
  const Tensor picture = numbers({1, kPixels, kPixels, 3}),
               gradient = Tensor::zeros(backend_, picture.shape());
  measure("SDXL's encoder and its gradient, 576²", 0, [&]() -> Work {
    return [&] {
      encoder->differentiate(
          picture, [](const Tensor& mode) { return mode; }, gradient);
    };
  });
}

// From the file's pages in memory to the device.
void Networks::load() {
  const auto report = [&](const char* model, double seconds, size_t before) {
    fmt::print("loading {}: {:.2f} s, {:.2f} GiB on the device\n", model, seconds,
               gib(backend_.allocated_bytes() - before));
    std::fflush(stdout);
  };
  for (const char* model : {"svd_xt_1_1", "sv3d_p"}) {
    const size_t before = backend_.allocated_bytes();
    const double start = wall_seconds();
    VideoNetworks networks(backend_, file(model), VideoNetworks::Keep::all);
    networks.image_encoder(precision_);
    networks.condition_encoder(precision_);
    networks.unet(precision_);
    networks.decoder(precision_);
    backend_.wait();
    report(model, wall_seconds() - start, before);
  }
  const size_t before = backend_.allocated_bytes();
  const double start = wall_seconds();
  const ImageCheckpoint checkpoint(file("sdxl_turbo"));
  const auto first = checkpoint.text_encoder(backend_, 0, exact()),
             second = checkpoint.text_encoder(backend_, 1, exact());
  const auto encoder = checkpoint.encoder(backend_, exact());
  const auto unet = checkpoint.unet(backend_, half());
  const auto decoder = checkpoint.decoder(backend_, exact());
  backend_.wait();
  report("sdxl_turbo", wall_seconds() - start, before);
}

void Networks::table() const {
  std::vector<std::string> columns = {"work", "ms", "goal", "TFLOP", "TFLOP/s", "of the ceiling", "GiB"};
  for (const char* group : kGroups) columns.push_back(fmt::format("{}, ms", group));
  fmt::print("\n");
  const Table table(columns);
  for (const Row& row : rows_) {
    Profile::Total all;
    for (const auto& [group, total] : row.groups) all.add(total);
    const double rate = all.flop / row.milliseconds * 1e3;
    std::vector<std::string> cells = {row.work,
                                      fmt::format("{:.2f}", row.milliseconds),
                                      row.goal > 0 ? fmt::format("{:.0f}", row.goal) : "",
                                      fmt::format("{:.2f}", all.flop * 1e-12),
                                      fmt::format("{:.0f}", rate * 1e-12),
                                      fmt::format("{:.0f} %", 100 * rate / ceiling_),
                                      fmt::format("{:.2f}", gib(row.memory))};
    for (const char* group : kGroups) {
      const auto found = row.groups.find(group);
      cells.push_back(found == row.groups.end() ? "" : fmt::format("{:.2f}", found->second.seconds * 1e3));
    }
    table.row(cells);
  }
}

void Networks::run() {
  const std::pair<const char*, std::function<void()>> all[] = {
      {"sv3d", [this] { video_calls("sv3d_p", "SV3D", 21, kSide, 150, true); }},
      {"svd", [this] { video_calls("svd_xt_1_1", "SVD-XT", 25, kSide, 180, false); }},
      {"wide", [this] { video_calls("svd_xt_1_1", "SVD-XT", 25, 128, 350, false); }},
      {"decoder",
       [this] {
         decoder("sv3d_p", "decoder", 21, {1, 7, 21}, 300);
       }},
      {"temporal",
       [this] {
         decoder("svd_xt_1_1", "temporal decoder", 25, {1, 5, 25}, 450);
       }},
      {"clip", [this] { clip(); }},
      {"sdxl", [this] { sdxl(); }},
      {"target", [this] { target(); }},
      {"texts", [this] { texts(); }},
      {"vision", [this] { vision(); }},
      {"distillation", [this] { distillation(); }},
      {"load", [this] { load(); }},
  };
  for (const std::string& part : parts_)
    if (std::ranges::none_of(all, [&](const auto& known) { return part == known.first; }))
      throw UsageError(fmt::format("there is no part '{}'", part));
  measure_ceiling();
  for (const std::string& part : parts_)
    for (const auto& [name, work] : all)
      if (part == name) work();
  table();
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  using namespace eg4d;
  if (argc < 2) {
    fmt::print(stderr,
               "usage: bench_device_networks FOLDER [device] [precision] [repeats] [parts] [shapes]\n");
    return 2;
  }
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  try {
    bench::Networks(
        argv[1], argument(2, "cuda"), bench::type_of(argument(3, "f16")), std::stoi(argument(4, "7")),
        argument(5, "sv3d,svd,wide,decoder,temporal,clip,sdxl,target,texts,vision,distillation,load"),
        argument(6, "") == "shapes")
        .run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_device_networks: {}\n", error.what());
    return 1;
  }
  return 0;
}
