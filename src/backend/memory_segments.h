#pragma once

// A device's memory in segments, for an allocator that never holds more than it may, even for a moment: what
// a request will take is known before the device is asked.

#include <cstddef>
#include <functional>
#include <map>

namespace eg4d {

class MemorySegments {
 public:
  // Where segments come from.
  class Source {
   public:
    virtual ~Source() = default;
    virtual void* take(size_t bytes) = 0;  // null where there is none
    virtual void give_back(void* segment) noexcept = 0;
  };
  explicit MemorySegments(Source& source) : source_(source) {}
  ~MemorySegments();
  MemorySegments(const MemorySegments&) = delete;
  MemorySegments& operator=(const MemorySegments&) = delete;

  // A multiple of 256 bytes. `room`: what all segments may take, asked only when one more is needed. Null
  // where that is too little. Segments with nothing in them are kept for the next ones of their size, and
  // given back when others need the room.
  void* allocate(size_t bytes, const std::function<size_t()>& room);
  void release(void* memory, size_t bytes) noexcept;  // the bytes that were asked for

  size_t reserved() const { return reserved_; }  // of all segments
  size_t peak() const { return peak_; }          // of that
  size_t unused() const { return unused_; }      // of segments with nothing in them
  static size_t segment_bytes(size_t bytes);     // of the segment that so many bytes would need

 private:
  struct Segment {
    size_t bytes = 0, used = 0;
    std::map<size_t, size_t> gaps;  // offset → bytes; of a segment that is shared
  };
  static bool is_shared(const Segment& segment);
  void* put(char* base, Segment& segment, size_t bytes);
  void* place(size_t bytes);
  char* add(size_t bytes, size_t room);
  bool give_back_one();

  Source& source_;
  std::map<char*, Segment> segments_;
  size_t reserved_ = 0, peak_ = 0, unused_ = 0;
};

}  // namespace eg4d
