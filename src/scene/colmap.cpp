#include "scene/colmap.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>

#include "core/error.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr int kTestInterval = 8;  // every eighth picture is a test picture

struct CameraModel {
  const char* name;
  int parameters;
  int focal_lengths;  // 0: not taken
};
// By COLMAP's numbers.
constexpr CameraModel kModels[] = {{"SIMPLE_PINHOLE", 3, 1},
                                   {"PINHOLE", 4, 2},
                                   {"SIMPLE_RADIAL", 4, 1},
                                   {"RADIAL", 5, 0},
                                   {"OPENCV", 8, 2},
                                   {"OPENCV_FISHEYE", 8, 0},
                                   {"FULL_OPENCV", 12, 0},
                                   {"FOV", 5, 0},
                                   {"SIMPLE_RADIAL_FISHEYE", 4, 0},
                                   {"RADIAL_FISHEYE", 5, 0},
                                   {"THIN_PRISM_FISHEYE", 12, 0}};

// Little-endian numbers from a file that may end anywhere.
class BinaryReader {
 public:
  BinaryReader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}
  Error bad(const std::string& what) const { return Error(fmt::format("cannot read '{}': {}", name_, what)); }
  template <class T>
  T next() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  double number() {
    const auto value = next<double>();
    if (!std::isfinite(value)) throw bad("it holds NaN or infinity");
    return value;
  }
  void skip(uint64_t count, size_t width) {
    if (count > bytes_.size() / width) throw bad("it ends too early");
    take(static_cast<size_t>(count) * width);
  }
  std::string word() {
    std::string word;
    while (const char letter = next<char>()) word += letter;
    return word;
  }

 private:
  Bytes take(size_t count) {
    if (count > bytes_.size()) throw bad("it ends too early");
    const Bytes taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  Bytes bytes_;
  const std::string& name_;
};

// Lines of words; '#' begins a comment.
class TextReader {
 public:
  TextReader(Bytes bytes, const std::string& name)
      : rest_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), name_(name) {}
  Error bad(const std::string& what) const {
    return Error(fmt::format("cannot read '{}', line {}: {}", name_, number_, what));
  }
  // The next line as it is; false at the end.
  bool line(std::string_view& text) {
    if (rest_.empty()) return false;
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    text = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    if (text.ends_with('\r')) text.remove_suffix(1);
    ++number_;
    return true;
  }
  // The next one that says something.
  bool words_line() {
    while (line(line_)) {
      const size_t first = line_.find_first_not_of(" \t");
      if (first == std::string_view::npos || line_[first] == '#') continue;
      return true;
    }
    return false;
  }
  std::string_view word() {
    line_.remove_prefix(std::min(line_.find_first_not_of(" \t"), line_.size()));
    const std::string_view word = line_.substr(0, line_.find_first_of(" \t"));
    if (word.empty()) throw bad("it ends too early");
    line_.remove_prefix(word.size());
    return word;
  }
  // What is left of the line: names may hold blanks.
  std::string rest_of_line() {
    std::string_view text = line_;
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    return std::string(text.substr(0, text.find_last_not_of(" \t") + 1));
  }
  template <class T = double>
  T next() {
    const std::string_view text = word();
    T value{};
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size())
      throw bad(fmt::format("'{}' is no number that fits there", text.substr(0, 40)));
    return value;
  }
  double number() {
    const auto value = next<double>();
    if (!std::isfinite(value)) throw bad("it holds NaN or infinity");
    return value;
  }

 private:
  std::string_view rest_, line_;
  const std::string& name_;
  int64_t number_ = 0;
};

template <class Reader>
ColmapCamera read_camera(Reader& reader, const CameraModel& model, double width, double height) {
  double parameters[12] = {};
  for (int i = 0; i < model.parameters; ++i) parameters[i] = reader.number();
  if (model.focal_lengths == 0)
    throw reader.bad(
        fmt::format("camera model {} is not taken; undistort the pictures (colmap "
                    "image_undistorter), which gives PINHOLE",
                    model.name));
  const ColmapCamera camera{width, height, parameters[0], parameters[model.focal_lengths - 1]};
  if (!(width >= 1 && height >= 1 && width < 1e6 && height < 1e6 && camera.focal_x > 0 && camera.focal_y > 0))
    throw reader.bad("a camera's size or focal length is out of range");
  return camera;
}

// Of a rotation as a quaternion w, x, y, z and a translation.
template <class Reader>
Matrix4 read_pose(Reader& reader) {
  double q[4], t[3];
  for (double& value : q) value = reader.number();
  for (double& value : t) value = reader.number();
  const double norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  if (!(norm > 1e-8 && norm < 1e8)) throw reader.bad("a picture's rotation is no quaternion");
  const double w = q[0] / norm, x = q[1] / norm, y = q[2] / norm, z = q[3] / norm;
  const double rotation[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                                 {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                                 {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
  Matrix4 pose = Matrix4::identity();
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) pose(i, j) = rotation[i][j];
    pose(i, 3) = t[i];
  }
  return pose;
}

template <class Reader>
void check_name(Reader& reader, const std::string& name) {
  const fs::path path(name);
  const bool leaves =
      std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  if (name.empty() || path.is_absolute() || leaves) throw reader.bad("a picture's name leaves images/");
}

struct Part {
  fs::path file;
  bool is_text = false;
};

// NAME.bin, else NAME.txt; empty where there is none.
Part find_part(const fs::path& folder, const char* name) {
  for (const bool is_text : {false, true})
    if (fs::path file = folder / (std::string(name) + (is_text ? ".txt" : ".bin")); fs::is_regular_file(file))
      return {std::move(file), is_text};
  return {};
}

Part require_part(const fs::path& folder, const char* name) {
  Part part = find_part(folder, name);
  if (part.file.empty())
    throw Error(fmt::format("the COLMAP reconstruction '{}' has no {}.bin or .txt", folder.string(), name));
  return part;
}

}  // namespace

std::map<int32_t, ColmapCamera> parse_colmap_cameras(Bytes file, bool is_text, const std::string& name) {
  std::map<int32_t, ColmapCamera> cameras;
  if (is_text) {
    TextReader reader(file, name);
    while (reader.words_line()) {
      const auto id = reader.next<int32_t>();
      const std::string model(reader.word());
      const auto* known = std::find_if(std::begin(kModels), std::end(kModels),
                                       [&](const CameraModel& one) { return model == one.name; });
      if (known == std::end(kModels)) throw reader.bad("its camera model is not known");
      const double width = reader.number(), height = reader.number();
      cameras[id] = read_camera(reader, *known, width, height);
    }
    return cameras;
  }
  BinaryReader reader(file, name);
  for (uint64_t left = reader.next<uint64_t>(); left > 0; --left) {
    const auto id = reader.next<int32_t>();
    const auto model = reader.next<int32_t>();
    if (model < 0 || model >= static_cast<int32_t>(std::size(kModels)))
      throw reader.bad(fmt::format("camera model {} is not known", model));
    const auto width = static_cast<double>(reader.next<uint64_t>()),
               height = static_cast<double>(reader.next<uint64_t>());
    cameras[id] = read_camera(reader, kModels[model], width, height);
  }
  return cameras;
}

std::vector<ColmapImage> parse_colmap_images(Bytes file, bool is_text, const std::string& name) {
  std::vector<ColmapImage> images;
  if (is_text) {
    TextReader reader(file, name);
    while (reader.words_line()) {
      ColmapImage image;
      reader.next<int32_t>();  // its number
      image.world_to_camera = read_pose(reader);
      image.camera = reader.next<int32_t>();
      image.name = reader.rest_of_line();
      check_name(reader, image.name);
      images.push_back(std::move(image));
      std::string_view points;
      reader.line(points);  // may be empty
    }
    return images;
  }
  BinaryReader reader(file, name);
  for (uint64_t left = reader.next<uint64_t>(); left > 0; --left) {
    ColmapImage image;
    reader.next<int32_t>();
    image.world_to_camera = read_pose(reader);
    image.camera = reader.next<int32_t>();
    image.name = reader.word();
    check_name(reader, image.name);
    reader.skip(reader.next<uint64_t>(), 24);  // points in the picture: x, y, which
    images.push_back(std::move(image));
  }
  return images;
}

PointCloud parse_colmap_points(Bytes file, bool is_text, const std::string& name) {
  PointCloud points;
  const auto add = [&](auto& reader, const auto& next_color) {
    for (int c = 0; c < 3; ++c) points.positions.push_back(static_cast<float>(reader.number()));
    for (int c = 0; c < 3; ++c) points.colors.push_back(static_cast<float>(next_color()) / 255);
    for (size_t i = points.positions.size() - 3; i < points.positions.size(); ++i)
      if (!std::isfinite(points.positions[i])) throw reader.bad("a point is out of range");
  };
  if (is_text) {
    TextReader reader(file, name);
    while (reader.words_line()) {
      reader.next<uint64_t>();
      add(reader, [&] { return reader.template next<uint8_t>(); });
    }
    return points;
  }
  BinaryReader reader(file, name);
  for (uint64_t left = reader.next<uint64_t>(); left > 0; --left) {
    reader.next<uint64_t>();
    add(reader, [&] { return reader.template next<uint8_t>(); });
    reader.next<double>();                    // error
    reader.skip(reader.next<uint64_t>(), 8);  // pictures that see it
  }
  return points;
}

DatasetLayout read_colmap(const fs::path& folder) {
  const fs::path reconstruction = folder / "sparse" / "0";
  const Part cameras_part = require_part(reconstruction, "cameras"),
             images_part = require_part(reconstruction, "images");
  const auto cameras = parse_colmap_cameras(MappedFile(cameras_part.file).bytes(), cameras_part.is_text,
                                            cameras_part.file.string());
  auto images = parse_colmap_images(MappedFile(images_part.file).bytes(), images_part.is_text,
                                    images_part.file.string());
  if (images.empty()) throw Error(fmt::format("'{}' lists no pictures", images_part.file.string()));
  std::sort(images.begin(), images.end(),
            [](const ColmapImage& a, const ColmapImage& b) { return a.name < b.name; });

  DatasetLayout layout;
  layout.sources = {cameras_part.file, images_part.file};
  for (size_t i = 0; i < images.size(); ++i) {
    const auto camera = cameras.find(images[i].camera);
    if (camera == cameras.end())
      throw Error(fmt::format("'{}': the picture '{}' is of camera {}, which is not there",
                              images_part.file.string(), images[i].name, images[i].camera));
    DatasetFrame frame;
    frame.file = folder / "images" / images[i].name;
    frame.camera_to_world = inverse(images[i].world_to_camera);
    for (int row = 0; row < 3; ++row)
      for (int column = 1; column <= 2; ++column)
        frame.camera_to_world(row, column) = -frame.camera_to_world(row, column);
    frame.intrinsics.fov_x = 2 * std::atan(camera->second.width / (2 * camera->second.focal_x));
    frame.intrinsics.fov_y = 2 * std::atan(camera->second.height / (2 * camera->second.focal_y));
    frame.view_index = static_cast<int>(i);
    const char* split = i % kTestInterval == 0 && images.size() > 1 ? "test" : "train";
    layout.splits[split].frames.push_back(std::move(frame));
  }
  return layout;
}

PointCloud read_colmap_points(const fs::path& reconstruction) {
  const Part part = find_part(reconstruction, "points3D");
  if (part.file.empty()) return {};
  return parse_colmap_points(MappedFile(part.file).bytes(), part.is_text, part.file.string());
}

}  // namespace eg4d
