#include "view/scene_file.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/threads.h"
#include "core/version.h"

namespace eg4d {
namespace {

constexpr float kLargest = 32767;  // of a quantised value
constexpr float kRelativePositionStep = 8e-5f;
constexpr int kCompression = 7;        // of zlib: 9 takes four times as long for 1 % less
constexpr size_t kSectionsAtOnce = 4;  // that are made in parallel and sent together

using Values = std::vector<int16_t>;  // one component after the other: [components][N]

// How one attribute is quantised: value = origin[component] + step · q.
struct Quantizer {
  float step = 1;
  std::vector<float> origin;

  // Of values [N, components]; a value that is not finite becomes the origin.
  Values operator()(const std::vector<float>& values) const {
    const size_t components = origin.size(), count = values.size() / components;
    Values quantized(values.size());
    for (size_t k = 0; k < components; ++k)
      for (size_t i = 0; i < count; ++i) {
        const float multiple = std::nearbyint((values[i * components + k] - origin[k]) / step);
        quantized[k * count + i] = static_cast<int16_t>(multiple >= -kLargest  ? std::min(multiple, kLargest)
                                                        : std::isnan(multiple) ? 0
                                                                               : -kLargest);
      }
    return quantized;
  }
};

// Where an attribute's values lie.
class Range {
 public:
  explicit Range(size_t components) : low_(components, INFINITY), high_(components, -INFINITY) {}
  void add(const std::vector<float>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t k = i % low_.size();
      if (!std::isfinite(values[i])) continue;
      low_[k] = std::min(low_[k], values[i]);
      high_[k] = std::max(high_[k], values[i]);
    }
  }
  // Centred where `centered`, else around zero.
  Quantizer quantizer(float step, bool centered = false) const {
    Quantizer quantizer{step, std::vector<float>(low_.size())};
    float reach = 0;
    for (size_t k = 0; k < low_.size(); ++k) {
      if (low_[k] > high_[k]) continue;
      if (centered) quantizer.origin[k] = (low_[k] + high_[k]) / 2;
      reach = std::max({reach, high_[k] - quantizer.origin[k], quantizer.origin[k] - low_[k]});
    }
    quantizer.step = std::max(step, reach / (kLargest - 1));
    return quantizer;
  }

 private:
  std::vector<float> low_, high_;
};

// Like round half up of (a·(n-k) + b·k)/n, in whole numbers: the page computes the same.
int32_t between(int32_t a, int32_t b, int32_t k, int32_t n) {
  const int32_t doubled = 2 * (a * (n - k) + b * k) + n;
  const int32_t quotient = doubled / (2 * n);
  return doubled % (2 * n) < 0 ? quotient - 1 : quotient;
}

void put_number(std::string& bytes, uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(number >> shift & 255);
}

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(static_cast<uLong>(bytes.size()));
  std::string packed(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                static_cast<uLong>(bytes.size()), kCompression) != Z_OK)
    throw OutOfMemory("there is not enough memory to pack the object for the page");
  packed.resize(size);
  return packed;
}

// The values' differences from what is expected, as the page reads them: with the sign in the lowest bit, all
// low bytes before all high ones, which are mostly zero.
void put_differences(std::string& bytes, const Values& values, const Values& expected) {
  const size_t begin = bytes.size(), count = values.size();
  bytes.resize(begin + 2 * count);
  for (size_t i = 0; i < count; ++i) {
    const auto difference =
        static_cast<int16_t>(static_cast<uint16_t>(values[i]) - static_cast<uint16_t>(expected[i]));
    const auto folded = static_cast<uint16_t>(static_cast<uint16_t>(difference) << 1 ^
                                              static_cast<uint16_t>(difference >> 15));
    bytes[begin + i] = static_cast<char>(folded & 255);
    bytes[begin + count + i] = static_cast<char>(folded >> 8);
  }
}
void put(std::string& bytes, const Values& values) {
  put_differences(bytes, values, Values(values.size()));
}
// Each Gaussian is told apart from the one before it.
void put_from_neighbors(std::string& bytes, const Values& values, size_t components) {
  Values expected(values.size());
  const size_t count = values.size() / components;
  for (size_t k = 0; k < components; ++k)
    for (size_t i = 1; i < count; ++i) expected[k * count + i] = values[k * count + i - 1];
  put_differences(bytes, values, expected);
}

// Coefficients of one degree, [N,2·degree+1,3].
std::vector<float> harmonics_of(const std::vector<float>& sh_rest, int degree) {
  const size_t first = static_cast<size_t>(degree * degree - 1) * 3;
  const size_t width = static_cast<size_t>(2 * degree + 1) * 3, count = sh_rest.size() / 45;
  std::vector<float> values(count * width);
  for (size_t i = 0; i < count; ++i) std::copy_n(&sh_rest[45 * i + first], width, &values[i * width]);
  return values;
}

// What of a moment is sent in one section, quantised.
struct Pose {
  Values positions, log_scales, quaternions;
  std::vector<const Values*> parts() const { return {&positions, &log_scales, &quaternions}; }
};
struct Appearance {
  Values gain_bias, opacities;  // the latter may be empty
  std::vector<const Values*> parts() const { return {&gain_bias, &opacities}; }
};

class SceneEncoder {
 public:
  SceneEncoder(const Scene& scene, const SceneSteps& steps)
      : scene_(scene), order_(moment_order(static_cast<int>(scene.moments.size()))) {
    choose_quantizers(steps);
    canonical_ = pose_of(scene);
    reference_ = {color_(scene.gain_bias), opacity_(scene.opacities)};
    const auto count = static_cast<int64_t>(scene.moments.size());
    poses_.resize(scene.moments.size());
    parallel_for(count, 1, [&](int64_t i, int64_t) {
      poses_[static_cast<size_t>(i)] = pose_of(scene.moments[static_cast<size_t>(i)]);
    });
    if (!scene.has_own_colors()) return;
    for (const SceneMoment& moment : scene.moments)
      own_.push_back({color_(moment.gain_bias), opacity_(moment.opacities)});
  }

  std::string head() const {
    const std::string json = description().dump();
    std::string bytes(kSceneMagic);
    put_number(bytes, kSceneVersion);
    put_number(bytes, static_cast<uint32_t>(json.size()));
    return bytes + json;
  }

  struct Section {
    SceneSection kind;
    uint32_t index = 0;  // as the file tells it
    size_t place = 0;    // in the order of moments
  };
  // Beginning with what the first picture needs.
  std::vector<Section> sections() const {
    std::vector<Section> list = {{SceneSection::shape}, {SceneSection::color}};
    const auto add_moment = [&](SceneSection kind, size_t place) {
      list.push_back({kind, static_cast<uint32_t>(order_[place].moment), place});
    };
    add_moment(SceneSection::moment, 0);
    for (uint32_t degree = 1; degree <= static_cast<uint32_t>(scene_.sh_degree); ++degree)
      list.push_back({SceneSection::harmonics, degree});
    for (size_t place = 1; place < order_.size(); ++place) add_moment(SceneSection::moment, place);
    for (size_t place = 0; place < order_.size() && !own_.empty(); ++place)
      add_moment(SceneSection::own_color, place);
    return list;
  }

  std::string encoded(const Section& section) const {
    const std::string packed = deflated(contents(section));
    std::string bytes;
    put_number(bytes, static_cast<uint32_t>(section.kind));
    put_number(bytes, section.index);
    put_number(bytes, static_cast<uint32_t>(packed.size()));
    return bytes + packed;
  }

 private:
  void choose_quantizers(const SceneSteps& steps) {
    Range position(3), scale(3), opacity(1), color(4), dc(3);
    const auto see = [&](const auto& pose) {
      position.add(pose.positions);
      scale.add(pose.log_scales);
      opacity.add(pose.opacities);
      color.add(pose.gain_bias);
    };
    see(scene_);
    for (const SceneMoment& moment : scene_.moments) see(moment);
    dc.add(scene_.sh_dc);
    const float distance = scene_.camera_radius > 0 ? static_cast<float>(scene_.camera_radius) : 4.0f;
    position_ =
        position.quantizer(steps.position > 0 ? steps.position : kRelativePositionStep * distance, true);
    scale_ = scale.quantizer(steps.log_scale);
    quaternion_ = {steps.quaternion, std::vector<float>(4)};
    opacity_ = opacity.quantizer(steps.opacity);
    color_ = color.quantizer(steps.color);
    dc_ = dc.quantizer(steps.sh_dc);
    for (int degree = 1; degree <= scene_.sh_degree; ++degree) {
      Range rest(static_cast<size_t>(2 * degree + 1) * 3);
      rest.add(harmonics_of(scene_.sh_rest, degree));
      harmonics_.push_back(rest.quantizer(steps.sh_rest));
    }
  }

  template <class Any>
  Pose pose_of(const Any& pose) const {
    return {position_(pose.positions), scale_(pose.log_scales), quaternion_(pose.quaternions)};
  }

  nlohmann::json description() const {
    nlohmann::json json = {{"program", kVersion},
                           {"gaussians", scene_.count},
                           {"sh_degree", scene_.sh_degree},
                           {"origin", position_.origin},
                           {"own_colors", scene_.has_own_colors()},
                           {"own_opacities", scene_.has_own_opacities()},
                           {"color_time", scene_.color_time == ColorTime::own ? "own" : "reference"},
                           {"reference_time", scene_.reference_time},
                           {"background", scene_.white_background ? "white" : "black"},
                           {"frames", scene_.frames},
                           {"sections", sections().size()}};
    json["camera"] = {{"fov_x", scene_.fov_x},
                      {"radius", scene_.camera_radius},
                      {"width", scene_.width},
                      {"height", scene_.height}};
    json["steps"] = {
        {"position", position_.step}, {"log_scale", scale_.step}, {"quaternion", quaternion_.step},
        {"opacity", opacity_.step},   {"sh_dc", dc_.step},        {"color", color_.step}};
    auto& harmonics = json["steps"]["harmonics"] = nlohmann::json::array();
    for (const Quantizer& degree : harmonics_) harmonics.push_back(degree.step);
    auto& times = json["times"] = nlohmann::json::array();
    for (const SceneMoment& moment : scene_.moments) times.push_back(moment.time);
    auto& order = json["order"] = nlohmann::json::array();
    for (const MomentStep& step : order_) order.push_back({{"moment", step.moment}, {"from", step.from}});
    return json;
  }

  std::string contents(const Section& section) const {
    std::string bytes;
    switch (section.kind) {
      case SceneSection::shape:
        put_from_neighbors(bytes, canonical_.positions, 3);
        put(bytes, canonical_.log_scales);
        put(bytes, canonical_.quaternions);
        break;
      case SceneSection::color:
        put(bytes, dc_(scene_.sh_dc));
        put(bytes, reference_.gain_bias);
        put(bytes, reference_.opacities);
        break;
      case SceneSection::moment:
        put_between(bytes, order_[section.place], poses_, canonical_);
        break;
      case SceneSection::harmonics: {
        const auto degree = static_cast<int>(section.index);
        put(bytes, harmonics_[section.index - 1](harmonics_of(scene_.sh_rest, degree)));
        break;
      }
      case SceneSection::own_color:
        put_between(bytes, order_[section.place], own_, reference_);
        break;
    }
    return bytes;
  }

  // One moment's parts, told apart from those of the moments it follows from.
  template <class Parts>
  static void put_between(std::string& bytes, const MomentStep& step, const std::vector<Parts>& moments,
                          const Parts& before_all) {
    const auto of = [&](int moment) { return moments[static_cast<size_t>(moment)].parts(); };
    const auto values = of(step.moment), first = step.from.empty() ? before_all.parts() : of(step.from[0]);
    for (size_t part = 0; part < values.size(); ++part) {
      if (values[part]->empty()) continue;
      Values expected = *first[part];
      if (step.from.size() == 2) {
        const Values& last = *of(step.from[1])[part];
        const int whole = step.from[1] - step.from[0], passed = step.moment - step.from[0];
        for (size_t i = 0; i < expected.size(); ++i)
          expected[i] = static_cast<int16_t>(between(expected[i], last[i], passed, whole));
      }
      put_differences(bytes, *values[part], expected);
    }
  }

  const Scene& scene_;
  const std::vector<MomentStep> order_;
  Quantizer position_, scale_, quaternion_, opacity_, color_, dc_;
  std::vector<Quantizer> harmonics_;
  Pose canonical_;
  Appearance reference_;
  std::vector<Pose> poses_;
  std::vector<Appearance> own_;
};

}  // namespace

std::vector<MomentStep> moment_order(int count) {
  std::vector<MomentStep> order;
  if (count > 0) order.push_back({0, {}});
  if (count > 1) order.push_back({count - 1, {0}});
  std::vector<std::pair<int, int>> gaps = {{0, count - 1}};
  while (!gaps.empty()) {
    std::vector<std::pair<int, int>> smaller;
    for (const auto& [low, high] : gaps) {
      if (high - low < 2) continue;
      const int middle = (low + high) / 2;
      order.push_back({middle, {low, high}});
      smaller.insert(smaller.end(), {{low, middle}, {middle, high}});
    }
    gaps = std::move(smaller);
  }
  return order;
}

void encode_scene(const Scene& scene, const SceneSteps& steps,
                  const std::function<void(std::string piece)>& emit, const std::function<bool()>& stop) {
  const SceneEncoder encoder(scene, steps);
  emit(encoder.head());
  const auto sections = encoder.sections();
  for (size_t begin = 0; begin < sections.size(); begin += kSectionsAtOnce) {
    if (stop()) throw Interrupted("stopped while the object was packed for the page");
    std::vector<std::string> pieces(std::min(kSectionsAtOnce, sections.size() - begin));
    parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t i, int64_t) {
      const auto k = static_cast<size_t>(i);
      pieces[k] = encoder.encoded(sections[begin + k]);
    });
    for (std::string& piece : pieces) emit(std::move(piece));
  }
}

}  // namespace eg4d
