// Least time of an event of density control: clone, split and prune, then the rebuilding of all 21 tensors.
//   bench_density [repeats]

#include <algorithm>
#include <cstdlib>

#include "core/threads.h"
#include "measure.h"
#include "splat/density_control.h"
#include "support/reference_density.h"

using namespace eg4d;

namespace {

std::vector<Tensor*> tensors_of(TrainedGaussians& g) {
  std::vector<Tensor*> all{&g.gradient_sum, &g.views, &g.max_radii};
  for (Gaussians* set : {&g.values, &g.first_moments, &g.second_moments})
    for (Tensor* tensor : set->tensors()) all.push_back(tensor);
  return all;
}

struct Measured {
  double seconds = 0;
  DensityChange change;
};

// Every event from the same state, in memory that is there.
Measured measure(int64_t count, int repeats) {
  const auto backend = make_cpu_backend();
  TrainedGaussians g = test::random_gaussians(*backend, count, 1);
  std::vector<Tensor> start;
  for (const Tensor* tensor : tensors_of(g)) start.push_back(tensor->clone());
  DensityRules rules = test::rules_for_random_gaussians();
  rules.grow = rules.prune = true;
  rules.gradient = 0.7f;  // about as many as in training
  rules.opacity = 0.005f;
  rules.by_size = false;
  Measured result;
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    const double begin = bench::wall_seconds();
    result.change = control_density(g, rules);
    if (i > 0) seconds.push_back(bench::wall_seconds() - begin);  // the first one gets memory
    const auto tensors = tensors_of(g);
    for (size_t k = 0; k < tensors.size(); ++k) {
      tensors[k]->set_rows(count);
      backend->run(CopyBytes{tensors[k]->raw(), start[k].raw(), start[k].bytes()});
    }
  }
  result.seconds = *std::min_element(seconds.begin(), seconds.end());  // others share the machine
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = std::max(argc > 1 ? std::atoi(argv[1]) : 21, 1);
  const int all = thread_count();
  const bench::Table table(
      {"Gaussians", "cloned", "split", "removed", "1 thread, ms", fmt::format("{} threads, ms", all)});
  for (const int64_t count : {20000, 100000}) {
    set_thread_count(1);
    const Measured one = measure(count, repeats);
    set_thread_count(all);
    const Measured many = measure(count, repeats);
    table.row({fmt::format("{}", count), fmt::format("{}", one.change.cloned),
               fmt::format("{}", one.change.split), fmt::format("{}", one.change.removed),
               bench::milliseconds(one.seconds), bench::milliseconds(many.seconds)});
  }
  return 0;
}
