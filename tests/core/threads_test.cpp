#include "core/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "core/error.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

TEST(ParallelFor, CoversEveryItemOnce) {
  for (int64_t count : {0, 1, 31, 1000})
    for (int64_t grain : {-1, 1, 7, 2000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      parallel_for(count, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      for (const auto& visit : visits) ASSERT_EQ(visit, 1) << count << " by " << grain;
    }
}

TEST(ParallelFor, AnExceptionReachesTheCaller) {
  for (int threads : {1, 3}) {
    set_thread_count(threads);
    for (int64_t count : {1, 64}) {
      const auto loop = [&] {
        parallel_for(count, 1, [&](int64_t begin, int64_t) {
          if (begin == count / 2) throw Error("out of memory in the middle of a loop");
        });
      };
      EXPECT_ERROR(loop(), "out of memory in the middle");
    }
  }
  set_thread_count(0);
}

TEST(ParallelFor, OneOfManyExceptionsIsThrownAndLaterChunksAreLeftOut) {
  set_thread_count(2);
  std::atomic<int> begun = 0;
  const auto loop = [&] {
    parallel_for(10000, 1, [&](int64_t, int64_t) {
      ++begun;
      throw std::bad_alloc();
    });
  };
  EXPECT_THROW(loop(), std::bad_alloc);
  EXPECT_LE(begun, 2);
  set_thread_count(0);
}

TEST(ParallelTeam, SharesCoverTheRangeAndWaitingSeesTheOthersWork) {
  for (const int threads : {1, 2, 5}) {
    set_thread_count(threads);
    std::vector<int64_t> counted(static_cast<size_t>(threads));
    std::vector<std::atomic<int64_t>> sums(static_cast<size_t>(threads));
    parallel_team([&](const Team& team) {
      const auto self = static_cast<size_t>(team.number);
      for (int step = 1; step <= 3; ++step) {
        counted[self] += step * (team.end(1001) - team.begin(1001));
        team.wait();
        for (const int64_t one : counted) sums[self] += one;
        team.wait();
      }
    });
    for (const auto& sum : sums) EXPECT_EQ(sum, 1001 * (1 + 3 + 6)) << threads;
  }
  set_thread_count(0);
}

}  // namespace
}  // namespace eg4d
