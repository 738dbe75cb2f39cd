#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "io/image.h"
#include "scene/camera.h"

namespace eg4d {

// How pictures of one camera change with time, of renders and of their truth: more than the truth is
// flicker, less is motion that was smeared.
//
//   flicker       mean |I(t+1) - I(t)| of neighbouring times, over pixels and channels, in [0,1]
//   acceleration  mean |I(t+1) - 2·I(t) + I(t-1)|
//   CLIP-T        mean cosine of the CLIP embeddings of neighbouring times
class TemporalFigures {
 public:
  struct Figure {
    std::string key, title;  // "flicker", "flicker"
    double render = 0, truth = 0;
    int64_t count = 0;  // pairs (triples, for acceleration) of pictures
  };

  // Pictures of one camera come in order of time. embeddings: empty where there is no CLIP.
  void add(const Camera& camera, const Picture& render, const Picture& truth,
           const std::vector<float>& render_embedding, const std::vector<float>& truth_embedding);
  // Those of which there is a pair.
  std::vector<Figure> figures() const;

 private:
  struct Side {
    Picture before, last;  // no width: there was none yet
    std::vector<float> embedding;
  };
  struct Sums {
    double flicker = 0, acceleration = 0, clip = 0;
  };
  void add(Side& side, const Picture& picture, const std::vector<float>& embedding, Sums& sums);

  std::map<std::array<float, 16>, std::array<Side, 2>> cameras_;  // by pose: render, truth
  std::array<Sums, 2> sums_;
  int64_t pairs_ = 0, triples_ = 0, embedded_pairs_ = 0;  // of renders and truths together
};

}  // namespace eg4d
