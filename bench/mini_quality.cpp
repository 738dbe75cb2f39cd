#include "mini_quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backend/backend.h"
#include "picture/input_picture.h"
#include "pipeline/animate.h"
#include "pipeline/multiview.h"
#include "support/temporary_folder.h"
#include "vision/clip_similarity.h"

namespace eg4d::bench {
namespace {

// Mean of |a| over all values.
double mean_magnitude(const std::vector<int>& values) {
  double sum = 0;
  for (const int value : values) sum += std::abs(value);
  return values.empty() ? 0 : sum / 255 / static_cast<double>(values.size());
}

// b - a.
std::vector<int> change(const Picture& a, const Picture& b) {
  std::vector<int> values(a.data.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = int{b.data[i]} - int{a.data[i]};
  return values;
}

std::vector<int> difference(std::vector<int> a, const std::vector<int>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

struct Mean {
  double sum = 0;
  size_t count = 0;
  void add(double value) { sum += value, ++count; }
  double value() const { return count ? sum / static_cast<double>(count) : 0; }
};

double frame_change(const HeldOut::Row& frames) {
  Mean mean;
  for (size_t i = 1; i < frames.size(); ++i) mean.add(mean_magnitude(change(frames[i - 1], frames[i])));
  return mean.value();
}

double second_difference(const HeldOut::Row& frames) {
  Mean mean;
  for (size_t i = 2; i < frames.size(); ++i)
    mean.add(
        mean_magnitude(difference(change(frames[i - 1], frames[i]), change(frames[i - 2], frames[i - 1]))));
  return mean.value();
}

// The first frame of a clip is the input.
std::vector<HeldOut::Row> without_first(std::vector<HeldOut::Row> rows) {
  for (HeldOut::Row& row : rows) row.erase(row.begin());
  return rows;
}

HeldOut::Row without_last(HeldOut::Row row) {
  row.pop_back();
  return row;
}

// Every row of the truth, the generated one below it: the input, then the pictures numbered `columns`.
std::vector<HeldOut::Row> one_below_the_other(const std::vector<HeldOut::Row>& truth,
                                              const std::vector<HeldOut::Row>& generated,
                                              const HeldOut::Row& inputs,
                                              const std::vector<size_t>& columns) {
  std::vector<HeldOut::Row> rows;
  for (size_t i = 0; i < truth.size(); ++i)
    for (const HeldOut::Row* source : {&truth[i], &generated[i]}) {
      HeldOut::Row& row = rows.emplace_back(HeldOut::Row{inputs[i]});
      for (const size_t column : columns)
        if (column < source->size()) row.push_back((*source)[column]);
    }
  return rows;
}

// One row for each set of pictures, a column for each of its first pictures.
std::vector<HeldOut::Row> side_by_side(std::initializer_list<const std::vector<HeldOut::Row>*> sets) {
  std::vector<HeldOut::Row> rows;
  for (const std::vector<HeldOut::Row>* set : sets) {
    HeldOut::Row& row = rows.emplace_back();
    for (const HeldOut::Row& pictures : *set) row.push_back(pictures.front());
  }
  return rows;
}

Tensor unit_tensor(Backend& backend, const Picture& picture) {
  std::vector<float> values(picture.data.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(picture.data[i]) / 255;
  return Tensor::from_host(backend, {picture.height, picture.width, 3}, values);
}

}  // namespace

MiniQuality::MiniQuality(Backend& backend, const GenerateModels& models, const GenerateOptions& options,
                         const HeldOut& data, Progress& progress)
    : backend_(backend),
      models_(models),
      options_(options),
      data_(data),
      progress_(progress),
      precision_(precision_on(backend, options.multiview.sampling.precision)),
      animator_(backend, models.animate.path, VideoNetworks::Keep::all),
      painter_(backend, models.multiview.path, VideoNetworks::Keep::all) {}

// Means over all pictures.
QualityRow MiniQuality::compare(const std::string& name, const std::vector<Row>& ours,
                                const std::vector<Row>& truth) {
  Mean psnr, ssim;
  const Tensor values = Tensor::zeros(backend_, {4}, DType::f64);
  for (size_t row = 0; row < truth.size(); ++row)
    for (size_t i = 0; i < truth[row].size(); ++i) {
      const Tensor a = unit_tensor(backend_, ours[row][i]), b = unit_tensor(backend_, truth[row][i]);
      ImageLoss loss;
      loss.width = truth[row][i].width;
      loss.height = truth[row][i].height;
      loss.image = a.data();
      loss.target = b.data();
      loss.want_ssim = true;
      loss.values = values.data<double>();
      backend_.run(loss);
      const std::vector<double> figures = values.to_host<double>();
      psnr.add(-10 * std::log10(std::max(figures[2], 1e-10)));
      ssim.add(figures[1]);
    }
  return {name, {{"PSNR", psnr.value()}, {"SSIM", ssim.value()}}};
}

HeldOut::Row MiniQuality::reconstructed(const Row& pictures) {
  Row result;
  for (const Picture& picture : pictures) {
    const std::vector<float> pixels = to_model_range(picture);
    const Tensor input = Tensor::from_host(backend_, {1, picture.height, picture.width, 3}, pixels);
    // The condition's latents have unit deviation in our models, as the sampler's have.
    const Tensor output =
        painter_.decoder(precision_).decode(painter_.condition_encoder(precision_).mode(input), 1);
    result.push_back(from_model_range(output.to_host(), picture.width, picture.height));
  }
  return result;
}

std::vector<HeldOut::Row> MiniQuality::paint(VideoNetworks& networks, PaintJob job) {
  const test::TemporaryFolder state;
  job.state_folder = state.path();
  std::vector<Row> videos(job.inputs.size(), Row(static_cast<size_t>(job.frames)));
  const PictureSink sink{[](int, int) { return false; },
                         [&videos](int video, int frame, const Picture& picture) {
                           videos[static_cast<size_t>(video)][static_cast<size_t>(frame)] = picture;
                         }};
  paint_videos(backend_, networks, job, sink, progress_);
  return videos;
}

std::vector<HeldOut::Row> MiniQuality::turn(const std::vector<Picture>& inputs, double elevation,
                                            bool injection) {
  MultiviewOptions options = options_.multiview;
  options.elevation = elevation;
  options.injection = injection;
  return paint(painter_, views_painting(painter_.checkpoint().kind(), options, inputs));
}

QualityTable MiniQuality::autoencoder() {
  std::vector<Row> truth = data_.clips;
  for (const HeldOut::Orbit& orbit : data_.orbits) truth.push_back(orbit.moments.front());
  std::vector<Row> ours;
  for (const Row& row : truth) ours.push_back(reconstructed(row));
  return {"Autoencoder: pictures of held-out creatures, encoded and decoded",
          {"PSNR", "SSIM"},
          {compare("autoencoder", ours, truth)},
          side_by_side({&truth, &ours})};
}

QualityTable MiniQuality::views() {
  std::vector<Row> truth, copies, means, limit, plain;
  Row inputs;
  for (const HeldOut::Orbit& orbit : data_.orbits) {
    const Row& row = orbit.moments.front();
    truth.push_back(without_last(row));
    inputs.push_back(row.back());
    const size_t count = truth.back().size();
    copies.emplace_back(count, row.back());
    means.emplace_back(count, data_.mean);
    limit.push_back(reconstructed(truth.back()));
    plain.push_back(without_last(turn({row.back()}, orbit.elevation, false).front()));
  }
  return {fmt::format("SV3D-mini: {} views of {} held-out creatures", truth.front().size(), truth.size()),
          {"PSNR", "SSIM"},
          {compare("copy of the input", copies, truth), compare("mean picture", means, truth),
           compare("SV3D-mini", plain, truth), compare("the autoencoder's limit", limit, truth)},
          one_below_the_other(truth, plain, inputs, {2, 5, 8, 11, 14, 17})};
}

QualityTable MiniQuality::flicker(size_t creatures) {
  struct Kind {
    const char* name;
    bool injection;
    std::vector<Row> views;
    Mean flicker;
  };
  Kind kinds[] = {{"without attention injection", false, {}, {}}, {"with attention injection", true, {}, {}}};
  std::vector<Row> truth;
  Mean own_change;
  size_t used = 0;
  for (const HeldOut::Orbit& orbit : data_.orbits) {
    if (orbit.moments.size() < 2 || used++ >= creatures) continue;
    std::vector<Picture> inputs;
    for (const Row& row : orbit.moments) {
      inputs.push_back(row.back());
      truth.push_back(without_last(row));
    }
    const size_t views = truth.back().size();
    for (Kind& kind : kinds) {
      const std::vector<Row> generated = turn(inputs, orbit.elevation, kind.injection);
      for (const Row& row : generated) kind.views.push_back(without_last(row));
      for (size_t t = 1; t < generated.size(); ++t)
        for (size_t v = 0; v < views; ++v)
          kind.flicker.add(mean_magnitude(difference(change(generated[t - 1][v], generated[t][v]),
                                                     change(orbit.moments[t - 1][v], orbit.moments[t][v]))));
    }
    for (size_t t = 1; t < orbit.moments.size(); ++t)
      for (size_t v = 0; v < views; ++v)
        own_change.add(mean_magnitude(change(orbit.moments[t - 1][v], orbit.moments[t][v])));
  }
  QualityTable table{fmt::format("SV3D-mini: orbits of {} creatures over consecutive moments (the true views "
                                 "change by {:.4f} from moment to moment)",
                                 std::min(used, creatures), own_change.value()),
                     {"flicker", "PSNR", "SSIM"},
                     {},
                     {}};
  // The first creature from the side, moment after moment: the truth, without and with injection.
  constexpr size_t side_view = 5;
  for (const std::vector<Row>* views : {&truth, &kinds[0].views, &kinds[1].views}) {
    Row& row = table.pictures.emplace_back();
    for (size_t t = 0; t < data_.orbits.front().moments.size() && t < views->size(); ++t)
      row.push_back((*views)[t].at(side_view));
  }
  for (const Kind& kind : kinds) {
    table.rows.push_back(compare(kind.name, kind.views, truth));
    table.rows.back().figures["flicker"] = kind.flicker.value();
  }
  return table;
}

double MiniQuality::identity(const Row& frames, const std::vector<float>& input) {
  Mean mean;
  for (const Picture& frame : frames)
    mean.add(cosine(
        animator_.image_encoder(precision_).embed(to_model_range(frame), frame.height, frame.width), input));
  return mean.value();
}

QualityTable MiniQuality::clips() {
  std::vector<Row> stills, ours;
  for (const Row& clip : data_.clips) {
    stills.emplace_back(clip.size(), clip.front());
    AnimateOptions options = options_.animate;
    options.frames = static_cast<int>(clip.size());
    ours.push_back(paint(animator_, video_painting(options, clip.front())).front());
  }
  QualityTable table{fmt::format("SVD-mini: clips of {} held-out creatures", data_.clips.size()),
                     {"change", "second difference", "identity", "PSNR", "SSIM"},
                     {{"truth", {}}},
                     {}};
  const std::vector<Row> truth = without_first(data_.clips);
  for (size_t i = 0; i < ours.size(); ++i)
    for (const Row& row : {data_.clips[i], ours[i]}) table.pictures.push_back(row);
  table.rows.push_back(compare("the input, standing still", without_first(stills), truth));
  table.rows.push_back(compare("SVD-mini", without_first(ours), truth));
  const std::vector<Row>* videos[] = {&data_.clips, &stills, &ours};
  for (size_t row = 0; row < table.rows.size(); ++row) {
    Mean moved, bent, same;
    for (const Row& video : *videos[row]) {
      const Picture& input = data_.clips[static_cast<size_t>(&video - videos[row]->data())].front();
      moved.add(frame_change(video));
      bent.add(second_difference(video));
      same.add(identity(
          video,
          animator_.image_encoder(precision_).embed(to_model_range(input), input.height, input.width)));
    }
    auto& figures = table.rows[row].figures;
    figures["change"] = moved.value();
    figures["second difference"] = bent.value();
    figures["identity"] = same.value();
  }
  return table;
}

QualityTable MiniQuality::mending() {
  DiffusionPainter painter(backend_, models_.refine, options_.painting);
  std::vector<Row> clean, spoilt, coded, mended, kept;
  progress_.begin(static_cast<int64_t>(data_.spoilt.size()), "mending");
  for (const Row& pair : data_.spoilt) {
    const size_t view = clean.size();
    clean.push_back({pair[0]});
    spoilt.push_back({pair[1]});
    coded.push_back(reconstructed({pair[1]}));
    mended.push_back({painter.paint(pair[1], view, Background::white)});
    kept.push_back({painter.paint(pair[0], view, Background::white)});
    progress_.update(static_cast<int64_t>(view) + 1);
  }
  return {fmt::format("SDXL-mini: image to image of {} pictures", clean.size()),
          {"PSNR", "SSIM"},
          {compare("spoilt", spoilt, clean), compare("spoilt, through the autoencoder alone", coded, clean),
           compare("spoilt, mended", mended, clean), compare("clean, mended", kept, clean)},
          side_by_side({&clean, &spoilt, &mended})};
}

}  // namespace eg4d::bench
