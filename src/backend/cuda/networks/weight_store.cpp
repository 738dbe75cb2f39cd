#include "backend/cuda/networks/weight_store.h"

#include <algorithm>
#include <concepts>
#include <stdexcept>
#include <string>
#include <utility>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_weight.h"

namespace eg4d::cuda {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kLeastSlab = size_t{2} << 20, kMostSlab = size_t{64} << 20;
constexpr size_t kRingOfLargest = 3;  // so that one operation's two weights fit, wherever they begin
constexpr size_t kMuchRoom = size_t{512} << 20;

size_t ring_for(size_t largest) {
  return MemorySegments::segment_bytes(kRingOfLargest * largest);
}

size_t aligned(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void* allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, bytes, cudaHostAllocDefault) == cudaSuccess) return memory;
  cudaGetLastError();
  return nullptr;
}

void add(std::vector<const PackedWeight*>& weights, const PackedWeight* weight) {
  if (weight) weights.push_back(weight);
}

template <class Type>
concept IsWeight = std::convertible_to<Type, const PackedWeight*>;
template <class Type>
concept HasWeights = requires(const Type& a) {
  { a.weight } -> IsWeight;
}
|| requires(const Type& a) {
  { a.forward.weight } -> IsWeight;
}
|| requires(const Type& a) {
  { a.widen } -> IsWeight;
};

// The weights that an operation reads.
struct WeightsOf {
  std::vector<const PackedWeight*>& weights;

  void operator()(const Linear& a) const { add(weights, a.weight); }
  void operator()(const LinearBackward& a) const { add(weights, a.forward.weight); }
  void operator()(const Convolution& a) const { add(weights, a.weight); }
  void operator()(const ConvolutionBackward& a) const { add(weights, a.forward.weight); }
  void operator()(const FeedForward& a) const {
    add(weights, a.widen);
    add(weights, a.narrow);
  }
  template <class Other>
  void operator()(const Other&) const {
    static_assert(!HasWeights<Other>);
  }
};

}  // namespace

// Weights that were made one after the other, which move together.
struct WeightStore::Slab {
  size_t bytes = 0, used = 0;
  int pieces = 0, filling = 0;
  size_t largest = 0;  // piece
  char* device = nullptr;
  char* host = nullptr;
};

// Memory that is taken meanwhile is not to be made by moving more.
class WeightStore::Moving {
 public:
  explicit Moving(bool& moving) : moving_(moving) { moving_ = true; }
  ~Moving() { moving_ = false; }
  Moving(const Moving&) = delete;
  Moving& operator=(const Moving&) = delete;

 private:
  bool& moving_;
};

// Made when they are first needed. One that is recorded again forgets what it was recorded for before.
class WeightStore::Events {
 public:
  ~Events() {
    for (const cudaEvent_t event : events_) cudaEventDestroy(event);
  }
  cudaEvent_t start() { return at(0); }
  cudaEvent_t brought(size_t load) { return at(1 + 2 * load); }
  cudaEvent_t used(size_t load) { return at(2 + 2 * load); }

 private:
  cudaEvent_t at(size_t index) {
    while (events_.size() <= index) {
      cudaEvent_t event = nullptr;
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "preparing to stream weights");
      events_.push_back(event);
    }
    return events_[index];
  }
  std::vector<cudaEvent_t> events_;
};

// ---------------------------------------------------------------- pieces

WeightStore::Piece::Piece(Piece&& other) noexcept {
  *this = std::move(other);
}
WeightStore::Piece& WeightStore::Piece::operator=(Piece&& other) noexcept {
  std::swap(store_, other.store_);
  std::swap(slab_, other.slab_);
  std::swap(offset_, other.offset_);
  std::swap(bytes_, other.bytes_);
  std::swap(filling_, other.filling_);
  std::swap(brought_, other.brought_);
  return *this;
}

WeightStore::Piece::~Piece() {
  if (!slab_) return;
  filled();
  --slab_->pieces;
  if (slab_->pieces == 0) store_->give_back(*slab_);
}

void WeightStore::Piece::filled() {
  if (slab_ && std::exchange(filling_, false)) --slab_->filling;
}

bool WeightStore::Piece::streamed() const {
  return slab_ && !slab_->device;
}

void* WeightStore::Piece::data() const {
  if (!slab_) return nullptr;
  if (slab_->device) return slab_->device + offset_;
  return brought_ ? brought_ : store_->ring_;
}

WeightStore::WeightStore(Memory& memory, cudaStream_t stream) : memory_(memory), stream_(stream) {
  memory_.set_reclaimer(this);
}

WeightStore::~WeightStore() {
  memory_.set_reclaimer(nullptr);
  if (copies_) cudaStreamDestroy(copies_);
  memory_.release(ring_);
}

// Small networks take little, large ones slabs that are worth a copy; smaller ones where little is left.
WeightStore::Slab& WeightStore::slab_for(size_t bytes) {
  size_t all = 0;
  for (const auto& slab : slabs_) {
    if (slab->device && slab->used + bytes <= slab->bytes) return *slab;
    all += slab->bytes;
  }
  auto slab = std::make_unique<Slab>();
  const size_t most = std::clamp(memory_.use().available / 8, kLeastSlab, kMostSlab);
  slab->bytes = MemorySegments::segment_bytes(std::max(bytes, std::clamp(all, kLeastSlab, most)));
  slab->device = static_cast<char*>(memory_.allocate(slab->bytes));
  slabs_.push_back(std::move(slab));
  return *slabs_.back();
}

WeightStore::Piece WeightStore::take(size_t bytes) {
  const size_t size = aligned(std::max<size_t>(bytes, 1));
  Slab& slab = slab_for(size);
  const size_t offset = slab.used;
  slab.used += size;
  slab.largest = std::max(slab.largest, size);
  ++slab.pieces;
  ++slab.filling;
  return {*this, slab, offset, bytes};
}

void WeightStore::give_back(Slab& slab) {
  memory_.release(slab.device);
  if (slab.host) {
    cudaStreamSynchronize(stream_);  // copies from it may be enqueued
    if (copies_) cudaStreamSynchronize(copies_);
    cudaFreeHost(slab.host);
    streamed_ -= slab.used;
  }
  std::erase_if(slabs_, [&](const auto& each) { return each.get() == &slab; });
  if (streamed_ == 0) drop_ring();
}

// ---------------------------------------------------------------- to the host and back

bool WeightStore::move_to_host(Slab& slab) {
  if (!copies_)
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "preparing to stream weights");
  if (!events_) events_ = std::make_unique<Events>();
  slab.host = static_cast<char*>(allocate_pinned(slab.used));
  if (!slab.host) return false;
  check(cudaMemcpyAsync(slab.host, slab.device, slab.used, cudaMemcpyDeviceToHost, stream_),
        "moving weights to the host");
  memory_.release(std::exchange(slab.device, nullptr));
  memory_.count_move();
  streamed_ += slab.used;
  return true;
}

void WeightStore::make_ring(size_t largest) {
  const size_t bytes = ring_for(largest);
  if (bytes == ring_bytes_) return;
  memory_.release(std::exchange(ring_, nullptr));
  ring_bytes_ = 0;
  memory_.count_move();
  ring_ = memory_.allocate(bytes);
  ring_bytes_ = bytes;
}

WeightStore::Movable WeightStore::movable() const {
  Movable found;
  size_t largest = largest_streamed_;
  for (const auto& slab : slabs_)
    if (slab->device && slab->filling == 0 && slab->used > 0) {
      found.slabs.push_back(slab.get());
      found.sizes.push_back(slab->bytes);
      found.all += slab->bytes;
      largest = std::max(largest, slab->largest);
    }
  if (!found.slabs.empty()) found.ring = ring_for(largest) - ring_bytes_;
  return found;
}

size_t WeightStore::reclaimable() const {
  const Movable found = movable();
  return found.all > found.ring ? found.all - found.ring : 0;
}

size_t WeightStore::reclaim(size_t bytes) {
  if (moving_) return 0;
  const Movable found = movable();
  if (found.slabs.empty() || found.all < bytes + found.ring) return 0;  // nothing is won by moving them
  const Moving moving(moving_);
  size_t freed = 0;
  // What the ring takes in addition has to come from them, too.
  for (const size_t index : blocks_to_stream(found.sizes, bytes + found.ring)) {
    Slab& slab = *found.slabs[index];
    if (!move_to_host(slab)) break;
    freed += found.sizes[index];
    largest_streamed_ = std::max(largest_streamed_, slab.largest);
  }
  if (freed > 0) make_ring(largest_streamed_);
  return freed;
}

void WeightStore::restore() {
  if (streamed_ == 0) return;
  const Moving moving(moving_);
  size_t room = memory_.use().available;
  for (const auto& slab : slabs_) {
    if (slab->device || room < slab->bytes + kMuchRoom) continue;
    room -= slab->bytes;
    try {
      slab->device = static_cast<char*>(memory_.allocate(slab->bytes));
    } catch (const OutOfMemory&) {
      return;
    }
    check(cudaMemcpyAsync(slab->device, slab->host, slab->used, cudaMemcpyHostToDevice, stream_),
          "bringing weights back");
    check(cudaStreamSynchronize(stream_), "bringing weights back");
    cudaFreeHost(std::exchange(slab->host, nullptr));
    memory_.count_move();
    streamed_ -= slab->used;
  }
  if (streamed_ == 0) drop_ring();
}

void WeightStore::drop_ring() {
  memory_.release(std::exchange(ring_, nullptr));
  ring_bytes_ = largest_streamed_ = 0;
}

// ---------------------------------------------------------------- a pass

WeightStore::Pass::Pass(WeightStore& store, std::span<const Operation> operations) : store_(store) {
  if (store.streamed_ == 0) return;
  if (!store.ring_)
    throw OutOfMemory(std::string("out of memory: the GPU has none where weights could come to") +
                      kMemoryAdvice);
  StreamRing ring(store.ring_bytes_);
  std::vector<const PackedWeight*> weights;
  for (const Operation& operation : operations) {
    weights.clear();
    std::visit(WeightsOf{weights}, operation);
    for (const PackedWeight* weight : weights) {
      const Piece& piece = weight_of(weight).piece();
      if (!piece.streamed()) continue;
      const StreamRing::Place place = ring.add(piece.bytes());
      loads_.push_back({&piece, &operation, static_cast<char*>(store.ring_) + place.offset, place.after});
    }
  }
  if (loads_.empty()) return;
  // What was enqueued before may still read from the ring.
  check(cudaEventRecord(store.events_->start(), store.stream_), "streaming weights");
  check(cudaStreamWaitEvent(store.copies_, store.events_->start()), "streaming weights");
  store.pass_ = this;
}

void WeightStore::Pass::bring(const Load& load, size_t index) {
  const cudaStream_t copies = store_.copies_;
  if (load.after >= 0)
    check(cudaStreamWaitEvent(copies, store_.events_->used(static_cast<size_t>(load.after))),
          "streaming weights");
  check(cudaMemcpyAsync(load.to, load.piece->slab_->host + load.piece->offset_, load.piece->bytes_,
                        cudaMemcpyHostToDevice, copies),
        "streaming weights");
  check(cudaEventRecord(store_.events_->brought(index), copies), "streaming weights");
}

void WeightStore::Pass::before(const Operation& operation) {
  while (brought_ < loads_.size() && loads_[brought_].after < static_cast<int64_t>(used_)) {
    bring(loads_[brought_], brought_);
    ++brought_;
  }
  for (size_t i = used_; i < loads_.size() && loads_[i].operation == &operation; ++i) {
    if (i >= brought_) throw std::logic_error("an operation's weights do not fit into the ring");
    check(cudaStreamWaitEvent(store_.stream_, store_.events_->brought(i)), "streaming weights");
    loads_[i].piece->brought_ = loads_[i].to;
  }
}

void WeightStore::Pass::after(const Operation& operation) {
  for (; used_ < loads_.size() && loads_[used_].operation == &operation; ++used_)
    check(cudaEventRecord(store_.events_->used(used_), store_.stream_), "streaming weights");
}

}  // namespace eg4d::cuda
