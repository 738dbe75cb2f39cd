#include "pipeline/view.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/process.h"
#include "pipeline/generate.h"
#include "pipeline/python_model.h"
#include "pipeline/run_library.h"
#include "pipeline/run_summary.h"
#include "view/viewer_page.h"
#include "view/viewer_site.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

// A server in a thread of its own, until it goes or `stop` says so.
class ServerThread {
 public:
  ServerThread(HttpServer& server, const std::function<bool()>& stop)
      : thread_([this, &server, stop] {
          try {
            server.run([&] { return ended_ || stop(); });
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

void open_browser(const std::string& link) {
  const bool has_screen = std::getenv("DISPLAY") || std::getenv("WAYLAND_DISPLAY");
  const std::optional<fs::path> program = find_program("xdg-open");
  if (has_screen && program) start_process(*program, {link});
}

std::string host_of(const std::string& address) {
  return address.find(':') == std::string::npos ? address : "[" + address + "]";
}

std::string about_preset(const std::string& name) {
  if (name == "mini") return "small models that come with the program, for drawn creatures";
  if (name == "paper") return "the published models and settings";
  return "";
}

std::vector<OfferedPreset> offered_presets(const fs::path& models_folder) {
  std::vector<OfferedPreset> presets;
  for (const auto& [name, text] : generate_presets()) {
    OfferedPreset preset{name, about_preset(name), ""};
    try {
      find_generate_models(name, models_folder);
    } catch (const Error& error) {
      preset.missing = error.what();
    }
    presets.push_back(std::move(preset));
  }
  // First what generate would choose, then what can run.
  const std::string chosen = choose_generate_preset(models_folder).preset;
  const auto rank = [&](const OfferedPreset& preset) {
    return preset.name == chosen ? 0 : preset.missing.empty() ? 1 : 2;
  };
  std::stable_sort(presets.begin(), presets.end(),
                   [&](const OfferedPreset& a, const OfferedPreset& b) { return rank(a) < rank(b); });
  return presets;
}

// A folder that is no model, no run and beside nothing: runs may be in it.
bool is_shelf(const ViewJob& job) {
  const fs::path& named = job.shown.model;
  if (job.beside != 0 || !fs::is_directory(named) || is_run(named) || is_python_model(named)) return false;
  try {
    model_place(named, job.shown.choice.which, job.shown.choice.iteration);
    return false;
  } catch (const Error&) {
    return true;
  }
}

std::unique_ptr<RunLibrary> shelf(const ViewJob& job, bool token_reads) {
  std::unique_ptr<JobQueue> jobs;
  std::string no_jobs;
  try {
    jobs = std::make_unique<JobQueue>(job.shown.model, job.generate_arguments);
  } catch (const Error& error) {
    no_jobs = fmt::format("Nothing can be made here: {}.", error.what());
  }
  return std::make_unique<RunLibrary>(job.shown.model, job.shown, token_reads, std::move(jobs), no_jobs,
                                      offered_presets(job.models_folder));
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

void view(const BackendOpener& open_backend, const ViewJob& job, Progress& progress) {
  // What it is beside goes first. All threads that this one starts inherit it.
  if (job.beside != 0) setpriority(PRIO_PROCESS, 0, 10);
  const ViewerPage page = ViewerPage::load();
  ViewerAccess access;
  access.loopback = is_loopback(job.address);
  access.token = random_token();
  const bool is_list = is_shelf(job);
  ViewedModel alone = job.shown;
  alone.live = job.beside != 0 || is_run(alone.model) || !run_model_file(alone.model).empty();
  std::unique_ptr<Backend> backend;
  const std::unique_ptr<RunLibrary> library =
      is_list ? shelf(job, !access.loopback) : std::make_unique<RunLibrary>(alone, !access.loopback);
  // What is wrong with the one model that was named is told before anything is served.
  if (!is_list && !(alone.live && run_model_file(alone.model, alone.choice.which).empty())) {
    backend = open_backend();
    library->opened().front()->open(*backend);
  }

  // The site knows its port only when the server has found one; nothing is answered before.
  std::unique_ptr<ViewerSite> site;
  HttpServer server(
      job.address, job.port, [&](const HttpRequest& request) { return site->answer(request); }, {},
      [&](const HttpRequest& head) { return site->body_limit(head); });
  access.port = server.port();
  site = std::make_unique<ViewerSite>(page.html(), page.policy(), access, *library);
  const std::string link =
      fmt::format("http://{}:{}/#token={}", host_of(job.address), server.port(), access.token);
  ServerThread thread(server, [&] {
    library->tick();
    return interrupt_requested() || (job.beside != 0 && getppid() != job.beside);
  });
  progress.message(fmt::format("the viewer is at {} (Ctrl-C ends it)", link));
  if (job.open) open_browser(link);

  Progress silent;
  bool first = true;
  while (!thread.ended()) {
    for (const std::shared_ptr<ViewedObject>& object : library->opened()) {
      if (thread.ended() || !object->is_due()) continue;
      if (!backend) backend = open_backend();
      const std::string failure =
          object->make(*backend, first && !is_list ? progress : silent, [&] { return thread.ended(); });
      first = false;
      if (!failure.empty() && !is_list && !alone.live && !thread.ended()) throw Error(failure);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  thread.wait();
}

}  // namespace eg4d
