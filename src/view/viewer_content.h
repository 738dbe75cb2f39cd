#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/error.h"
#include "io/growing_bytes.h"

namespace eg4d {

// What the viewer's server shows (view/viewer_site.h says by which requests). All calls come from the
// server's thread.

// One object.
class ViewerContent {
 public:
  virtual ~ViewerContent() = default;
  virtual std::string info() = 0;  // JSON: what the object is
  // A scene file, as far as it is made; null while there is no object yet.
  virtual std::shared_ptr<const GrowingBytes> scene() = 0;
  virtual std::string cameras() = 0;  // JSON: the dataset's cameras
  // JSON: how far training is, and "version": which of the objects scene() is now, growing; 0: none yet.
  virtual std::string status() = 0;
  // "pause", "continue" or "stop" for what trains; false when nothing does. None for another word.
  virtual std::optional<bool> command(const std::string& word) = 0;
  // A picture of the dataset as training saw it, as PNG; none where there is none. Throws Error.
  virtual std::optional<std::string> picture(const std::string& split, size_t index) = 0;
};

// A picture that lies in a run folder.
struct RunPicture {
  enum class Kind { thumbnail, frame, view };
  Kind kind = Kind::thumbnail;
  size_t moment = 0, view = 0;
};

// A request that is not carried out; `status` is HTTP's.
class Refusal : public Error {
 public:
  Refusal(int status, const std::string& sentence) : Error(sentence), status(status) {}
  int status;
};

// The runs under a folder, or one object alone, and the jobs that make new ones. Names of runs are looked up
// in what there is; they are no paths.
class ViewerLibrary {
 public:
  virtual ~ViewerLibrary() = default;
  virtual std::string home() = 0;  // JSON: what the page begins with
  virtual std::string list() = 0;  // JSON: all runs
  // JSON: one run, with its stages and what was painted. None for another name.
  virtual std::optional<std::string> describe(const std::string& run) = 0;
  // Null for another name. Throws Refusal.
  virtual std::shared_ptr<ViewerContent> open(const std::string& run) = 0;
  // As PNG, small; none where there is none. Throws Error.
  virtual std::optional<std::string> picture(const std::string& run, const RunPicture& which) = 0;
  // "cancel" or "resume" for a job; false when it is not in a state for that. None for another run or word.
  virtual std::optional<bool> command(const std::string& run, const std::string& word) = 0;
  // A picture becomes a job; `name` is what its sender calls it. Returns JSON. Throws Refusal, Error.
  virtual std::string upload(const std::string& preset, const std::string& name, std::string_view bytes) = 0;
};

}  // namespace eg4d
