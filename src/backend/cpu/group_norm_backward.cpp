#include <algorithm>

#include "backend/cpu/neural_kernels.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/group_norm_backward.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"
//
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/vector_math-inl.h"

#ifndef EG4D_BACKEND_CPU_GROUP_NORM_BACKWARD_ONCE
#define EG4D_BACKEND_CPU_GROUP_NORM_BACKWARD_ONCE
namespace eg4d::cpu {
namespace {

// Of one sample, [channels] each. With n = (x - mean)·inverse and d_n = d_y·activation'·scale,
// d_x = inverse·(d_n - E[d_n] - n·E[d_n·n]); the means are over the group.
struct ChannelTerms {
  const float *mean, *inverse;
  const float *mean_gradient, *mean_product;
};

}  // namespace
}  // namespace eg4d::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// The derivative of silu: s·(1 + u·(1 - s)) with s = sigmoid(u).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V silu_slope(D d, V u) {
  const V one = hn::Set(d, 1.0f);
  const V s = hn::Div(one, hn::Add(one, cpu::HWY_NAMESPACE::exp(d, hn::Neg(u))));
  return hn::Mul(s, hn::MulAdd(u, hn::Sub(one, s), one));
}

// n and d_y·activation'(n·scale + shift).
template <class D, class V = hn::Vec<D>>
HWY_INLINE void Normalized(D d, const GroupNorm& f, const ChannelTerms& terms, const float* x,
                           const float* d_y, int64_t c, V& n, V& d_u) {
  n = hn::Mul(hn::Sub(hn::LoadU(d, x + c), hn::LoadU(d, terms.mean + c)), hn::LoadU(d, terms.inverse + c));
  d_u = hn::LoadU(d, d_y + c);
  if (f.activation == Activation::silu) {
    const V u = hn::MulAdd(n, hn::LoadU(d, f.scale + c), hn::LoadU(d, f.shift + c));
    d_u = hn::Mul(d_u, silu_slope(d, u));
  }
}

// sums[c] += Σ d_u, sums[channels+c] += Σ d_u·n over the positions [begin,end), counted through the batch.
void GradientSums(const GroupNormBackward& a, const ChannelTerms& terms, int64_t begin, int64_t end,
                  float* sums) {
  const GroupNorm& f = a.forward;
  for (int64_t p = begin; p < end; ++p) {
    const float *x = f.x.f32() + p * f.channels, *d_y = a.d_y + p * f.channels;
    for_lanes(f.channels, [&](auto d, int64_t c) HWY_ATTR {
      auto n = hn::Zero(d), d_u = hn::Zero(d);
      Normalized(d, f, terms, x, d_y, c, n, d_u);
      float* products = sums + f.channels;
      hn::StoreU(hn::Add(hn::LoadU(d, sums + c), d_u), d, sums + c);
      hn::StoreU(hn::MulAdd(d_u, n, hn::LoadU(d, products + c)), d, products + c);
    });
  }
}

void AddGradients(const GroupNormBackward& a, const ChannelTerms& terms, int64_t begin, int64_t end) {
  const GroupNorm& f = a.forward;
  for (int64_t p = begin; p < end; ++p) {
    const float *x = f.x.f32() + p * f.channels, *d_y = a.d_y + p * f.channels;
    float* d_x = a.d_x + p * f.channels;
    for_lanes(f.channels, [&](auto d, int64_t c) HWY_ATTR {
      auto n = hn::Zero(d), d_u = hn::Zero(d);
      Normalized(d, f, terms, x, d_y, c, n, d_u);
      auto sum = hn::MulSub(d_u, hn::LoadU(d, f.scale + c), hn::LoadU(d, terms.mean_gradient + c));
      sum = hn::NegMulAdd(n, hn::LoadU(d, terms.mean_product + c), sum);
      hn::StoreU(hn::MulAdd(sum, hn::LoadU(d, terms.inverse + c), hn::LoadU(d, d_x + c)), d, d_x + c);
    });
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(GradientSums);
HWY_EXPORT(AddGradients);

namespace {

constexpr int64_t kPositionsPerSum = 128;  // bounds the f32 sums

// What ChannelTerms points to, of the whole batch.
struct BatchTerms {
  std::vector<float> mean, inverse, mean_gradient, mean_product;
  ChannelTerms of(int64_t sample, int64_t channels) const {
    const int64_t begin = sample * channels;
    return {mean.data() + begin, inverse.data() + begin, mean_gradient.data() + begin,
            mean_product.data() + begin};
  }
};

// The group means of the gradients, from the sums of a sample's chunks.
void finish_means(const GroupNorm& f, int64_t sample, const float* sums, int64_t chunks, BatchTerms& terms) {
  const int64_t per_group = f.channels / f.groups;
  const double count = static_cast<double>(per_group * f.positions);
  for (int64_t first = 0; first < f.channels; first += per_group) {
    double gradient = 0, product = 0;
    for (int64_t c = first; c < first + per_group; ++c) {
      double sum = 0, sum_of_products = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const float* partial = sums + chunk * 2 * f.channels;
        sum += static_cast<double>(partial[c]);
        sum_of_products += static_cast<double>(partial[f.channels + c]);
      }
      gradient += sum * static_cast<double>(f.scale[c]);
      product += sum_of_products * static_cast<double>(f.scale[c]);
    }
    for (int64_t c = first; c < first + per_group; ++c) {
      terms.mean_gradient[static_cast<size_t>(sample * f.channels + c)] =
          static_cast<float>(gradient / count);
      terms.mean_product[static_cast<size_t>(sample * f.channels + c)] = static_cast<float>(product / count);
    }
  }
}

}  // namespace

void group_norm_backward(const GroupNormBackward& a) {
  const GroupNorm& f = a.forward;
  if (f.batch * f.positions * f.channels == 0) return;
  const GroupStatistics statistics = group_statistics(f);
  const auto all = static_cast<size_t>(f.batch * f.channels);
  BatchTerms terms{std::vector<float>(all), std::vector<float>(all), std::vector<float>(all),
                   std::vector<float>(all)};
  for (size_t i = 0; i < all; ++i) {
    const size_t group = i / static_cast<size_t>(f.channels / f.groups);
    terms.mean[i] = static_cast<float>(statistics.mean[group]);
    terms.inverse[i] = static_cast<float>(statistics.inverse_deviation[group]);
  }
  const int64_t chunks = (f.positions + kPositionsPerSum - 1) / kPositionsPerSum;
  std::vector<float> sums(static_cast<size_t>(f.batch * chunks * 2 * f.channels));
  // Positions of chunk i, counted through the batch.
  const auto each_chunk = [&](const auto& body) {
    parallel_for(f.batch * chunks, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t sample = i / chunks, begin = i % chunks * kPositionsPerSum;
        body(i, terms.of(sample, f.channels), sample * f.positions + begin,
             sample * f.positions + std::min(begin + kPositionsPerSum, f.positions));
      }
    });
  };
  each_chunk([&](int64_t i, const ChannelTerms& of, int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(GradientSums)(a, of, begin, end, sums.data() + i * 2 * f.channels);
  });
  for (int64_t sample = 0; sample < f.batch; ++sample)
    finish_means(f, sample, sums.data() + sample * chunks * 2 * f.channels, chunks, terms);
  each_chunk([&](int64_t, const ChannelTerms& of, int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(AddGradients)(a, of, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
