#include "app/view_beside.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/error.h"
#include "core/log.h"

namespace eg4d {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);
constexpr int kEndPatience = 3000;  // milliseconds

std::string text_in(int file) {
  char buffer[4096];
  const ssize_t count = pread(file, buffer, sizeof buffer, 0);
  return {buffer, static_cast<size_t>(std::max<ssize_t>(count, 0))};
}

// The sentence that begins with `start`; empty while there is none.
std::string line_with(const std::string& text, const std::string& start) {
  const size_t begin = text.find(start), end = text.find('\n', begin);
  return begin == std::string::npos || end == std::string::npos ? "" : text.substr(begin, end - begin);
}

}  // namespace

void ViewBeside::declare(Arguments& arguments) {
  arguments.options.add("view", wanted_,
                        "watch it in the browser meanwhile: the object, its figures, pause and stop");
  arguments.options.add("open", open_, "with --view: open the browser; --no-open: only tell the link");
}

void ViewBeside::start(const std::filesystem::path& run, const std::filesystem::path& dataset,
                       const CommonOptions& common, Progress& progress) {
  if (!wanted_) return;
  std::vector<std::string> arguments = {"view",     run.string(), "--beside", std::to_string(getpid()),
                                        "--device", common.device};
  if (!dataset.empty()) arguments.insert(arguments.end(), {"--dataset", dataset.string()});
  if (common.threads > 0) arguments.insert(arguments.end(), {"--threads", std::to_string(common.threads)});
  if (!open_) arguments.emplace_back("--no-open");
  const int said = memfd_create("eg4d-view", MFD_CLOEXEC);
  try {
    viewer_ = std::make_unique<ChildProcess>(own_program(), arguments, said);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    std::string link;
    while (link.empty() && !viewer_->exit_code() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      link = line_with(text_in(said), "http://");
    }
    const std::string failure = line_with(text_in(said), "error: ");
    if (link.empty())
      warn(fmt::format("the viewer did not start{}", failure.empty() ? "" : ": " + failure.substr(7)));
    else
      progress.message("the viewer is at " + link.substr(0, link.find(' ')));
  } catch (const Error& error) {
    warn(fmt::format("the viewer did not start: {}", error.what()));
  }
  close(said);
}

ViewBeside::~ViewBeside() {
  if (viewer_) viewer_->end(kEndPatience);
}

}  // namespace eg4d
