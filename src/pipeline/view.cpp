#include "pipeline/view.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/process.h"
#include "pipeline/view_info.h"
#include "view/scene_file.h"
#include "view/viewer_page.h"
#include "view/viewer_site.h"

namespace eg4d {
namespace {

class ModelContent : public ViewerContent {
 public:
  ModelContent(std::string info, ViewerDataset dataset, std::shared_ptr<const GrowingBytes> scene)
      : info_(std::move(info)), dataset_(std::move(dataset)), scene_(std::move(scene)) {}
  std::string info() override { return info_; }
  std::shared_ptr<const GrowingBytes> scene() override { return scene_; }
  std::string cameras() override { return dataset_.cameras(); }
  std::optional<std::string> picture(const std::string& split, size_t index) override {
    return dataset_.picture(split, index);
  }

 private:
  const std::string info_;
  ViewerDataset dataset_;
  const std::shared_ptr<const GrowingBytes> scene_;
};

// A server in a thread of its own, until it goes or Ctrl-C comes.
class ServerThread {
 public:
  explicit ServerThread(HttpServer& server)
      : thread_([this, &server] {
          try {
            server.run([this] { return ended_ || interrupt_requested(); });
          } catch (...) {
            failure_ = std::current_exception();
          }
          ended_ = true;
        }) {}
  ~ServerThread() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
  }
  bool ended() const { return ended_; }
  // Throws what ended it.
  void wait() {
    thread_.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::atomic<bool> ended_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

// Makes the file, piece by piece, and tells how far it is.
void make_scene_file(Backend& backend, const Model& model, int moments, bool own_colors, Progress& progress,
                     const std::function<void(std::string)>& emit, const std::function<bool()>& stop) {
  const SceneOptions options{moments, own_colors};
  progress.begin(moment_count(model.info, options), "moments");
  int64_t step = 0;
  const Scene scene = scene_of_model(backend, model, options, [&] {
    progress.update(step++);
    return stop();
  });
  encode_scene(scene, {}, emit, stop);
  progress.end();
}

void open_browser(const std::string& link) {
  const bool has_screen = std::getenv("DISPLAY") || std::getenv("WAYLAND_DISPLAY");
  const std::optional<std::filesystem::path> program = find_program("xdg-open");
  if (has_screen && program) start_process(*program, {link});
}

std::string host_of(const std::string& address) {
  return address.find(':') == std::string::npos ? address : "[" + address + "]";
}

}  // namespace

std::string scene_file_of_model(Backend& backend, const Model& model, int moments, bool own_colors,
                                Progress& progress) {
  std::string file;
  make_scene_file(
      backend, model, moments, own_colors, progress, [&](const std::string& piece) { file += piece; },
      interrupt_requested);
  return file;
}

void view_model(Backend& backend, const ViewJob& job, Progress& progress) {
  const ViewerPage page = ViewerPage::load();
  const Model model = open_model(backend, job.model, job.choice);
  ViewerAccess access;
  access.loopback = is_loopback(job.address);
  access.token = random_token();
  const auto scene = std::make_shared<GrowingBytes>();
  ModelContent content(
      viewer_info(model.info, job.model, model_place(job.model, job.choice.which), true, !access.loopback),
      ViewerDataset(job.model, job.dataset, model.info), scene);
  // The site knows its port only when the server has found one; nothing is answered before.
  std::unique_ptr<ViewerSite> site;
  HttpServer server(job.address, job.port, [&](const HttpRequest& request) { return site->answer(request); });
  access.port = server.port();
  site = std::make_unique<ViewerSite>(page.html(), page.policy(), access, content);
  const std::string link = fmt::format("http://{}:{}/{}", host_of(job.address), server.port(),
                                       access.loopback ? "" : "#token=" + access.token);

  ServerThread thread(server);
  progress.message(fmt::format("the viewer is at {} (Ctrl-C ends it)", link));
  if (job.open) open_browser(link);
  try {
    make_scene_file(
        backend, model, job.moments, true, progress, [&](const std::string& piece) { scene->append(piece); },
        [&] { return thread.ended() || interrupt_requested(); });
    scene->finish();
  } catch (const Interrupted&) {
    scene->finish("stopped");
  }
  thread.wait();
}

}  // namespace eg4d
