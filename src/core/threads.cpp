#include "core/threads.h"

#include <omp.h>

namespace eg4d {

void set_thread_count(int count) {
  omp_set_num_threads(count > 0 ? count : omp_get_num_procs());
}

int thread_count() {
  return omp_get_max_threads();
}

int thread_number() {
  return omp_get_thread_num();
}

Team this_team() {
  return {omp_get_thread_num(), omp_get_num_threads()};
}

void Team::wait() const {
#pragma omp barrier
}

}  // namespace eg4d
