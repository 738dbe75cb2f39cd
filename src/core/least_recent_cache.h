#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <utility>

namespace eg4d {

// At most `capacity` values by their keys; to make room, the one goes that has not been asked for for
// longest.
template <class Key, class Value>
class LeastRecentCache {
 public:
  explicit LeastRecentCache(size_t capacity) : capacity_(capacity) {}

  // Null when it is not (or no longer) there. What is returned stays until `capacity` others were inserted.
  Value* find(const Key& key) {
    const auto found = place_.find(key);
    if (found == place_.end()) return nullptr;
    items_.splice(items_.begin(), items_, found->second);
    return &items_.front().second;
  }

  // The key must not be there yet.
  Value& insert(Key key, Value value) {
    if (items_.size() == capacity_) {
      place_.erase(items_.back().first);
      items_.pop_back();
    }
    items_.emplace_front(std::move(key), std::move(value));
    place_[items_.front().first] = items_.begin();
    return items_.front().second;
  }

  size_t size() const { return items_.size(); }

 private:
  using Items = std::list<std::pair<Key, Value>>;  // the one asked for last in front
  size_t capacity_;
  Items items_;
  std::map<Key, typename Items::iterator> place_;
};

}  // namespace eg4d
