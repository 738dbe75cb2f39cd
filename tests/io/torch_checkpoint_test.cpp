#include "io/torch_checkpoint.h"

#include <gtest/gtest.h>
#include <zip.h>

#include <cstdlib>
#include <cstring>

#include "io/unpickler.h"
#include "io/zip_writer.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::TemporaryFolder;
using namespace std::string_literals;

const std::filesystem::path kData = test::test_data() / "io";

// A storage of eight floats 0, 1, 2, … under the key "0".
std::shared_ptr<const std::byte> eight_floats(const std::string& key, uint64_t bytes) {
  if (key != "0" || bytes != 32) throw Error("no such storage");
  std::vector<float> values(8);
  for (size_t i = 0; i < 8; ++i) values[i] = static_cast<float>(i);
  return TorchTensor::from<float>({8}, values).data;
}

TorchValue run(const std::string& pickle, const TorchLimits& limits = {}) {
  return unpickle(std::as_bytes(std::span(pickle)), "a.pth", eight_floats, limits);
}

std::string error_of_pickle(const std::string& pickle, const TorchLimits& limits = {}) {
  return test::error_of([&] { run(pickle, limits); });
}

const std::string kStorage =
    "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
    "0X\3\0\0\0cpuK\x08tQ"s;

// A tensor of the eight floats; the arguments are pickled.
std::string tensor_pickle(const std::string& offset, const std::string& shape, const std::string& strides) {
  return "\x80\2ctorch._utils\n_rebuild_tensor_v2\n("s + kStorage + offset + shape + strides +
         "\x89"
         "ccollections\nOrderedDict\n)RtR.";
}

std::string text_pickle(const std::string& text) {
  return "X" + std::string(1, static_cast<char>(text.size())) + "\0\0\0"s + text;
}

class TorchCheckpointFile : public testing::TestWithParam<const char*> {};

// check_torch_load.py tells how the files came about.
TEST_P(TorchCheckpointFile, ReadsNestedContainersAsTorchSavesThem) {
  const TorchValue value = read_torch_checkpoint(kData / GetParam());
  ASSERT_EQ(value.items().size(), 2u);
  EXPECT_EQ(value.items()[1].integer(), 14000);
  const auto& captured = value.items()[0].items();
  ASSERT_EQ(captured.size(), 8u);
  EXPECT_EQ(captured[0].integer(), 3);
  EXPECT_EQ(captured[1].tensor().floats(), std::vector<float>(6, 1));
  EXPECT_EQ(captured[1].tensor().shape, (Shape{2, 3}));

  const TorchValue& state = captured[2];
  EXPECT_EQ(state.entries().size(), 8u);
  EXPECT_EQ(state.at("weight").tensor().floats(), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  const std::vector<std::tuple<const char*, DType, std::vector<float>>> expected = {
      {"half", DType::f16, {1.5f, -2}}, {"brain", DType::bf16, {1.5f, -2}}, {"double", DType::f64, {0.1f}},
      {"long", DType::i64, {-0x1p40f}}, {"int", DType::i32, {-7}},          {"byte", DType::u8, {200}},
      {"bool", DType::boolean, {1, 0}}};
  for (const auto& [name, dtype, values] : expected) {
    EXPECT_EQ(state.at(name).tensor().dtype, dtype) << name;
    EXPECT_EQ(state.at(name).tensor().floats(), values) << name;
  }

  const TorchValue& views = captured[3];
  EXPECT_EQ(views.at("transposed").tensor().shape, (Shape{4, 3}));
  EXPECT_EQ(views.at("transposed").tensor().floats(),
            (std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  EXPECT_EQ(views.at("tail").tensor().floats(), (std::vector<float>{10, 11}));
  EXPECT_EQ(views.at("every_other").tensor().floats(), (std::vector<float>{1, 3, 5, 7, 9, 11}));
  EXPECT_EQ(views.at("expanded").tensor().floats(), std::vector<float>(5, 3));
  EXPECT_EQ(views.at("empty").tensor().shape, (Shape{0, 3}));
  EXPECT_EQ(views.at("scalar").tensor().shape, Shape{});
  EXPECT_EQ(views.at("scalar").tensor().floats(), std::vector<float>{7});

  EXPECT_EQ(captured[4].items()[1].integer(), 3);
  const auto& states = captured[5].at("state").entries();
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0].first.integer(), 0);
  EXPECT_EQ(states[0].second.at("step").tensor().floats(), std::vector<float>{7});
  const TorchValue& group = captured[5].at("param_groups").items()[0];
  EXPECT_EQ(group.at("lr").real(), 0.00016);
  EXPECT_EQ(group.at("betas").items()[1].real(), 0.999);
  EXPECT_FALSE(group.at("amsgrad").boolean());
  EXPECT_TRUE(group.at("foreach").is_none());
  EXPECT_EQ(group.at("name").text(), "xyz");
  const auto& numbers = captured[6].items();
  EXPECT_EQ(numbers[0].real(), 0.5);
  EXPECT_EQ(numbers[1].integer(), -3);
  EXPECT_TRUE(numbers[2].boolean());
  EXPECT_EQ(numbers[3].integer(), int64_t{1} << 40);
  EXPECT_EQ(numbers[4].integer(), -1);
  EXPECT_EQ(numbers[5].integer(), 300);
  EXPECT_EQ(numbers[6].integer(), 70000);
  EXPECT_EQ(numbers[7].text(), "é");
  EXPECT_EQ(captured[7].real(), 4.4);
}

INSTANTIATE_TEST_SUITE_P(All, TorchCheckpointFile,
                         testing::Values("like_torch.pth", "saved_by_torch.pth", "old_format.pth"),
                         [](const auto& info) { return std::filesystem::path(info.param).stem().string(); });

TEST(TorchCheckpoint, OldFormatDamagedAnywhereIsAnError) {
  std::string file = test::read_text(kData / "old_format.pth");
  for (size_t size = 15; size < file.size(); size += 7)
    EXPECT_THROW(decode_torch_checkpoint(std::as_bytes(std::span(file)).first(size), "cut.pth"), Error)
        << size;
  const auto decode = [&] { decode_torch_checkpoint(std::as_bytes(std::span(file)), "a.pth"); };
  EXPECT_ERROR(decode_torch_checkpoint(std::as_bytes(std::span(file)), "a.pth", {.max_bytes = 10}),
               "its tensors take more than 10 bytes");
  const size_t number = file.find("M\xe9\3.");
  file[number + 1] = 0;
  EXPECT_ERROR(decode(), "its format is of another number than 1001");
  file[number + 1] = '\xe9';
  file[file.find("little_endianq") + 15] = '\x89';
  EXPECT_ERROR(decode(), "its tensors are big-endian");
}

TorchValue written_value() {
  const std::vector<uint16_t> half = {0x3e00, 0xc000}, brain = {0x3fc0, 0xc000};
  const uint8_t flags[] = {1, 0};
  TorchValue::Dict nested;
  nested.entries = {{"list", TorchValue::List{{1, 300, 70000, -5, int64_t{1} << 40, 0.5, true, {}, "é"}}},
                    {"tuple", TorchValue::Tuple{{1, "a"}}},
                    {7, TorchValue::Dict{}},
                    {"none", TorchValue::List{}}};
  TorchValue::Dict dict;
  dict.entries = {{"weight", TorchTensor::from<float>({2, 3}, {0, 0.25f, 0.5f, 0.75f, 1, 1.25f})},
                  {"half", TorchTensor::from_bytes(DType::f16, {2}, half.data())},
                  {"brain", TorchTensor::from_bytes(DType::bf16, {2}, brain.data())},
                  {"double", TorchTensor::from<double>({1}, {0.1})},
                  {"long", TorchTensor::from<int64_t>({1}, {-(int64_t{1} << 40)})},
                  {"int", TorchTensor::from<int32_t>({1}, {-7})},
                  {"byte", TorchTensor::from<uint8_t>({1}, {200})},
                  {"bool", TorchTensor::from_bytes(DType::boolean, {2}, flags)},
                  {"empty", TorchTensor{DType::f32, {0, 3}, nullptr}},
                  {"scalar", TorchTensor::from<float>({}, {7})},
                  {"nested", nested}};
  return dict;
}

// check_torch_load.py lets PyTorch read tests/data/io/written_by_eg4d.pth; what we write must stay that file,
// byte by byte. EG4D_UPDATE_FIXTURES=1 writes it anew.
TEST(TorchCheckpoint, WritesTheFileThatIsCheckedWithPyTorch) {
  const auto fixture = kData / "written_by_eg4d.pth";
  if (std::getenv("EG4D_UPDATE_FIXTURES")) write_torch_checkpoint(fixture, written_value());
  TemporaryFolder folder;
  write_torch_checkpoint(folder / "a.pth", written_value());
  EXPECT_EQ(test::read_text(folder / "a.pth"), test::read_text(fixture));
}

TEST(TorchCheckpoint, RoundTrip) {
  TemporaryFolder folder;
  write_torch_checkpoint(folder / "a.pth", written_value());
  const TorchValue value = read_torch_checkpoint(folder / "a.pth"), wanted = written_value();
  ASSERT_EQ(value.entries().size(), wanted.entries().size());
  for (const auto& [key, found] : value.entries()) {
    const TorchTensor* tensor = found.get_if<TorchTensor>();
    if (!tensor) continue;
    const TorchTensor& other = wanted.at(key.text()).tensor();
    EXPECT_EQ(tensor->dtype, other.dtype);
    EXPECT_EQ(tensor->shape, other.shape);
    EXPECT_EQ(tensor->floats(), other.floats());
  }
  EXPECT_EQ(value.at("nested").at("list").items()[4].integer(), int64_t{1} << 40);
  EXPECT_EQ(value.at("nested").entries()[2].first.integer(), 7);
  write_torch_checkpoint(folder / "tensor.pth", TorchTensor::from<float>({1}, {5}));
  EXPECT_EQ(read_torch_checkpoint(folder / "tensor.pth").tensor().floats(), std::vector<float>{5});
}

TEST(TorchCheckpoint, RecordsBeginAtMultiplesOf64) {
  TemporaryFolder folder;
  write_torch_checkpoint(folder / "a.pth", written_value());
  const std::string file = test::read_text(folder / "a.pth");
  int records = 0;
  for (size_t at = 0; file.compare(at, 4, "PK\3\4") == 0; ++records) {
    uint32_t bytes;
    uint16_t name, extra;
    std::memcpy(&bytes, &file[at + 18], 4);
    std::memcpy(&name, &file[at + 26], 2);
    std::memcpy(&extra, &file[at + 28], 2);
    const size_t data = at + 30 + name + extra;
    EXPECT_EQ(data % 64, 0u);
    at = data + bytes;
  }
  EXPECT_EQ(records, 13);
}

TEST(TorchCheckpoint, WritingIsAtomic) {
  TemporaryFolder folder;
  {
    const test::FullDisk disk(1000);
    EXPECT_ERROR(write_torch_checkpoint(folder / "a.pth", written_value()), "cannot write");
  }
  EXPECT_EQ(folder.file_count(), 0u);
  EXPECT_ERROR(write_torch_checkpoint("/dev/full", written_value()), "No space left on device");
}

TEST(TorchCheckpoint, AccessorsSayWhatWasFound) {
  EXPECT_EQ(test::error_of([] { TorchValue("a").tensor(); }),
            "the checkpoint holds a str where a tensor belongs");
  EXPECT_EQ(test::error_of([] { TorchValue(1).items(); }),
            "the checkpoint holds a int where a list or tuple belongs");
  EXPECT_EQ(test::error_of([] { TorchValue(TorchValue::Dict{}).at("x"); }),
            "the checkpoint has no entry 'x'");
  EXPECT_EQ(TorchValue(3).real(), 3);
}

TEST(Unpickler, EveryOtherNameIsRefused) {
  EXPECT_EQ(error_of_pickle("\x80\2cos\nsystem\n"s + text_pickle("true") + "\x85R."),
            "cannot read 'a.pth': refused: the file would run 'os.system'; only tensors, numbers, text and "
            "plain containers "
            "are read");
  EXPECT_EQ(error_of_pickle("\x80\4" + text_pickle("posix") + text_pickle("system") + "\x93."),
            "cannot read 'a.pth': refused: the file would run 'posix.system'; only tensors, numbers, text "
            "and plain "
            "containers are read");
  for (const char* name :
       {"builtins\neval\n", "__builtin__\nexec\n", "torch\nload\n", "torch._utils\n_rebuild_tensor_v3\n",
        "torch.storage\n_load_from_bytes\n", "collections\nOrderedDict.fromkeys\n"})
    EXPECT_TRUE(test::contains(error_of_pickle("c"s + name + "."), "refused: the file would run '")) << name;
  EXPECT_TRUE(test::contains(error_of_pickle("ctorch\nComplexFloatStorage\n."),
                             "its tensors are of a type that is not supported (torch.ComplexFloatStorage)"));
  EXPECT_TRUE(test::contains(error_of_pickle("cos\nsys\x1b[2J\n."), "'os.sys?[2J'"));
  EXPECT_TRUE(test::contains(error_of_pickle("ctorch\nFloatStorage\n."),
                             "refused: it holds the name 'torch.FloatStorage'"));
  EXPECT_TRUE(test::contains(error_of_pickle("ccollections\nOrderedDict\n)\x81."), "an instruction (0x81)"));
  EXPECT_TRUE(test::contains(error_of_pickle("(ios\nsystem\n."), "an instruction (0x69)"));
}

TEST(Unpickler, TensorsStayWithinTheirStorage) {
  EXPECT_EQ(run(tensor_pickle("K\2", "K\2K\3\x86", "K\3K\1\x86")).tensor().floats(),
            (std::vector<float>{2, 3, 4, 5, 6, 7}));
  const char* const kBeyond = "reaches beyond its storage of 32 bytes";
  EXPECT_TRUE(test::contains(error_of_pickle(tensor_pickle("K\3", "K\2K\3\x86", "K\3K\1\x86")), kBeyond));
  EXPECT_TRUE(test::contains(error_of_pickle(tensor_pickle("K\x08", ")", ")")), kBeyond));
  EXPECT_TRUE(test::contains(error_of_pickle(tensor_pickle("K\0"s, "K\2K\2\x86", "J\xff\xff\xff\x7fK\1\x86")),
                             kBeyond));
  const std::string huge = "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
  EXPECT_TRUE(test::contains(error_of_pickle(tensor_pickle("K\0"s, "K\3\x85", huge + "\x85")), kBeyond));
  EXPECT_TRUE(test::contains(error_of_pickle(tensor_pickle(huge, "K\3\x85", "K\1\x85")), kBeyond));
  EXPECT_TRUE(test::contains(error_of_pickle(tensor_pickle("K\0"s, huge + huge + "\x86", "K\0K\0\x86"s)),
                             "impossible shape"));
  EXPECT_TRUE(
      test::contains(error_of_pickle(tensor_pickle("K\0"s, huge + huge + "K\0\x87"s, "K\0K\0K\0\x87"s)),
                     "impossible shape"));
  EXPECT_TRUE(
      test::contains(error_of_pickle(tensor_pickle("K\0"s, "K\3\x85", "K\1K\1\x86")), "impossible shape"));
  EXPECT_TRUE(test::contains(error_of_pickle(tensor_pickle("K\0"s, "J\xff\xff\xff\xff\x85", "K\1\x85")),
                             "negative size"));
  // A huge stride of an axis of one element is harmless.
  EXPECT_EQ(run(tensor_pickle("K\0"s, "K\1K\2\x86", huge + "K\4\x86")).tensor().floats(),
            (std::vector<float>{0, 4}));
}

TEST(Unpickler, BareStoragesAreTensors) {
  for (const char* name : {"torch.storage\nUntypedStorage\n", "torch\nUntypedStorage\n"}) {
    const std::string pickle =
        "("s + text_pickle("storage") + "c" + name + text_pickle("0") + text_pickle("cuda:0") + "K\x20tQ.";
    const TorchValue value = run(pickle);
    EXPECT_EQ(value.tensor().dtype, DType::u8);
    EXPECT_EQ(value.tensor().shape, Shape{32});
  }
}

TEST(Unpickler, BytesOfProtocol2AreText) {
  const std::string pickle =
      "c_codecs\nencode\n" + text_pickle("a\xc2\x80\xc3\xbf") + text_pickle("latin1") + "\x86R.";
  EXPECT_EQ(run(pickle).text(), "a\x80\xff");
  EXPECT_TRUE(test::contains(
      error_of_pickle("c_codecs\nencode\n" + text_pickle("\xc4\x80") + text_pickle("latin1") + "\x86R."),
      "not Latin-1"));
}

TEST(Unpickler, ExpandedTensorsAreBounded) {
  const std::string million = tensor_pickle("K\0"s, "J\x40\x42\x0f\0\x85"s, "K\0\x85"s);
  EXPECT_EQ(run(million).tensor().shape, Shape{1'000'000});
  EXPECT_TRUE(test::contains(error_of_pickle(million, {.max_bytes = 3'999'999}),
                             "its tensors take more than 3999999 bytes"));
  const std::string huge = tensor_pickle("K\0"s, "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "K\0\x85"s);
  EXPECT_TRUE(test::contains(error_of_pickle(huge), "its tensors take more than"));
}

TEST(Unpickler, SharedAndRecursiveContainersAreBounded) {
  // l0 = []; l1 = [l0, l0]; l2 = [l1, l1]; …: 2^60 lists when written out.
  std::string laughs = "]q\0"s;
  for (int i = 1; i <= 60; ++i) {
    const std::string before(1, static_cast<char>(i - 1)), self(1, static_cast<char>(i));
    laughs += "]q" + self + "(h" + before + "h" + before + "e";
  }
  EXPECT_TRUE(test::contains(error_of_pickle(laughs + "."), "it holds more than 2000000 values"));
  EXPECT_TRUE(test::contains(error_of_pickle("]q\0h\0a."s), "nested more than 64 deep"));
  EXPECT_TRUE(test::contains(error_of_pickle(std::string(100'000, '(') + std::string(100'000, 't') + "."),
                             "nested more than 64 deep"));
  EXPECT_TRUE(
      test::contains(error_of_pickle(std::string(3'000'000, ']')), "it holds more than 2000000 values"));
}

TEST(Unpickler, DamageIsAnError) {
  for (const std::string& pickle : {""s,
                                    "."s,
                                    "K"s,
                                    "K\1"s,
                                    "0."s,
                                    "("s,
                                    "t."s,
                                    "a."s,
                                    "Na."s,
                                    "NNs."s,
                                    "h\5."s,
                                    "\x80\6N."s,
                                    "NR."s,
                                    ")R."s,
                                    "NQ."s,
                                    "(K\1u."s,
                                    "}(K\1u."s,
                                    "X\xff\xff\xff\xff"s,
                                    "\x8a\x09\1\1\1\1\1\1\1\1\1."s,
                                    "cos"s,
                                    "NNb."s,
                                    "\x8e\xff\xff\xff\xff\xff\xff\xff\xff"s})
    EXPECT_TRUE(test::contains(error_of_pickle(pickle), "cannot read 'a.pth': ")) << pickle;
  const std::string pickle = tensor_pickle("K\0"s, "K\3\x85", "K\1\x85");
  for (size_t size = 0; size < pickle.size(); ++size)
    EXPECT_TRUE(test::contains(error_of_pickle(pickle.substr(0, size)), "cannot read 'a.pth': ")) << size;
}

TEST(Unpickler, NumbersOfOtherByteOrderAreRefused) {
  const std::string type = "cnumpy\ndtype\n" + text_pickle("f4") + "\x85R";
  const std::string build = "(K\3" + text_pickle(">") + "tb";
  EXPECT_TRUE(test::contains(error_of_pickle(type + build + "."), "not little-endian"));
  EXPECT_TRUE(test::contains(
      error_of_pickle("cnumpy.core.multiarray\nscalar\n" + type + text_pickle("ab") + "\x86R."),
      "a NumPy number of the unsupported type 'f4'"));
}

TEST(TorchCheckpoint, BadFilesAreNamed) {
  TemporaryFolder folder;
  EXPECT_ERROR(read_torch_checkpoint(folder / "missing.pth"), "missing.pth': No such file or directory");
  EXPECT_ERROR(read_torch_checkpoint(folder.path()), "it is a directory");
  test::write_text(folder / "empty.pth", "");
  EXPECT_ERROR(read_torch_checkpoint(folder / "empty.pth"), "empty.pth': it is not a PyTorch checkpoint");
  ZipWriter other(folder / "other.zip");
  other.add("a/b", "c");
  other.commit();
  EXPECT_ERROR(read_torch_checkpoint(folder / "other.zip"), "it is a zip archive without data.pkl");
}

TEST(TorchCheckpoint, DamagedArchivesAreErrors) {
  TemporaryFolder folder;
  write_torch_checkpoint(folder / "a.pth", written_value());
  const std::string file = test::read_text(folder / "a.pth");
  for (size_t size = 2; size < file.size(); size += 61)
    EXPECT_ERROR(decode_torch_checkpoint(std::as_bytes(std::span(file)).first(size), "cut.pth"),
                 "cannot read 'cut.pth': ");
  std::string damaged = file;
  damaged[file.find("archive/data/0") + 40] ^= 1;  // padding or content: found by the CRC when it is content
  const size_t content = (file.find("archive/data/0") + 64) / 64 * 64;
  damaged[content + 5] ^= 1;
  EXPECT_ERROR(decode_torch_checkpoint(std::as_bytes(std::span(damaged)), "a.pth"),
               "its record 'data/0' is damaged");
}

TEST(TorchCheckpoint, RecordsMustBeThereAndOfTheirSize) {
  TemporaryFolder folder;
  auto write = [&](const char* name, const std::string& storage, const char* byte_order) {
    ZipWriter zip(folder / name);
    zip.add("x/data.pkl", tensor_pickle("K\0"s, "K\3\x85", "K\1\x85"));
    if (byte_order) zip.add("x/byteorder", byte_order);
    if (!storage.empty()) zip.add("x/data/0", storage);
    zip.commit();
    return folder / name;
  };
  EXPECT_ERROR(read_torch_checkpoint(write("a", "", nullptr)), "its record 'data/0' is missing");
  EXPECT_ERROR(read_torch_checkpoint(write("b", "1234", nullptr)),
               "its record 'data/0' has 4 bytes instead of 32");
  EXPECT_ERROR(read_torch_checkpoint(write("c", std::string(32, '\0'), "big")), "its tensors are big-endian");
  EXPECT_EQ(read_torch_checkpoint(write("d", std::string(32, '\0'), nullptr)).tensor().floats(),
            std::vector<float>(3));
  EXPECT_ERROR(read_torch_checkpoint(folder / "d", {.max_bytes = 100}), "is larger than allowed");
}

}  // namespace
}  // namespace eg4d
