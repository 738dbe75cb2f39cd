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
  const char* summary() const override { return "a model in the browser: turn it while it moves"; }
  const char* examples() const override {
    return "  eg4d view run                       opens the browser; Ctrl-C ends it\n"
           "  eg4d view run --which best --color-time own\n"
           "  eg4d view run --no-open --port 9000   only tells the link\n"
           "  eg4d view run --address 0.0.0.0     for other machines, by the link with its token";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("MODEL", model_, "a run folder, a model file, or a model of the Python EG4D");
    ConfigSchema& options = arguments.options;
    shown_.declare(arguments);
    options.add(
        "frames", job_.moments, {0, 1000},
        "moments that the page receives, and mixes between; 0: twice as many as the training video has");
    options.add("dataset", dataset_,
                "whose cameras and pictures are shown; default: the one it was trained on");
    arguments.value_name("dataset", "FOLDER");
    options.add("address", job_.address,
                "of this machine, in numbers; 127.0.0.1: only this machine reaches it");
    options.add("port", job_.port, {0, 65535}, "or the next one that is free; 0: any");
    options.add("open", job_.open, "open the browser; --no-open: only tell the link");
  }

  void run(const Arguments&, const CommonOptions& common, Progress& progress) override {
    require_existing(model_, "a run folder or a model file");
    job_.model = model_;
    job_.choice = shown_.choice();
    job_.dataset = dataset_;
    const std::unique_ptr<Backend> backend = open_backend(common);
    view_model(*backend, job_, progress);
  }

 private:
  std::string model_, dataset_;
  ModelOptions shown_;
  ViewJob job_;
};

}  // namespace

std::unique_ptr<Command> make_view_command() {
  return std::make_unique<ViewCommand>();
}

}  // namespace eg4d
