#include "backend/cuda/recording.h"

#include <exception>

#include "backend/cuda/check.h"

namespace eg4d::cuda {
namespace {

// Room for pairs that are sorted whether they are there or not: enough for some iterations, not too much.
int64_t capacity_for(int64_t pairs, int64_t now) {
  if (pairs <= now && now <= 3 * pairs + 32768) return now;
  return (pairs + pairs / 4 + 4096) / 4096 * 4096;
}

}  // namespace

Segment::Segment(Segment&& other) noexcept
    : drawn(std::move(other.drawn)),
      operations(std::move(other.operations)),
      counted(std::move(other.counted)),
      pair_capacity_(other.pair_capacity_),
      long_lists_(other.long_lists_),
      loaded_(other.loaded_),
      capturable_(other.capturable_),
      graph_(std::exchange(other.graph_, nullptr)),
      noted_(std::move(other.noted_)) {}

void Segment::forget() {
  if (graph_) cudaGraphExecDestroy(graph_);
  graph_ = nullptr;
}

// The GPU has nothing to do meanwhile, so this is short where nothing has changed.
void Segment::make_room_for_pairs(const Memory& memory) {
  RasterContext& context = context_of(*drawn);
  const RasterizerTotals totals = context.totals(*drawn);
  const int64_t capacity = capacity_for(static_cast<int64_t>(totals.pairs), pair_capacity_);
  const bool long_lists = are_long(totals, long_lists_);
  if (capacity == pair_capacity_ && long_lists == long_lists_ && noted_.moves == memory.moves()) {
    context.use(noted_.workspaces.front());
    return;
  }
  context.use(*drawn, capacity, long_lists);
  pair_capacity_ = capacity;
  long_lists_ = long_lists;
}

Segment::Places Segment::places(const Memory& memory) const {
  Places places{.moves = memory.moves(), .workspaces = {}};
  if (drawn) places.workspaces.push_back(context_of(*drawn).workspace());
  for (const Operation& operation : operations)
    if (const auto* backward = std::get_if<RasterizeBackward>(&operation))
      places.workspaces.push_back(context_of(backward->forward).workspace());
  return places;
}

void Segment::enqueue(OperationRunner& runner) const {
  if (drawn)
    runner.enqueue(operations, [this] { context_of(*drawn).draw(*drawn); });
  else
    runner.enqueue(operations);
  if (counted) context_of(*counted).count(*counted);
}

// Whether there is a graph now. Where one cannot be made, the operations are enqueued one by one ever after,
// and tell themselves what is wrong with them.
bool Segment::capture(OperationRunner& runner, cudaStream_t stream) {
  forget();
  if (!capturable_) return false;
  cudaGraph_t graph = nullptr;
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
    capturable_ = false;
  } else {
    try {
      enqueue(runner);
    } catch (const std::exception&) {
      capturable_ = false;
    }
    if (cudaStreamEndCapture(stream, &graph) != cudaSuccess) capturable_ = false;
    if (capturable_ && cudaGraphInstantiate(&graph_, graph, 0) != cudaSuccess) {
      graph_ = nullptr;
      capturable_ = false;
    }
    if (graph) cudaGraphDestroy(graph);
  }
  if (!capturable_) cudaGetLastError();
  return capturable_;
}

void Segment::replay(OperationRunner& runner, const Memory& memory, cudaStream_t stream) {
  if (drawn) make_room_for_pairs(memory);
  if (!graph_ || noted_ != places(memory)) {
    noted_ = places(memory);
    if (!loaded_ || !capture(runner, stream)) {
      loaded_ = true;
      enqueue(runner);
      if (counted) context_of(*counted).mark_counted();
      return;
    }
  }
  check(cudaGraphLaunch(graph_, stream), "launching a graph");
  if (counted) context_of(*counted).mark_counted();
}

void CudaRecording::add(const Operation& operation) {
  if (const auto* forward = std::get_if<RasterizeForward>(&operation)) {
    segments_.back().counted = *forward;
    segments_.emplace_back();
    segments_.back().drawn = *forward;
  } else {
    segments_.back().operations.push_back(operation);
  }
}

void CudaRecording::replay(OperationRunner& runner, const Memory& memory, cudaStream_t stream) const {
  // All of it before anything is enqueued: contexts may not lose what one segment leaves for the next.
  if (prepared_at_ != memory.moves()) {
    for (const Segment& segment : segments_) {
      for (const Operation& operation : segment.operations) runner.prepare(operation);
      if (segment.counted) runner.prepare(*segment.counted);
    }
    runner.networks().weights().restore();
    prepared_at_ = memory.moves();
  }
  for (Segment& segment : segments_) segment.replay(runner, memory, stream);
}

}  // namespace eg4d::cuda
