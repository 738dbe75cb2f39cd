#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/mapped_file.h"

namespace eg4d {

// One element of a PLY file (Turk 1994), mostly its vertices, as a table of numbers. The constructor parses
// the header and checks that the file is long enough for every row it promises; read() then walks over the
// rows. Throws Error naming the file.
class PlyTable {
 public:
  enum class Type { i8, u8, i16, u16, i32, u32, f32, f64 };
  struct Property {
    std::string name;
    Type type = Type::f32;
    std::optional<Type> list_count;  // set for lists: the type of the count before the values
  };

  PlyTable(Bytes file, std::string name, std::string_view element = "vertex");
  // Whether the header names such an element; false also where it is damaged.
  static bool has_element(Bytes file, std::string_view element);

  int64_t rows() const { return element_.count; }
  const std::vector<Property>& properties() const { return element_.properties; }
  std::optional<size_t> find(std::string_view property) const;  // lists are not found
  size_t at(std::string_view property) const;                   // throws when it is missing

  // One property's way into an array: row i goes to to[i * stride + offset], multiplied by scale.
  struct Column {
    size_t property = 0;
    float* to = nullptr;  // may be null when there are no rows
    size_t offset = 0;
    size_t stride = 1;
    float scale = 1;
  };
  // The rows as they lie in a binary file whose rows have no lists; nothing otherwise.
  std::optional<Bytes> binary_rows() const;
  // Reads all rows. A value that is not finite, or too large for float, is an error naming its vertex.
  void read(const std::vector<Column>& columns) const;

 private:
  struct Element {
    std::string name;
    int64_t count = 0;
    std::vector<Property> properties;
  };
  [[noreturn]] void fail(const std::string& what) const;
  void parse_header(std::string_view element);
  Property parse_property(std::string_view words) const;
  void skip(const Element& element);
  void check_room(const Element& element) const;
  template <class Cursor>
  void walk(Cursor& cursor, const Element& element, const std::vector<Column>& columns) const;

  Bytes file_;
  std::string name_;
  bool ascii_ = false;
  size_t body_ = 0;  // where the vertices begin
  Element element_;
};

}  // namespace eg4d
