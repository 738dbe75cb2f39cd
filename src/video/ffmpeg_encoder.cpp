#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "video/ffmpeg.h"

namespace eg4d {
namespace {

// x264's output depends on its number of threads: a fixed one gives the same file on every machine.
constexpr int kThreads = 4;

// What a file of a kind holds.
struct Container {
  const char* format;  // FFmpeg's muxer
  const char* called;
  std::vector<std::string> encoders;       // the best first
  AVPixelFormat colors, colors_and_alpha;  // the latter none where there is no alpha
};

Container container_of(const std::filesystem::path& path) {
  if (has_extension(path, ".webm"))
    return {"webm", "WebM", {"libvpx-vp9"}, AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUVA420P};
  if (has_extension(path, ".mov"))
    return {"mov", "QuickTime", {"prores_ks"}, AV_PIX_FMT_YUV444P10LE, AV_PIX_FMT_YUVA444P10LE};
  return {"mp4", "MP4", {"libx264", "libopenh264", "mpeg4"}, AV_PIX_FMT_YUV420P, AV_PIX_FMT_NONE};
}

struct Muxer {
  AVFormatContext* context = nullptr;
  ~Muxer() {
    if (!context) return;
    avio_closep(&context->pb);
    avformat_free_context(context);
  }
};

class Encoder final : public VideoEncoder {
 public:
  Encoder(const std::filesystem::path& path, int width, int height, const VideoOptions& options);

  void add(const Picture& picture) override;
  void finish() override;
  const std::string& encoder() const override { return name; }

 private:
  std::filesystem::path path;
  AtomicFile file;
  const Container container;
  int width, height;
  const int channels;  // of pictures
  Muxer muxer;
  ffmpeg::Codec codec;
  ffmpeg::Scaler scaler;
  ffmpeg::Frame frame;
  ffmpeg::Packet packet;
  std::string name;  // of the encoder in use
  ffmpeg::Frame
      rgb;  // the picture at even size; swscale reads past its rows, which FFmpeg's own buffers allow
  int64_t frames = 0;

  void check(int result, const char* what) const {
    if (result < 0)
      throw Error(fmt::format("cannot write '{}': {} ({})", path.string(), what, ffmpeg::message(result)));
  }
  bool open_encoder(const std::string& wanted, const VideoOptions& options);
  void open_scaler();
  void open_file();
  void encode(const AVFrame* next);
};

bool Encoder::open_encoder(const std::string& wanted, const VideoOptions& options) {
  const AVCodec* found = avcodec_find_encoder_by_name(wanted.c_str());
  if (!found) return false;
  codec.reset(avcodec_alloc_context3(found));
  const AVRational rate = av_d2q(options.fps, 100000);
  codec->width = VideoWriter::padded(width);
  codec->height = VideoWriter::padded(height);
  codec->pix_fmt = options.alpha ? container.colors_and_alpha : container.colors;
  codec->framerate = rate;
  codec->time_base = av_inv_q(rate);
  codec->color_range = AVCOL_RANGE_MPEG;
  codec->colorspace = AVCOL_SPC_BT709;
  codec->color_primaries = AVCOL_PRI_BT709;
  codec->color_trc = AVCOL_TRC_BT709;
  codec->thread_count = kThreads;
  codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;  // MP4 keeps the headers apart from the frames
  if (wanted == "libx264") {
    av_opt_set_int(codec->priv_data, "crf", options.quality, 0);
    // With its AVX-512 code, x264 164 gives files that depend on where its buffers happen to lie.
    if (av_get_cpu_flags() & AV_CPU_FLAG_AVX512) av_opt_set(codec->priv_data, "x264-params", "asm=avx2", 0);
  } else if (wanted == "libvpx-vp9") {
    // Its scale reaches 63 and looks the same at a third more.
    av_opt_set_int(codec->priv_data, "crf", options.quality * 63 / 51, 0);
    codec->bit_rate = 0;  // quality alone decides
    av_opt_set_int(codec->priv_data, "row-mt", 0, 0);
    av_opt_set_int(codec->priv_data, "cpu-used", 2, 0);
    av_opt_set_int(codec->priv_data, "auto-alt-ref", 0, 0);  // frames that are not shown carry no alpha
  } else if (wanted == "prores_ks") {
    av_opt_set(codec->priv_data, "profile", "4444", 0);
    if (options.alpha) av_opt_set_int(codec->priv_data, "alpha_bits", 16, 0);
  } else {
    // MPEG-4's quantiser scale runs from 1 to 31.
    codec->flags |= AV_CODEC_FLAG_QSCALE;
    codec->global_quality = FF_QP2LAMBDA * (1 + options.quality * 30 / 51);
    codec->bit_rate = int64_t{8} * codec->width * codec->height;  // for encoders that know no quality
  }
  if (avcodec_open2(codec.get(), found, nullptr) < 0) return false;
  name = wanted;
  return true;
}

void Encoder::open_scaler() {
  const int w = codec->width, h = codec->height;
  const AVPixelFormat from = channels == 4 ? AV_PIX_FMT_RGBA : AV_PIX_FMT_RGB24;
  scaler.reset(sws_getContext(w, h, from, w, h, codec->pix_fmt, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT,
                              nullptr, nullptr, nullptr));
  packet.reset(av_packet_alloc());
  frame = ffmpeg::new_frame(w, h, codec->pix_fmt);
  rgb = ffmpeg::new_frame(w, h, from);
  if (!scaler || !packet || !frame || !rgb) check(AVERROR(ENOMEM), "cannot convert colours");
  sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(SWS_CS_DEFAULT), 1,
                           sws_getCoefficients(SWS_CS_ITU709), 0, 0, 1 << 16, 1 << 16);
}

void Encoder::open_file() {
  check(avformat_alloc_output_context2(&muxer.context, nullptr, container.format, nullptr),
        fmt::format("FFmpeg lacks its {} writer", container.called).c_str());
  muxer.context->flags |= AVFMT_FLAG_BITEXACT;  // no version numbers in the file
  AVStream* stream = avformat_new_stream(muxer.context, nullptr);
  if (!stream) check(AVERROR(ENOMEM), "out of memory");
  stream->time_base = codec->time_base;
  stream->avg_frame_rate = codec->framerate;
  check(avcodec_parameters_from_context(stream->codecpar, codec.get()),
        "the encoder's settings do not fit the container");
  if (channels == 4) av_dict_set(&stream->metadata, "alpha_mode", "1", 0);  // WebM's players look for it
  // The name is kept: moving the index to the front ("faststart") reads the file again.
  const std::string url = "file:" + file.temporary_path().string();
  muxer.context->url = av_strdup(url.c_str());
  check(avio_open(&muxer.context->pb, url.c_str(), AVIO_FLAG_WRITE), "cannot open it");
  AVDictionary* options = nullptr;
  if (std::string(container.format) != "webm") av_dict_set(&options, "movflags", "+faststart", 0);
  const int result = avformat_write_header(muxer.context, &options);
  av_dict_free(&options);
  check(result, "writing its header failed");
}

void Encoder::encode(const AVFrame* next) {
  check(avcodec_send_frame(codec.get(), next), "encoding failed");
  for (;;) {
    const int result = avcodec_receive_packet(codec.get(), packet.get());
    if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return;
    check(result, "encoding failed");
    av_packet_rescale_ts(packet.get(), codec->time_base, muxer.context->streams[0]->time_base);
    packet->duration = av_rescale_q(1, codec->time_base, muxer.context->streams[0]->time_base);
    check(av_interleaved_write_frame(muxer.context, packet.get()), "writing a frame failed");
  }
}

Encoder::Encoder(const std::filesystem::path& p, int w, int h, const VideoOptions& options)
    : path(p), file(p), container(container_of(p)), width(w), height(h), channels(options.alpha ? 4 : 3) {
  if (options.alpha && container.colors_and_alpha == AV_PIX_FMT_NONE)
    throw Error(fmt::format("cannot write '{}': {} has no transparency; name it .webm or .mov", path.string(),
                            container.called));
  bool open = false;
  if (!options.encoder.empty()) {
    open = open_encoder(options.encoder, options);
  } else {
    for (const std::string& one : container.encoders)
      if ((open = open_encoder(one, options))) break;
  }
  if (!open)
    throw Error(fmt::format(
        "cannot write '{}': FFmpeg on this machine has no encoder {} that takes {}x{} pixels", path.string(),
        options.encoder.empty() ? fmt::format("for it ({})", fmt::join(container.encoders, ", "))
                                : options.encoder,
        width, height));
  open_scaler();
  open_file();
}

void Encoder::add(const Picture& picture) {
  if (picture.width != width || picture.height != height || picture.channels != channels)
    throw Error(fmt::format(
        "cannot write '{}': frame {} has {}x{} pixels and {} channels, the video {}x{} and {}", path.string(),
        frames, picture.width, picture.height, picture.channels, width, height, channels));
  const auto pixel = static_cast<size_t>(channels), row = static_cast<size_t>(width) * pixel;
  for (int y = 0; y < rgb->height; ++y) {
    const uint8_t* from = &picture.data[static_cast<size_t>(std::min(y, height - 1)) * row];
    uint8_t* to = rgb->data[0] + static_cast<ptrdiff_t>(y) * rgb->linesize[0];
    std::memcpy(to, from, row);
    if (rgb->width > width) std::memcpy(to + row, from + row - pixel, pixel);
  }
  check(av_frame_make_writable(frame.get()), "out of memory");
  sws_scale(scaler.get(), rgb->data, rgb->linesize, 0, rgb->height, frame->data, frame->linesize);
  frame->pts = frames++;
  frame->quality = codec->global_quality;
  encode(frame.get());
}

void Encoder::finish() {
  if (frames == 0) throw Error(fmt::format("cannot write '{}': the video has no frames", path.string()));
  encode(nullptr);
  check(av_write_trailer(muxer.context), "writing its index failed");
  check(muxer.context->pb->error, "writing failed");
  check(avio_closep(&muxer.context->pb), "closing it failed");
  file.commit();
}

}  // namespace

std::unique_ptr<VideoEncoder> ffmpeg::encode(const std::filesystem::path& path, int width, int height,
                                             const VideoOptions& options) {
  if (width <= 0 || height <= 0 || width > 16384 || height > 16384)
    throw Error(fmt::format("cannot write '{}': a video of {}x{} pixels is not possible", path.string(),
                            width, height));
  if (!(options.fps >= 0.01 && options.fps <= 1000))
    throw Error(fmt::format("cannot write '{}': {} frames per second is not between 0.01 and 1000",
                            path.string(), options.fps));
  silence();
  return std::make_unique<Encoder>(path, width, height, options);
}

}  // namespace eg4d
