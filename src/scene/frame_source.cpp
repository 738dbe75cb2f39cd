#include "scene/frame_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/log.h"
#include "io/video.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// frame_2 before frame_10.
bool natural_order(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[j])) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
      continue;
    }
    while (i + 1 < a.size() && a[i] == '0' && is_digit(a[i + 1])) ++i;
    while (j + 1 < b.size() && b[j] == '0' && is_digit(b[j + 1])) ++j;
    const auto digits = [](const std::string& text, size_t start) {
      size_t end = start;
      while (end < text.size() && is_digit(text[end])) ++end;
      return text.substr(start, end - start);
    };
    const std::string x = digits(a, i), y = digits(b, j);
    if (x.size() != y.size()) return x.size() < y.size();
    if (x != y) return x < y;
    i += x.size();
    j += y.size();
  }
  return a.size() - i < b.size() - j || (a.size() - i == b.size() - j && a < b);
}

bool wholly_black(const Picture& picture) {
  const int colors = picture.channels >= 3 ? 3 : 1;
  for (size_t p = 0; p < picture.data.size(); p += picture.channels)
    for (int c = 0; c < colors; ++c)
      if (picture.data[p + c] != 0) return false;
  return true;
}

class FrameCollector {
 public:
  FrameCollector(const fs::path& source, int max_frames,
                 const std::function<Picture(const Picture&)>& prepare)
      : source_(source), max_frames_(max_frames), prepare_(prepare) {}

  void add(const Picture& frame) {
    if (wholly_black(frame)) {
      ++black_;
      return;
    }
    if (static_cast<int>(frames_.size()) >= max_frames_)
      throw UsageError(fmt::format("{} has more than {} frames: give a shorter video or raise --max-frames",
                                   source_.string(), max_frames_));
    frames_.push_back(prepare_(frame));
  }

  std::vector<Picture> take() {
    if (frames_.empty())
      throw Error(
          fmt::format("{} has no frames{}", source_.string(), black_ ? " that are not wholly black" : ""));
    if (black_)
      warn(fmt::format("{} frames of {} are wholly black and were left out", black_, source_.string()));
    return std::move(frames_);
  }

 private:
  const fs::path& source_;
  const int max_frames_;
  const std::function<Picture(const Picture&)>& prepare_;
  std::vector<Picture> frames_;
  int black_ = 0;
};

void require_source(const fs::path& source) {
  if (!fs::exists(source)) throw Error(fmt::format("there is no video or folder {}", source.string()));
}

// Of a folder of frames or a run folder.
std::vector<fs::path> frame_files(const fs::path& source) {
  const fs::path video = source / "video";
  std::vector<fs::path> files = picture_files(fs::is_directory(video) ? video : source);
  if (files.empty())
    throw Error(
        fmt::format("the folder {} holds no pictures (png, jpg, webp) to take as frames", source.string()));
  return files;
}

// Which of `total` are taken, `count` of them: place i of them, rounded to nearest.
int64_t even_place(int64_t i, int64_t count, int64_t total) {
  return count < 2 ? 0 : (2 * i * (total - 1) + count - 1) / (2 * (count - 1));
}

}  // namespace

std::vector<fs::path> picture_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::string extension = entry.path().extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    const bool picture =
        extension == ".png" || extension == ".jpg" || extension == ".jpeg" || extension == ".webp";
    if (picture && entry.path().filename().string()[0] != '.') files.push_back(entry.path());
  }
  if (error) throw Error(fmt::format("cannot list {}: {}", folder.string(), error.message()));
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return natural_order(a.filename().string(), b.filename().string());
  });
  return files;
}

std::vector<Picture> read_frames(const fs::path& source, int max_frames,
                                 const std::function<Picture(const Picture&)>& prepare) {
  require_source(source);
  FrameCollector collector(source, max_frames, prepare);
  if (!fs::is_directory(source)) {
    VideoReader reader(source);
    while (const auto frame = reader.next()) collector.add(*frame);
    return collector.take();
  }
  for (const fs::path& file : frame_files(source)) collector.add(read_picture(file));
  return collector.take();
}

std::vector<Picture> read_frames_evenly(const fs::path& source, int count,
                                        const std::function<Picture(const Picture&)>& prepare) {
  require_source(source);
  std::vector<Picture> frames;
  if (fs::is_directory(source)) {
    const std::vector<fs::path> files = frame_files(source);
    const auto total = static_cast<int64_t>(files.size()), taken = std::min<int64_t>(count, total);
    for (int64_t i = 0; i < taken; ++i)
      frames.push_back(prepare(read_picture(files[static_cast<size_t>(even_place(i, taken, total))])));
    return frames;
  }
  int64_t total = 0;  // what the header tells may be wrong
  for (VideoReader counter(source); (count > 1 || total == 0) && counter.next();) ++total;
  if (total == 0) throw Error(fmt::format("{} has no frames", source.string()));
  const int64_t taken = std::min<int64_t>(count, total);
  VideoReader reader(source);
  for (int64_t place = 0, i = 0; i < taken; ++place) {
    const auto frame = reader.next();
    if (!frame) break;
    if (place == even_place(i, taken, total)) {
      frames.push_back(prepare(*frame));
      ++i;
    }
  }
  return frames;
}

}  // namespace eg4d
