#include "splat/input_table.h"

#include <stdexcept>

namespace eg4d {

InputRows::InputRows(Backend& backend, int64_t count)
    : count_(count),
      memory_(Tensor::empty(backend, {count * static_cast<int64_t>(sizeof(IterationInputs))}, DType::u8)) {}

InputRows::InputRows(Backend& backend, const std::vector<IterationInputs>& rows)
    : InputRows(backend, static_cast<int64_t>(rows.size())) {
  copy_from_host(rows);
}

void InputRows::copy_from_host(const std::vector<IterationInputs>& rows) {
  if (static_cast<int64_t>(rows.size()) > count_) throw std::logic_error("more rows than there is room for");
  if (!rows.empty())
    memory_.backend().copy_to_device(memory_.raw(), rows.data(), rows.size() * sizeof(IterationInputs));
}

InputTable::InputTable(Backend& backend, int64_t room, int64_t together)
    : table_(backend, room), now_(backend, together), next_(Tensor::zeros(backend, {1}, DType::i64)) {}

void InputTable::upload(const std::vector<IterationInputs>& rows) {
  table_.copy_from_host(rows);
  next_.fill_zero();
}

NextInputs InputTable::next(int64_t count) const {
  return {.rows = table_[0], .next = next_.data<int64_t>(), .to = now_[0], .count = count};
}

}  // namespace eg4d
