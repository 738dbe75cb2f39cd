#include "support/hashed_weights.h"

#include <cstring>

#include "core/half.h"
#include "support/golden.h"
#include "support/tar.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRule = ".hash.json";

nlohmann::json read_json(const fs::path& path) {
  return nlohmann::json::parse(stored_text(path));
}

template <class T>
std::shared_ptr<const std::byte> bytes_of(std::vector<T> values) {
  const auto owner = std::make_shared<std::vector<T>>(std::move(values));
  return {owner, reinterpret_cast<const std::byte*>(owner->data())};
}

void write_weights(const fs::path& file, const WeightMap& weights) {
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, item] : weights.items())
    tensors.push_back({name, item.parts.at(0)->dtype, item.shape, item.parts.at(0)->data});
  write_safetensors(file, tensors);
}

}  // namespace

WeightMap hashed_weights(const nlohmann::json& rule) {
  WeightMap weights;
  weights.set_path("hash");
  const bool half = rule.value("dtype", "F32") == "F16";
  for (const auto& [name, how] : rule.at("hash").items()) {
    const Shape shape = how.at("shape").get<Shape>();
    std::vector<float> values = hash_tensor(how.at("k"), static_cast<size_t>(element_count(shape)),
                                            how.at("s"), how.value("add", 0.0f));
    if (half) {
      std::vector<uint16_t> rounded(values.size());
      for (size_t i = 0; i < values.size(); ++i) rounded[i] = float_to_half(values[i]);
      weights.add_tensor(name, DType::f16, shape, bytes_of(std::move(rounded)));
    } else {
      weights.add_tensor(name, DType::f32, shape, bytes_of(std::move(values)));
    }
  }
  return weights;
}

WeightMap hashed_weights(const fs::path& rule_file) {
  return hashed_weights(read_json(rule_file));
}

WeightMap fixture_weights(const fs::path& folder) {
  const std::string file = read_json(folder / "config.json").value("weights", "weights.safetensors");
  return file.ends_with(kRule) ? hashed_weights(folder / file) : WeightMap(folder / file);
}

void copy_model_folder(const fs::path& from, const fs::path& to) {
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    fs::path source = entry.path();
    if (source.string().ends_with(std::string(kRule) + ".gz")) source.replace_extension();
    const fs::path target = to / source.lexically_relative(from);
    const std::string name = target.filename().string();
    if (entry.is_directory()) continue;
    fs::create_directories(target.parent_path());
    if (name.ends_with(kRule))
      write_weights(target.parent_path() / (name.substr(0, name.size() - kRule.size()) + ".safetensors"),
                    hashed_weights(source));
    else
      fs::copy_file(entry.path(), target, fs::copy_options::overwrite_existing);
  }
}

void copy_pipeline(const fs::path& fixture, const fs::path& to) {
  if (fs::exists(fixture / "pipeline.tar"))
    unpack_tar(fixture / "pipeline.tar", to);
  else
    copy_model_folder(fixture / "pipeline", to);
}

}  // namespace eg4d::test
