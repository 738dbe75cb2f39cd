#pragma once

#include <filesystem>

#include "io/image.h"

namespace eg4d {

// What stage I hands to stage II: every video frame painted from all sides of an orbit, in the D-NeRF layout.
struct OrbitDataset {
  int times = 0;         // video frames
  int views = 21;        // view i at azimuth 360·i/views degrees
  double elevation = 0;  // degrees
};

// Writes below `folder`:
//   <time>/<view+1>.png                     lossless pictures (000004/00000012.png)
//   views/<view+1>/images/<time>.png        links to them
//   transforms_{train,test,val}.json        poses; view 0 is the test view, also the validation view
//   4d.mp4                                  preview: five rounds through all times, meanwhile around the
//   object:
//                                           picture i shows time i mod times, view (i div 2) mod views
//   back.mp4                                preview: the same rounds, seen from behind (view `views` div 2)
// The previews are left out where there is no FFmpeg (can_write_videos).
// Each file appears complete or not at all, so that a broken-off assembly can be continued.
class DatasetWriter {
 public:
  DatasetWriter(std::filesystem::path folder,
                const OrbitDataset& dataset);  // throws UsageError: nothing to write

  bool has(int time, int view) const;
  void write(int time, int view, const Picture& rgb);
  // All pictures are there: links, poses and previews. Throws Error when one is missing or has another size.
  void finish(double preview_fps = 10) const;
  // Whether everything that finish() leaves is there.
  bool is_complete() const;

  std::filesystem::path picture_path(int time, int view) const;

 private:
  std::filesystem::path link_path(int time, int view) const;
  void write_links() const;
  void write_transforms() const;
  void write_previews(double fps) const;
  std::filesystem::path folder_;
  OrbitDataset dataset_;
};

}  // namespace eg4d
