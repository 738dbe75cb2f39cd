#include "io/safetensors_header.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"

namespace eg4d {
namespace {

using nlohmann::json;

constexpr size_t kMaxAxes = 16;

// Takes the parser's events one by one; whatever does not fit the format is refused at once.
class Handler : public nlohmann::json_sax<json> {
 public:
  SafetensorsHeader header;

  bool start_object(size_t) override {
    if (place_ == Place::before) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = name_ == "__metadata__" ? Place::metadata : Place::tensor;
      if (place_ == Place::tensor) header.tensors.push_back({name_, {}, {}, 0, 0});
      seen_ = 0;
    } else {
      refuse();
    }
    return true;
  }

  bool key(string_t& key) override {
    key_ = key;
    if (place_ == Place::top) {
      name_ = key;
      if (!names_.insert(key).second) throw Error(fmt::format("tensor '{}' is listed twice", key));
    } else if (place_ == Place::tensor) {
      const unsigned bit = key == "dtype" ? 1 : key == "shape" ? 2 : key == "data_offsets" ? 4 : 0;
      if (!bit || seen_ & bit) refuse();
      seen_ |= bit;
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      header.metadata[key_] = value;
    } else {
      if (place_ != Place::tensor || key_ != "dtype") refuse();
      header.tensors.back().dtype = value;
    }
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::tensor || key_ == "dtype") refuse();
    place_ = key_ == "shape" ? Place::shape : Place::offsets;
    numbers_.clear();
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::shape && place_ != Place::offsets) refuse();
    if (numbers_.size() == kMaxAxes) refuse();
    numbers_.push_back(value);
    return true;
  }

  bool end_array() override {
    SafetensorsHeader::Tensor& tensor = header.tensors.back();
    if (place_ == Place::shape) {
      tensor.shape = numbers_;
    } else {
      if (numbers_.size() != 2) refuse();
      tensor.begin = numbers_[0];
      tensor.end = numbers_[1];
    }
    place_ = Place::tensor;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor && seen_ != 7)
      throw Error(fmt::format("tensor '{}' lacks dtype, shape or data_offsets", name_));
    place_ = place_ == Place::top ? Place::after : Place::top;
    return true;
  }

  bool null() override { refuse(); }
  bool boolean(bool) override { refuse(); }
  bool number_integer(number_integer_t) override { refuse(); }
  bool number_float(number_float_t, const string_t&) override { refuse(); }
  bool binary(binary_t&) override { refuse(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw Error(fmt::format("its header is no valid JSON at byte {}", position));
  }

 private:
  enum class Place { before, top, metadata, tensor, shape, offsets, after };

  [[noreturn]] void refuse() const {
    if (place_ == Place::before) throw Error("its header is not a JSON object");
    if (place_ == Place::metadata) throw Error("__metadata__ holds something other than text");
    const bool inside = place_ == Place::tensor || place_ == Place::shape || place_ == Place::offsets;
    throw Error(inside ? fmt::format("tensor '{}' has a bad {}", name_, key_)
                       : fmt::format("tensor '{}' is not described by an object", name_));
  }

  Place place_ = Place::before;
  std::string name_, key_;
  std::set<std::string> names_;
  unsigned seen_ = 0;  // dtype, shape, data_offsets as bits
  std::vector<uint64_t> numbers_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text) {
  Handler handler;
  json::sax_parse(text.begin(), text.end(), &handler);
  return std::move(handler.header);
}

}  // namespace eg4d
