#pragma once

// Which typed arrays an operation takes, how long they are and what it does with them: for devices that
// compute in other types than they store, for traces and for checks. visit(array, count, access), where array
// is an Array& or ConstArray& of the operation; null ones are left out.

#include "backend/operations.h"

namespace eg4d {

enum class Access : uint8_t {
  read,
  write,
  update
};  // update: elements that are not written keep their values

namespace detail {

template <class Visit>
class ArrayVisitor {
 public:
  explicit ArrayVisitor(Visit& visit) : visit_(visit) {}

  void operator()(Linear& a) const {
    read(a.x, a.rows * a.weight->extents.in);
    read(a.residual, a.rows * a.weight->extents.out);
    write(a.y, a.rows * a.weight->extents.out);
  }
  void operator()(Convolution& a) const {
    const PackedWeight::Extents& w = a.weight->extents;
    const int64_t out =
        a.batch * w.out *
        convolution_extent(a.height, w.kernel_height, a.pad_top, a.pad_bottom, a.stride, a.dilation) *
        convolution_extent(a.width, w.kernel_width, a.pad_left, a.pad_right, a.stride, a.dilation);
    read(a.x, a.batch * a.height * a.width * w.in);
    read(a.residual, out);
    write(a.y, out);
  }
  void operator()(GroupNorm& a) const {
    const int64_t count = a.batch * a.positions * a.channels;
    read(a.x, count);
    read(a.add, count / std::max<int64_t>(a.add_positions, 1));
    write(a.y, count);
  }
  void operator()(LayerNorm& a) const {
    read(a.x, a.rows * a.width);
    read(a.add, a.add_rows * a.width);
    write(a.sum, a.rows * a.width);
    write(a.y, a.rows * a.width);
  }
  void operator()(Attention& a) const {
    const auto length = [&](int64_t outer_stride, int64_t inner_stride, int64_t token_stride,
                            int64_t tokens) {
      if (a.outer * a.inner * tokens == 0) return int64_t{0};
      return (a.outer - 1) * outer_stride + (a.inner - 1) * inner_stride + (tokens - 1) * token_stride +
             a.heads * a.head_dim;
    };
    const auto operand = [&](Attention::Operand& x, int64_t tokens) {
      read(x.data, length(x.outer_stride, x.inner_stride, x.token_stride, tokens));
    };
    operand(a.q, a.queries);
    operand(a.k, a.keys);
    operand(a.v, a.keys);
    update(a.y, length(a.y_outer_stride, a.y_inner_stride, a.y_token_stride, a.queries));
  }
  void operator()(Geglu& a) const {
    read(a.x, 2 * a.rows * a.width);
    write(a.y, a.rows * a.width);
  }
  void operator()(FeedForward& a) const {
    read(a.x, a.rows * a.widen->extents.in);
    read(a.residual, a.rows * a.narrow->extents.out);
    write(a.y, a.rows * a.narrow->extents.out);
  }
  void operator()(MixedNorm& a) const {
    (*this)(a.norm);
    if (a.keep)
      update(a.reference, a.norm.rows * a.norm.width);
    else
      visit(a.reference, a.norm.rows * a.norm.width, Access::read);
  }
  void operator()(ScaledSum& a) const {
    read(a.a, a.count);
    read(a.b, a.count);
    write(a.y, a.count);
  }
  void operator()(Convert& a) const { elementwise(a, a.count); }
  void operator()(Activate& a) const { elementwise(a, a.count); }
  void operator()(Upsample& a) const {
    const int64_t count = a.batch * a.height * a.width * a.channels;
    read(a.x, count);
    write(a.y, 4 * count);
  }
  void operator()(ResizeFeatures& a) const {
    read(a.x, a.batch * a.height * a.width * a.channels);
    write(a.y, a.batch * a.out_height * a.out_width * a.channels);
  }
  void operator()(MaxPool& a) const {
    read(a.x, a.batch * a.height * a.width * a.channels);
    write(a.y, a.batch * a.out_height * a.out_width * a.channels);
  }
  void operator()(ScaleChannels& a) const { elementwise(a, a.rows * a.channels); }
  void operator()(Patches& a) const {
    read(a.x, a.batch * a.height * a.width * a.channels);
    write(a.y, a.batch * (a.height / a.patch) * (a.width / a.patch) * a.patch * a.patch * a.channels);
  }
  void operator()(CopyRows& a) const {
    if (a.rows == 0) return;
    read(a.from, (a.rows - 1) * a.from_pitch + a.width);
    update(a.to, (a.rows - 1) * a.to_pitch + a.width);
  }
  void operator()(NetworkInput& a) const { write(a.y, 2 * a.rows * a.positions * a.channels); }
  void operator()(NoisyLatents& a) const { write(a.y, a.copies * a.count); }
  template <class Other>
  void operator()(Other&) const {}  // f32 alone

 private:
  void visit(auto& array, int64_t count, Access access) const {
    if (array && count > 0) visit_(array, count, access);
  }
  void read(ConstArray& array, int64_t count) const { visit(array, count, Access::read); }
  void write(Array& array, int64_t count) const { visit(array, count, Access::write); }
  void update(Array& array, int64_t count) const { visit(array, count, Access::update); }
  void elementwise(auto& a, int64_t count) const {
    read(a.x, count);
    write(a.y, count);
  }

  Visit& visit_;
};

}  // namespace detail

template <class Type, class Visit>
void each_array(Type& operation, Visit&& visit) {
  detail::ArrayVisitor<std::remove_reference_t<Visit>>{visit}(operation);
}

}  // namespace eg4d
