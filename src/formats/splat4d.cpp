#include "formats/splat4d.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "formats/compression.h"
#include "formats/splat_numbers.h"
#include "formats/splat_order.h"
#include "io/atomic_file.h"

namespace eg4d::splat {
namespace {

using json = nlohmann::ordered_json;

// As streams number them.
enum AttributeId { kPosition, kRotation, kColour, kOpacity, kScale, kAttributes };
enum StreamKind { kKey, kDelta, kStatic };
constexpr size_t kChannels[kAttributes] = {3, 4, 3, 1, 3};
constexpr const char* kNames[kAttributes] = {"pos", "rot", "rgb", "alpha", "scale"};

// One attribute of all Gaussians in all frames, in the units of its bound: scene units and logarithms, or
// whole levels (rotations less 128).
struct Track {
  bool whole = false;
  double bound = 0;
  double step = 0, base_step = 0;          // of dynamic values, of static ones
  std::vector<float> values;               // [frames,N,channels]
  std::vector<uint8_t> stands;             // [N] whether one value is within the bound of all frames
  std::vector<int32_t> base;               // [N,channels] in base steps: that value, or the first frame's
  std::vector<std::vector<int32_t>> bins;  // per frame, of those that move
};

// To whole steps; of whole levels, the step's middle is its multiple.
int32_t bin_of(const Track& track, double value, double step) {
  if (track.whole) return static_cast<int32_t>(std::floor((value + std::floor(step / 2)) / step));
  return static_cast<int32_t>(std::lround(value / step));
}

void classify(Track& track, size_t count, size_t channels, size_t frames) {
  const size_t row = count * channels;
  track.stands.assign(count, 1);
  track.base.resize(row);
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = i * channels; k < (i + 1) * channels; ++k) {
      double low = track.values[k], high = low;
      for (size_t frame = 1; frame < frames; ++frame) {
        low = std::min<double>(low, track.values[frame * row + k]);
        high = std::max<double>(high, track.values[frame * row + k]);
      }
      track.base[k] = track.whole ? static_cast<int32_t>(std::floor((low + high) / 2))
                                  : bin_of(track, (low + high) / 2, track.base_step);
      const double middle = track.base[k] * track.base_step;
      if (high - middle > track.bound || middle - low > track.bound) track.stands[i] = 0;
    }
    if (track.stands[i]) continue;
    for (size_t k = i * channels; k < (i + 1) * channels; ++k)
      track.base[k] = track.whole ? static_cast<int32_t>(track.values[k])
                                  : bin_of(track, track.values[k], track.base_step);
  }
}

// A moving value stays as it is stored until it would be off by more than the bound.
void quantize(Track& track, size_t count, size_t channels, size_t frames) {
  track.bins.resize(frames);
  for (size_t frame = 0; frame < frames; ++frame)
    for (size_t i = 0, at = 0; i < count; ++i) {
      if (track.stands[i]) continue;
      const float* values = &track.values[(frame * count + i) * channels];
      bool holds = frame > 0;
      for (size_t k = 0; holds && k < channels; ++k)
        holds = std::abs(values[k] - track.bins[frame - 1][at + k] * track.step) <= track.bound;
      for (size_t k = 0; k < channels; ++k)
        track.bins[frame].push_back(holds ? track.bins[frame - 1][at + k]
                                          : bin_of(track, values[k], track.step));
      at += channels;
    }
}

uint32_t zigzag(int32_t value) {
  return static_cast<uint32_t>(value) << 1 ^ static_cast<uint32_t>(value >> 31);
}

struct Stream {
  uint8_t attribute = 0, kind = 0, width = 1;
  uint32_t count = 0;
  std::string payload;

  Stream(size_t attribute_id, StreamKind stream_kind, const std::vector<uint32_t>& symbols)
      : attribute(static_cast<uint8_t>(attribute_id)),
        kind(stream_kind),
        count(static_cast<uint32_t>(symbols.size())) {
    const uint32_t most = symbols.empty() ? 0 : *std::max_element(symbols.begin(), symbols.end());
    width = most < 256 ? 1 : most < 65536 ? 2 : 4;
    std::string planes;
    planes.reserve(symbols.size() * width);
    for (int plane = 0; plane < width; ++plane)
      for (const uint32_t symbol : symbols) planes.push_back(static_cast<char>(symbol >> 8 * plane));
    constexpr size_t kLarge = 8 << 20;  // beyond, the highest level takes long and gains little
    payload = zstd(planes, planes.size() > kLarge ? 13 : 19);
  }
  void append_header(std::string& to) const {
    put(to, attribute);
    put(to, kind);
    put(to, width);
    put(to, count);
    put(to, static_cast<uint32_t>(payload.size()));
  }
};

std::vector<uint32_t> bitmap(const std::vector<uint8_t>& flags) {
  std::vector<uint32_t> bytes((flags.size() + 7) / 8, 0);
  for (size_t i = 0; i < flags.size(); ++i)
    if (flags[i]) bytes[i / 8] |= 128u >> i % 8;
  return bytes;
}

std::vector<uint32_t> spatial_changes(const std::vector<int32_t>& values, size_t channels) {
  std::vector<uint32_t> symbols(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    symbols[i] = zigzag(values[i] - (i >= channels ? values[i - channels] : 0));
  return symbols;
}

std::vector<uint32_t> plus(const std::vector<int32_t>& values, int32_t offset) {
  std::vector<uint32_t> symbols(values.size());
  std::transform(values.begin(), values.end(), symbols.begin(),
                 [&](int32_t value) { return static_cast<uint32_t>(value + offset); });
  return symbols;
}

std::string static_section(const std::array<Track, kAttributes>& tracks) {
  std::string section;
  const auto add = [&](const Stream& stream) {
    stream.append_header(section);
    section += stream.payload;
  };
  for (size_t a = 0; a < kAttributes; ++a) add({a, kStatic, bitmap(tracks[a].stands)});
  add({kPosition, kStatic, spatial_changes(tracks[kPosition].base, 3)});
  add({kScale, kStatic, spatial_changes(tracks[kScale].base, 3)});
  add({kColour, kStatic, plus(tracks[kColour].base, 0)});
  add({kOpacity, kStatic, plus(tracks[kOpacity].base, 0)});
  add({kRotation, kStatic, plus(tracks[kRotation].base, 128)});
  return section;
}

// Frames `first` to `last`: all keys, then all changes, so that the first frame can be shown early.
std::string frames_chunk(const std::array<Track, kAttributes>& tracks, size_t first, size_t last) {
  std::vector<Stream> keys, deltas;
  for (size_t a = 0; a < kAttributes; ++a) {
    const auto& bins = tracks[a].bins;
    if (bins[first].empty()) continue;
    std::vector<uint32_t> symbols(bins[first].size());
    std::transform(bins[first].begin(), bins[first].end(), symbols.begin(), zigzag);
    keys.emplace_back(a, kKey, symbols);
    symbols.clear();
    for (size_t frame = first + 1; frame <= last; ++frame)
      for (size_t i = 0; i < bins[frame].size(); ++i)
        symbols.push_back(zigzag(bins[frame][i] - bins[frame - 1][i]));
    if (last > first) deltas.emplace_back(a, kDelta, symbols);
  }
  std::string chunk, payloads;
  put(chunk, static_cast<uint16_t>(keys.size() + deltas.size()));
  for (const std::vector<Stream>* streams : {&keys, &deltas})
    for (const Stream& stream : *streams) {
      stream.append_header(chunk);
      payloads += stream.payload;
    }
  return chunk + payloads;
}

// As `.splat` would hold the frame, appended to the tracks. Quaternions q and -q are one rotation: the one
// that is nearer to the frame before is taken.
void append_frame(std::array<Track, kAttributes>& tracks, const GaussianCloud& cloud, size_t frame) {
  const auto count = static_cast<size_t>(cloud.count());
  const auto add = [&](AttributeId a, float value) { tracks[a].values.push_back(value); };
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < 3; ++k) {
      add(kPosition, cloud.positions[3 * i + k]);
      add(kScale, std::max(cloud.log_scales[3 * i + k], std::log(1e-9f)));
      add(kColour, to_byte((0.5f + kSh0 * cloud.sh_dc[3 * i + k]) * 255));
    }
    add(kOpacity, to_byte(sigmoid(cloud.opacity_logits[i]) * 255));
    std::array<float, 4> levels{};
    const auto q = unit_quaternion(&cloud.quaternions[4 * i]);
    for (size_t k = 0; k < 4; ++k) levels[k] = static_cast<float>(to_byte(q[k] * 128 + 128)) - 128;
    float product = 0;
    for (size_t k = 0; frame > 0 && k < 4; ++k)
      product += levels[k] * tracks[kRotation].values[((frame - 1) * count + i) * 4 + k];
    for (const float level : levels) add(kRotation, product < 0 ? std::min(-level, 127.f) : level);
  }
}

// Rows of all tracks in the order that the format asks for: by which attributes move, then by neighbourhood.
// Returns the groups of equal movement, [mask, count].
std::vector<std::pair<int, size_t>> reorder(std::array<Track, kAttributes>& tracks,
                                            const GaussianCloud& first, size_t frames) {
  std::vector<uint32_t> order = morton_order(first);
  const auto mask_of = [&](uint32_t i) {
    int mask = 0;
    for (size_t a = 0; a < kAttributes; ++a) mask |= (tracks[a].stands[i] ? 0 : 1) << a;
    return mask;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return mask_of(a) < mask_of(b); });
  std::vector<std::pair<int, size_t>> groups;
  for (const uint32_t i : order) {
    if (groups.empty() || groups.back().first != mask_of(i)) groups.emplace_back(mask_of(i), 0);
    ++groups.back().second;
  }
  for (size_t a = 0; a < kAttributes; ++a) {
    Track& track = tracks[a];
    const size_t channels = kChannels[a], count = order.size();
    const auto permute = [&](auto& values, size_t width, size_t rows) {
      auto moved = values;
      for (size_t row = 0; row < rows; ++row)
        for (size_t i = 0; i < count; ++i)
          std::copy_n(values.begin() + static_cast<ptrdiff_t>((row * count + order[i]) * width), width,
                      moved.begin() + static_cast<ptrdiff_t>((row * count + i) * width));
      values = std::move(moved);
    };
    permute(track.values, channels, frames);
    permute(track.base, channels, 1);
    permute(track.stands, 1, 1);
  }
  return groups;
}

std::array<Track, kAttributes> empty_tracks(const GaussianCloud& first, const Splat4dOptions& options) {
  std::array<Track, kAttributes> tracks;
  float extent = 0;
  for (const float x : first.positions) extent = std::max(extent, std::abs(x));
  tracks[kPosition].bound =
      options.position_bound > 0 ? options.position_bound : std::max(extent / 8192, 1e-6f);
  tracks[kScale].bound = std::log1p(options.scale_bound);
  for (const auto a : {kPosition, kScale}) {
    tracks[a].step = 2 * tracks[a].bound;
    tracks[a].base_step = tracks[a].bound;
  }
  const std::pair<AttributeId, int> levels[] = {{kColour, options.colour_bound},
                                                {kOpacity, options.opacity_bound},
                                                {kRotation, options.rotation_bound}};
  for (const auto& [a, bound] : levels) {
    tracks[a].whole = true;
    tracks[a].bound = bound;
    tracks[a].step = 2 * bound + 1;
    tracks[a].base_step = 1;
  }
  return tracks;
}

}  // namespace

void write_splat4d(const std::filesystem::path& path, const SplatSequence& sequence,
                   const Splat4dOptions& options) {
  const GaussianCloud cloud = sequence.at(0);
  const auto count = static_cast<size_t>(cloud.count()), frames = static_cast<size_t>(sequence.frames);
  std::array<Track, kAttributes> tracks = empty_tracks(cloud, options);
  for (size_t frame = 0; frame < frames; ++frame) {
    const GaussianCloud next = sequence.at(static_cast<int>(frame));
    if (next.opacity_logits.size() != count) throw Error("a sequence has the same Gaussians in every frame");
    append_frame(tracks, next, frame);
  }
  std::vector<float> low(3, INFINITY), high(3, -INFINITY);
  const std::vector<float>& positions = tracks[kPosition].values;
  for (size_t i = 0; i < positions.size(); ++i) {
    low[i % 3] = std::min(low[i % 3], positions[i]);
    high[i % 3] = std::max(high[i % 3], positions[i]);
    if (std::abs(positions[i]) / tracks[kPosition].bound > (1 << 29))
      throw Error(
          fmt::format("cannot write '{}': its position bound of {} is too small for coordinates up to {}",
                      path.string(), tracks[kPosition].bound, std::abs(positions[i])));
  }
  for (size_t a = 0; a < kAttributes; ++a) classify(tracks[a], count, kChannels[a], frames);
  const auto groups = reorder(tracks, cloud, frames);
  for (size_t a = 0; a < kAttributes; ++a) quantize(tracks[a], count, kChannels[a], frames);

  const auto per_chunk = static_cast<size_t>(options.frames_per_chunk);
  const std::string fixed = static_section(tracks);
  std::vector<std::string> chunks;
  for (size_t first = 0; first < frames; first += per_chunk)
    chunks.push_back(frames_chunk(tracks, first, std::min(first + per_chunk, frames) - 1));

  json header = {{"n", count}, {"t", frames}, {"fps", sequence.fps}, {"gop", per_chunk}};
  header["bounds"] = {{"pos_m", tracks[kPosition].bound},
                      {"scale_rel", options.scale_bound},
                      {"rgb", options.colour_bound},
                      {"alpha", options.opacity_bound},
                      {"rot", options.rotation_bound}};
  header["steps"] = {{"pos", tracks[kPosition].step},        {"base_pos", tracks[kPosition].base_step},
                     {"scale_log", tracks[kScale].step},     {"base_scale_log", tracks[kScale].base_step},
                     {"rgb", 2 * options.colour_bound + 1},  {"alpha", 2 * options.opacity_bound + 1},
                     {"rot", 2 * options.rotation_bound + 1}};
  for (size_t a = 0; a < kAttributes; ++a)
    header["dyn"][kNames[a]] = std::count(tracks[a].stands.begin(), tracks[a].stands.end(), uint8_t{0});
  header["groups"] = json::array();
  for (const auto& [mask, size] : groups) header["groups"].push_back({{"mask", mask}, {"count", size}});
  header["aabb"] = {low[0], low[1], low[2], high[0], high[1], high[2]};
  header["denoised"] = false;
  // Offsets count from the file's beginning, and so depend on the header's own length.
  std::string text;
  for (size_t length = 0; text.empty() || text.size() != length;) {
    length = text.size();
    size_t offset = 12 + length;
    header["static_section"] = {{"offset", offset}, {"len", fixed.size()}};
    offset += fixed.size();
    header["gops"] = json::array();
    for (size_t g = 0; g < chunks.size(); ++g) {
      const size_t first = g * per_chunk, last = std::min(first + per_chunk, frames) - 1;
      header["gops"].push_back({{"offset", offset},
                                {"len", chunks[g].size()},
                                {"f0", first},
                                {"f1", last},
                                {"t0", static_cast<double>(first) / sequence.fps},
                                {"t1", static_cast<double>(last) / sequence.fps}});
      offset += chunks[g].size();
    }
    text = header.dump();
  }
  std::string start = "SP4D";
  put(start, uint16_t{1});  // version
  put(start, uint16_t{0});  // flags
  put(start, static_cast<uint32_t>(text.size()));
  AtomicFile file(path);
  file.write(start + text);
  file.write(fixed);
  for (const std::string& chunk : chunks) file.write(chunk);
  file.commit();
}

}  // namespace eg4d::splat
