#include <climits>
#include <filesystem>
#include <initializer_list>
#include <utility>

#include "app/checks.h"
#include "app/command.h"
#include "app/model_options.h"
#include "app/open_backend.h"
#include "pipeline/view.h"

namespace eg4d {
namespace {

class ViewCommand : public Command {
 public:
  const char* name() const override { return "view"; }
  const char* summary() const override {
    return "objects in the browser: turn them while they move, make new ones";
  }
  const char* examples() const override {
    return "  eg4d view run                       opens the browser; Ctrl-C ends it\n"
           "  eg4d view                           the runs under this folder; a picture that is dropped on "
           "the "
           "page becomes a new one\n"
           "  eg4d view run --which best --color-time own\n"
           "  eg4d view run --no-open --port 9000   only tells the link\n"
           "  eg4d view run --address 0.0.0.0     for other machines, by the link with its token";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional(
        "MODEL", model_,
        "a run folder, a model file, a model of the Python EG4D, or a folder with runs in it; "
        "default: this folder",
        false);
    ConfigSchema& options = arguments.options;
    shown_.declare(arguments);
    options.add(
        "frames", job_.shown.moments, {0, 1000},
        "moments that the page receives, and mixes between; 0: twice as many as the training video has");
    options.add("dataset", dataset_,
                "whose cameras and pictures are shown; default: the one it was trained on");
    arguments.value_name("dataset", "FOLDER");
    options.add("address", job_.address,
                "of this machine, in numbers; 127.0.0.1: only this machine reaches it");
    options.add("port", job_.port, {0, 65535}, "or the next one that is free; 0: any");
    options.add("open", job_.open, "open the browser; --no-open: only tell the link");
    options.add("job_config", job_config_,
                "settings for the pictures that the page sends, as --config of generate takes them");
    arguments.value_name("job_config", "FILE");
    options.add("models_folder", models_folder_, "where to look for their weights first");
    arguments.value_name("models_folder", "FOLDER");
    options.add(
        "beside", job_.beside, {0, INT_MAX},
        "the process that started this one, with which the viewer ends: what --view of other commands "
        "gives");
    arguments.value_name("beside", "PID");
  }

  void run(const Arguments&, const CommonOptions& common, Progress& progress) override {
    job_.shown.model = model_;
    job_.shown.choice = shown_.choice();
    job_.shown.dataset = dataset_;
    job_.models_folder = models_folder_;
    if (job_.beside == 0) require_existing(model_, "a run folder, a model file, or a folder with runs in it");
    if (!job_config_.empty()) require_existing(job_config_, "settings for generate");
    for (const auto& [option, value] : std::initializer_list<std::pair<const char*, std::string>>{
             {"--config", job_config_.empty() ? "" : std::filesystem::absolute(job_config_).string()},
             {"--models-folder", models_folder_},
             {"--device", common.device},
             {"--threads", common.threads > 0 ? std::to_string(common.threads) : ""}})
      if (!value.empty()) job_.generate_arguments.insert(job_.generate_arguments.end(), {option, value});
    view([&] { return open_backend(common); }, job_, progress);
  }

 private:
  std::string model_ = ".", dataset_, job_config_, models_folder_;
  ModelOptions shown_;
  ViewJob job_;
};

}  // namespace

std::unique_ptr<Command> make_view_command() {
  return std::make_unique<ViewCommand>();
}

}  // namespace eg4d
