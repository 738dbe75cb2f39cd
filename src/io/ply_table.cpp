#include "io/ply_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace eg4d {
namespace {

using Type = PlyTable::Type;

constexpr size_t kMaxHeader = 1u << 20;
constexpr size_t kMaxProperties = 1000;  // of one element

struct NamedType {
  std::string_view name;
  Type type;
};
constexpr NamedType kTypes[] = {
    {"char", Type::i8},   {"int8", Type::i8},     {"uchar", Type::u8},   {"uint8", Type::u8},
    {"short", Type::i16}, {"int16", Type::i16},   {"ushort", Type::u16}, {"uint16", Type::u16},
    {"int", Type::i32},   {"int32", Type::i32},   {"uint", Type::u32},   {"uint32", Type::u32},
    {"float", Type::f32}, {"float32", Type::f32}, {"double", Type::f64}, {"float64", Type::f64}};

size_t size_of(Type type) {
  switch (type) {
    case Type::i8:
    case Type::u8:
      return 1;
    case Type::i16:
    case Type::u16:
      return 2;
    case Type::i32:
    case Type::u32:
    case Type::f32:
      return 4;
    case Type::f64:
      return 8;
  }
  return 0;
}

template <class T>
double load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return static_cast<double>(value);
}

std::string_view next_word(std::string_view& line) {
  const size_t begin = std::min(line.find_first_not_of(" \t"), line.size());
  const size_t end = std::min(line.find_first_of(" \t", begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

std::optional<Type> type_named(std::string_view name) {
  for (const NamedType& named : kTypes)
    if (named.name == name) return named.type;
  return std::nullopt;
}

// Both cursors give one number after the other, or nothing at the end of the file or at what is no number.
struct BinaryCursor {
  Bytes file;
  size_t position;
  std::optional<double> next(Type type) {
    if (file.size() - position < size_of(type)) return std::nullopt;
    const std::byte* from = file.data() + position;
    position += size_of(type);
    switch (type) {
      case Type::i8:
        return load<int8_t>(from);
      case Type::u8:
        return load<uint8_t>(from);
      case Type::i16:
        return load<int16_t>(from);
      case Type::u16:
        return load<uint16_t>(from);
      case Type::i32:
        return load<int32_t>(from);
      case Type::u32:
        return load<uint32_t>(from);
      case Type::f32:
        return load<float>(from);
      case Type::f64:
        return load<double>(from);
    }
    return std::nullopt;
  }
};

struct AsciiCursor {
  Bytes file;
  size_t position;
  std::optional<double> next(Type) {
    const char* text = reinterpret_cast<const char*>(file.data());
    auto space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
    while (position < file.size() && space(text[position])) ++position;
    if (position < file.size() && text[position] == '+') ++position;
    double value = 0;
    const auto [end, error] = std::from_chars(text + position, text + file.size(), value);
    if (error == std::errc::result_out_of_range)
      value = HUGE_VAL;
    else if (error != std::errc{})
      return std::nullopt;
    position = static_cast<size_t>(end - text);
    if (position < file.size() && !space(text[position])) return std::nullopt;
    return value;
  }
};

}  // namespace

PlyTable::PlyTable(Bytes file, std::string name, std::string_view element)
    : file_(file), name_(std::move(name)) {
  parse_header(element);
}

bool PlyTable::has_element(Bytes file, std::string_view element) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), std::min(file.size(), kMaxHeader));
  const std::string_view header = text.substr(0, text.find("\nend_header"));
  return header.starts_with("ply") && header.find(fmt::format("\nelement {} ", element)) != header.npos;
}

void PlyTable::fail(const std::string& what) const {
  throw Error(fmt::format("cannot read '{}': {}", name_, what));
}

PlyTable::Property PlyTable::parse_property(std::string_view words) const {
  Property property;
  std::string_view type = next_word(words);
  if (type == "list") {
    property.list_count = type_named(next_word(words));
    if (!property.list_count || *property.list_count >= Type::f32)
      fail("its PLY header has a bad list property");
    type = next_word(words);
  }
  const auto found = type_named(type);
  if (!found) fail(fmt::format("its PLY header has a property of unknown type '{}'", type));
  property.type = *found;
  property.name = next_word(words);
  return property;
}

void PlyTable::parse_header(std::string_view wanted) {
  const std::string_view text(reinterpret_cast<const char*>(file_.data()),
                              std::min(file_.size(), kMaxHeader));
  size_t position = 0;
  std::vector<Element> elements;
  bool has_format = false;
  for (bool first = true;; first = false) {
    const size_t end = text.find('\n', position);
    std::string_view line = text.substr(position, end == text.npos ? end : end - position);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (first && line != "ply") fail("it is not a PLY file");
    if (end == text.npos) fail("its PLY header does not end; it is truncated");
    position = end + 1;
    const std::string_view keyword = next_word(line);
    if (keyword == "end_header") break;
    if (keyword == "format") {
      const std::string_view format = next_word(line);
      ascii_ = format == "ascii";
      if (!ascii_ && format != "binary_little_endian")
        fail(fmt::format("its PLY format is '{}'; only ascii and binary_little_endian are read", format));
      has_format = true;
    } else if (keyword == "element") {
      Element element;
      element.name = next_word(line);
      const std::string_view count = next_word(line);
      const auto [rest, error] = std::from_chars(count.data(), count.data() + count.size(), element.count);
      if (error != std::errc{} || rest != count.data() + count.size() || element.count < 0)
        fail(fmt::format("its PLY header gives element '{}' a bad count", element.name));
      elements.push_back(std::move(element));
    } else if (keyword == "property") {
      if (elements.empty()) fail("its PLY header has a property before any element");
      if (elements.back().properties.size() == kMaxProperties)
        fail(fmt::format("its PLY header gives '{}' more than {} properties", elements.back().name,
                         kMaxProperties));
      elements.back().properties.push_back(parse_property(line));
    }
  }
  if (!has_format) fail("its PLY header names no format");
  body_ = position;
  for (Element& element : elements) {
    check_room(element);
    if (element.name == wanted) {
      element_ = std::move(element);
      for (size_t i = 0; i < element_.properties.size(); ++i)
        for (size_t j = 0; j < i; ++j)
          if (element_.properties[i].name == element_.properties[j].name)
            fail(fmt::format("its PLY header lists property '{}' twice", element_.properties[i].name));
      return;
    }
    skip(element);
  }
  fail(fmt::format("it has no element '{}'", wanted));
}

void PlyTable::check_room(const Element& element) const {
  uint64_t row = 0;  // the fewest bytes that a row can have: in ASCII a digit and a separator per value
  for (const Property& property : element.properties)
    row += ascii_ ? 2 : size_of(property.list_count.value_or(property.type));
  const uint64_t room = file_.size() - body_ + (ascii_ ? 1 : 0);  // the last line may lack its end
  if (row > 0 && static_cast<uint64_t>(element.count) > room / row)
    fail(fmt::format("its header promises {} rows of '{}', which its {} bytes cannot hold; it is truncated",
                     element.count, element.name, file_.size()));
  if (row == 0 && element.count > 0 && element.name == "vertex") fail("its vertices have no properties");
}

template <class Cursor>
void PlyTable::walk(Cursor& cursor, const Element& element, const std::vector<Column>& columns) const {
  if (element.properties.empty()) return;
  std::vector<const Column*> column_of(element.properties.size(), nullptr);
  for (const Column& column : columns) column_of[column.property] = &column;
  auto next = [&](Type type, int64_t row) {
    const auto value = cursor.next(type);
    if (!value) fail(fmt::format("it ends or breaks off at {} {} of {}", element.name, row, element.count));
    return *value;
  };
  for (int64_t row = 0; row < element.count; ++row)
    for (size_t i = 0; i < element.properties.size(); ++i) {
      const Property& property = element.properties[i];
      if (property.list_count) {
        const double length = next(*property.list_count, row);
        if (!(length >= 0)) fail(fmt::format("{} {} has a list of negative length", element.name, row));
        for (double k = 0; k < length; ++k) next(property.type, row);
        continue;
      }
      const double value = next(property.type, row);
      if (const Column* column = column_of[i]) {
        const float number = static_cast<float>(std::abs(value) <= 3.4028234e38 ? value : NAN);
        if (std::isnan(number))
          fail(fmt::format("{} {} has a '{}' that is not a finite number", element.name, row, property.name));
        column->to[static_cast<size_t>(row) * column->stride + column->offset] = number * column->scale;
      }
    }
}

void PlyTable::skip(const Element& element) {
  const bool fixed = std::none_of(element.properties.begin(), element.properties.end(),
                                  [](const Property& property) { return property.list_count.has_value(); });
  if (!ascii_ && fixed) {  // check_room() has seen that they are there
    for (const Property& property : element.properties)
      body_ += static_cast<size_t>(element.count) * size_of(property.type);
    return;
  }
  auto skip_with = [&](auto cursor) {
    walk(cursor, element, {});
    body_ = cursor.position;
  };
  if (ascii_)
    skip_with(AsciiCursor{file_, body_});
  else
    skip_with(BinaryCursor{file_, body_});
}

void PlyTable::read(const std::vector<Column>& columns) const {
  AsciiCursor ascii{file_, body_};
  BinaryCursor binary{file_, body_};
  if (ascii_)
    walk(ascii, element_, columns);
  else
    walk(binary, element_, columns);
}

std::optional<Bytes> PlyTable::binary_rows() const {
  size_t row = 0;
  for (const Property& property : element_.properties) {
    if (property.list_count) return std::nullopt;
    row += size_of(property.type);
  }
  if (ascii_) return std::nullopt;
  return file_.subspan(body_, static_cast<size_t>(element_.count) * row);
}

std::optional<size_t> PlyTable::find(std::string_view property) const {
  for (size_t i = 0; i < element_.properties.size(); ++i)
    if (element_.properties[i].name == property && !element_.properties[i].list_count) return i;
  return std::nullopt;
}

size_t PlyTable::at(std::string_view property) const {
  const auto found = find(property);
  if (!found) fail(fmt::format("its vertices have no property '{}'", property));
  return *found;
}

}  // namespace eg4d
