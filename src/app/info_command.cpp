#include <cstdio>

#include "app/checks.h"
#include "app/command.h"
#include "pipeline/info.h"

namespace eg4d {
namespace {

class InfoCommand : public Command {
 public:
  const char* name() const override { return "info"; }
  const char* summary() const override { return "what is in a checkpoint, model, PLY, dataset or run"; }
  const char* examples() const override {
    return "  eg4d info run                      a run folder: how far it is, its figures\n"
           "  eg4d info run/coarse/model.safetensors\n"
           "  eg4d info best_25_27.4.pth         a checkpoint of the Python EG4D\n"
           "  eg4d info dataset --json           for scripts";
  }
  bool computes() const override { return false; }

  void declare(Arguments& arguments) override {
    arguments.positional("FILE", path_,
                         "a model, checkpoint (.pth), PLY or safetensors file, a dataset or run folder");
    arguments.options.add("json", json_, "as JSON");
  }

  void run(const Arguments&, const CommonOptions&, Progress&) override {
    require_existing(path_, "a model, checkpoint, PLY or safetensors file, or a dataset or run folder");
    std::puts((json_ ? describe_as_json(path_) : describe_as_text(path_)).c_str());
  }

 private:
  std::string path_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_info_command() {
  return std::make_unique<InfoCommand>();
}

}  // namespace eg4d
