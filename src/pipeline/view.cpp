#include "pipeline/view.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/process.h"
#include "pipeline/run_watch.h"
#include "pipeline/view_info.h"
#include "view/scene_file.h"
#include "view/viewer_page.h"
#include "view/viewer_site.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// A newer model is taken only after a rest of so many times what the last one took: what trains beside is
// slowed by no more than a fiftieth.
constexpr int kRest = 50;

// What is shown now; the server's thread reads it while the main thread puts newer models in.
class ModelContent : public ViewerContent {
 public:
  ModelContent(std::string info, ViewerDataset dataset, std::optional<RunWatch> watch)
      : info_(std::move(info)), dataset_(std::move(dataset)), watch_(std::move(watch)) {}

  std::string info() override { return info_; }
  std::string cameras() override { return dataset_.cameras(); }
  std::optional<std::string> picture(const std::string& split, size_t index) override {
    return dataset_.picture(split, index);
  }
  std::shared_ptr<const GrowingBytes> scene() override {
    const std::lock_guard lock(mutex_);
    return scene_;
  }
  std::string status() override {
    const std::lock_guard lock(mutex_);
    asked_ = Clock::now();
    return fmt::format("{{\"version\":{},\"training\":{}}}", version_, watch_ ? watch_->status() : "null");
  }
  std::optional<bool> command(const std::string& word) override {
    const std::map<std::string, RunWatch::Signal> words = {{"pause", RunWatch::Signal::pause},
                                                           {"continue", RunWatch::Signal::go_on},
                                                           {"stop", RunWatch::Signal::stop}};
    const auto found = words.find(word);
    if (found == words.end()) return {};
    const std::lock_guard lock(mutex_);
    return watch_ && watch_->send(found->second);
  }

  void show(std::shared_ptr<const GrowingBytes> scene) {
    const std::lock_guard lock(mutex_);
    scene_ = std::move(scene);
    ++version_;
  }
  // Whether a page has asked lately how things are.
  bool is_watched() const {
    const std::lock_guard lock(mutex_);
    return Clock::now() - asked_ < std::chrono::seconds(10);
  }

 private:
  const std::string info_;
  ViewerDataset dataset_;
  mutable std::mutex mutex_;
  std::optional<RunWatch> watch_;
  std::shared_ptr<const GrowingBytes> scene_;
  int64_t version_ = 0;
  Clock::time_point asked_ = {};
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

// By which a newer model is told.
struct FileState {
  fs::path place;
  fs::file_time_type time;
  std::uintmax_t size = 0;
  bool operator==(const FileState&) const = default;
};
FileState state_of_model(const ViewJob& job) {
  std::error_code error;
  FileState state;
  try {
    state.place = model_place(job.model, job.choice.which);
  } catch (const Error&) {
    return state;
  }
  state.time = fs::last_write_time(state.place, error);
  state.size = fs::is_regular_file(state.place, error) ? fs::file_size(state.place, error) : 0;
  return state;
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
  FileState state = state_of_model(job);
  std::optional<Model> model = open_model(backend, job.model, job.choice);
  ViewerAccess access;
  access.loopback = is_loopback(job.address);
  access.token = random_token();
  const bool is_run = fs::is_directory(job.model) && !run_model_file(job.model).empty();
  ModelContent content(viewer_info(model->info, job.model, state.place, {true, !access.loopback, is_run}),
                       ViewerDataset(job.model, job.dataset, model->info),
                       is_run ? std::optional<RunWatch>(job.model) : std::nullopt);
  // The site knows its port only when the server has found one; nothing is answered before.
  std::unique_ptr<ViewerSite> site;
  HttpServer server(job.address, job.port, [&](const HttpRequest& request) { return site->answer(request); });
  access.port = server.port();
  site = std::make_unique<ViewerSite>(page.html(), page.policy(), access, content);
  const std::string link =
      fmt::format("http://{}:{}/#token={}", host_of(job.address), server.port(), access.token);

  const auto first = std::make_shared<GrowingBytes>();
  content.show(first);
  ServerThread thread(server);
  progress.message(fmt::format("the viewer is at {} (Ctrl-C ends it)", link));
  if (job.open) open_browser(link);
  const auto stop = [&] { return thread.ended() || interrupt_requested(); };
  Clock::time_point begin = Clock::now();
  const auto make = [&](GrowingBytes& scene, Progress& shown) {
    begin = Clock::now();
    try {
      make_scene_file(
          backend, *model, job.moments, true, shown, [&](const std::string& piece) { scene.append(piece); },
          stop);
      scene.finish();
    } catch (const Interrupted&) {
      scene.finish("stopped");
    }
    model.reset();  // its memory is not needed while nothing changes
  };
  make(*first, progress);

  Progress silent;
  Clock::time_point next = Clock::now() + kRest * (Clock::now() - begin);
  while (!stop()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (!is_run || Clock::now() < next || !content.is_watched() || state_of_model(job) == state) continue;
    try {
      state = state_of_model(job);
      model = open_model(backend, job.model, job.choice);
    } catch (const Error&) {
      continue;  // being replaced; the next look finds it
    }
    const auto newer = std::make_shared<GrowingBytes>();
    make(*newer, silent);
    if (!stop()) content.show(newer);
    next = Clock::now() + kRest * (Clock::now() - begin);
  }
  thread.wait();
}

}  // namespace eg4d
