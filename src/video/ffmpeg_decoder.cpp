#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/image_codecs.h"
#include "io/mapped_file.h"
#include "video/ffmpeg.h"

namespace eg4d {
namespace {

struct Demuxer {
  AVFormatContext* context = nullptr;
  ~Demuxer() { avformat_close_input(&context); }
};

// The Exif orientation that undoes a display matrix (a rotation in degrees, counterclockwise when positive).
int orientation_of(const AVStream& stream) {
#if LIBAVCODEC_VERSION_MAJOR >= 61
  const AVPacketSideData* found = av_packet_side_data_get(
      stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  const uint8_t* data = found && found->size >= 36 ? found->data : nullptr;
#else
  size_t size = 0;
  const uint8_t* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  if (size < 36) data = nullptr;
#endif
  const double angle = data ? av_display_rotation_get(reinterpret_cast<const int32_t*>(data)) : 0;
  if (!std::isfinite(angle)) return 1;
  switch (static_cast<int>(std::lround(angle / 90)) & 3) {
    case 1:
      return 8;  // to be turned a quarter counterclockwise
    case 2:
      return 3;
    case 3:
      return 6;
    default:
      return 1;
  }
}

class Decoder final : public VideoDecoder {
 public:
  Decoder(const std::filesystem::path& path, const PictureLimits& picture_limits, bool with_alpha)
      : name(path.string()), limits(picture_limits), keep_alpha(with_alpha) {
    open();
  }

  std::optional<Picture> next() override;
  double fps() const override;
  int64_t frame_count() const override { return std::max<int64_t>(stream->nb_frames, 0); }

 private:
  std::string name;
  PictureLimits limits;
  const bool keep_alpha;
  Demuxer demuxer;
  AVStream* stream = nullptr;
  ffmpeg::Codec codec;
  ffmpeg::Scaler scaler;
  ffmpeg::Frame frame{av_frame_alloc()};
  ffmpeg::Packet packet{av_packet_alloc()};
  int orientation = 1;
  int64_t frames = 0;
  bool draining = false;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("cannot read '{}': {}", name, what));
  }
  void open();
  void feed();
  Picture convert();
};

void Decoder::open() {
  // "file:" keeps names such as "http:a" or "concat:b" what they are; nothing but local files is opened.
  AVDictionary* options = nullptr;
  av_dict_set(&options, "protocol_whitelist", "file", 0);
  int result = avformat_open_input(&demuxer.context, ("file:" + name).c_str(), nullptr, &options);
  av_dict_free(&options);
  if (result < 0) fail(fmt::format("it is not a video that FFmpeg reads ({})", ffmpeg::message(result)));
  result = avformat_find_stream_info(demuxer.context, nullptr);
  if (result < 0) fail(fmt::format("its streams cannot be made out ({})", ffmpeg::message(result)));
  const AVCodec* decoder = nullptr;
  const int index = av_find_best_stream(demuxer.context, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
  if (index == AVERROR_DECODER_NOT_FOUND)
    fail("FFmpeg on this machine has no decoder for it; convert it to H.264");
  if (index < 0) fail("it holds no video");
  stream = demuxer.context->streams[index];
  for (unsigned i = 0; i < demuxer.context->nb_streams; ++i)
    if (static_cast<int>(i) != index) demuxer.context->streams[i]->discard = AVDISCARD_ALL;
  // FFmpeg's own VP8 and VP9 decoders ignore alpha.
  const AVDictionaryEntry* alpha = av_dict_get(stream->metadata, "alpha_mode", nullptr, 0);
  if (keep_alpha && alpha && std::string(alpha->value) == "1") {
    const char* with_alpha = stream->codecpar->codec_id == AV_CODEC_ID_VP8   ? "libvpx"
                             : stream->codecpar->codec_id == AV_CODEC_ID_VP9 ? "libvpx-vp9"
                                                                             : "";
    if (const AVCodec* other = avcodec_find_decoder_by_name(with_alpha)) decoder = other;
  }
  codecs::check_picture_size(stream->codecpar->width, stream->codecpar->height, limits, name);
  orientation = orientation_of(*stream);

  codec.reset(avcodec_alloc_context3(decoder));
  if (!codec || !frame || !packet) fail("out of memory");
  codec->max_pixels = limits.max_pixels;
  codec->thread_count = 0;  // as many as there are processors; decoding gives the same pixels
  if (avcodec_parameters_to_context(codec.get(), stream->codecpar) < 0 ||
      (result = avcodec_open2(codec.get(), decoder, nullptr)) < 0)
    fail(fmt::format("its decoder does not start ({})", ffmpeg::message(result)));
}

void Decoder::feed() {
  int result;
  do {
    av_packet_unref(packet.get());
    result = av_read_frame(demuxer.context, packet.get());
  } while (result >= 0 && packet->stream_index != stream->index);
  if (result < 0 && result != AVERROR_EOF)
    fail(fmt::format("it is damaged after frame {} ({})", frames, ffmpeg::message(result)));
  draining = result == AVERROR_EOF;
  if (!draining && packet->flags & AV_PKT_FLAG_CORRUPT)
    fail(fmt::format("it is truncated after frame {}", frames));
  result = avcodec_send_packet(codec.get(), draining ? nullptr : packet.get());
  if (result < 0 && result != AVERROR_EOF)
    fail(fmt::format("it is damaged after frame {} ({})", frames, ffmpeg::message(result)));
}

Picture Decoder::convert() {
  codecs::check_picture_size(frame->width, frame->height, limits, name);
  const AVPixelFormat format = static_cast<AVPixelFormat>(frame->format);
  const AVPixFmtDescriptor* described = av_pix_fmt_desc_get(format);
  const bool alpha = keep_alpha && described && (described->flags & AV_PIX_FMT_FLAG_ALPHA) != 0;
  const AVPixelFormat wanted = alpha ? AV_PIX_FMT_RGBA : AV_PIX_FMT_RGB24;
  scaler.reset(sws_getCachedContext(
      scaler.release(), frame->width, frame->height, format, frame->width, frame->height, wanted,
      SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT, nullptr, nullptr, nullptr));
  if (!scaler) fail("its pixel format is not supported; convert it to H.264 (yuv420p)");
  int* ignored_table;
  int source_range, target_range, brightness, contrast, saturation;
  sws_getColorspaceDetails(scaler.get(), &ignored_table, &source_range, &ignored_table, &target_range,
                           &brightness, &contrast, &saturation);
  if (frame->color_range != AVCOL_RANGE_UNSPECIFIED) source_range = frame->color_range == AVCOL_RANGE_JPEG;
  const int space =
      frame->colorspace == AVCOL_SPC_UNSPECIFIED ? SWS_CS_DEFAULT : static_cast<int>(frame->colorspace);
  sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(space), source_range,
                           sws_getCoefficients(SWS_CS_DEFAULT), 1, brightness, contrast, saturation);
  // swscale writes past the ends of rows: into a buffer of FFmpeg's, then out of it.
  const ffmpeg::Frame rgb = ffmpeg::new_frame(frame->width, frame->height, wanted);
  if (!rgb) fail("out of memory");
  if (sws_scale(scaler.get(), frame->data, frame->linesize, 0, frame->height, rgb->data, rgb->linesize) !=
      frame->height)
    fail(fmt::format("frame {} cannot be converted to RGB", frames));
  Picture picture(frame->width, frame->height, alpha ? 4 : 3);
  const size_t row = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.channels);
  for (int y = 0; y < picture.height; ++y)
    std::memcpy(&picture.data[y * row], rgb->data[0] + static_cast<ptrdiff_t>(y) * rgb->linesize[0], row);
  return codecs::turn_upright(std::move(picture), orientation);
}

std::optional<Picture> Decoder::next() {
  for (;;) {
    const int result = avcodec_receive_frame(codec.get(), frame.get());
    if (result == AVERROR(EAGAIN) && !draining) {
      feed();
      continue;
    }
    if (result == AVERROR_EOF || result == AVERROR(EAGAIN)) {
      if (frames == 0) fail("its video has no frames");
      return std::nullopt;
    }
    if (result < 0) fail(fmt::format("it is damaged after frame {} ({})", frames, ffmpeg::message(result)));
    Picture picture = convert();
    ++frames;
    return picture;
  }
}

double Decoder::fps() const {
  const AVRational rate = av_guess_frame_rate(demuxer.context, stream, nullptr);
  return rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
}

}  // namespace

std::unique_ptr<VideoDecoder> ffmpeg::decode(const std::filesystem::path& path, const PictureLimits& limits,
                                             bool keep_alpha) {
  if (MappedFile(path).bytes().empty())
    throw Error(fmt::format("cannot read '{}': the file is empty", path.string()));
  silence();
  return std::make_unique<Decoder>(path, limits, keep_alpha);
}

}  // namespace eg4d
