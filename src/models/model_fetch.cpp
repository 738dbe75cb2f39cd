#include "models/model_fetch.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/download.h"
#include "io/safetensors.h"
#include "models/model_check.h"
#include "models/model_store.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path token_file() {
  if (const std::string path = environment("HF_TOKEN_PATH"); !path.empty()) return path;
  return hugging_face_home() / "token";
}

std::string endpoint() {
  std::string address = environment("HF_ENDPOINT");
  if (address.empty()) address = "https://huggingface.co";
  while (address.ends_with('/')) address.pop_back();
  return address;
}

// What the hub's refusal means for the user.
std::string explain(const ModelEntry& entry, const HttpError& error, bool has_token) {
  switch (error.status()) {
    case 401:
      return fmt::format(
          "the hub does not let you at {}: {}. {}", entry.repository,
          has_token ? "it does not know your token (is it revoked or mistyped?)" : "it needs a token",
          gated_access_help(entry));
    case 403:
      return fmt::format("the hub does not let you at {}: your account has not been given access. {}",
                         entry.repository, gated_access_help(entry));
    case 404:
      return fmt::format("{} is not (or no longer) in {}; if you have the file, give it with --model FILE",
                         entry.file, entry.repository);
    default:
      return error.what();
  }
}

}  // namespace

std::string hugging_face_token() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (const std::string token = environment(name); !token.empty()) return token;
  std::string token;
  std::ifstream(token_file()) >> token;
  return token;
}

std::string gated_access_help(const ModelEntry& entry) {
  return fmt::format(
      "Accept the {} on https://huggingface.co/{} with your account, make a read token on "
      "https://huggingface.co/settings/tokens, and put it into the environment variable HF_TOKEN or the file "
      "{}",
      entry.license, entry.repository, token_file().string());
}

namespace {

// What is wrong with it; empty when nothing is. Throws UnreadableFile when that cannot be told.
std::string problem_of(const ModelEntry& entry, const fs::path& file, const std::string& sha256,
                       Progress& progress) {
  // torchvision's files bear the beginning of their SHA-256 in their names.
  if (entry.kind == ModelKind::lpips_backbone) {
    const std::string stem = file.stem().string(), beginning = stem.substr(stem.rfind('-') + 1);
    if (!sha256.starts_with(beginning))
      return fmt::format("its SHA-256 is {} and should begin with {}", sha256, beginning);
  }
  if (is_single_file(entry.kind)) {
    const ModelCheck check = check_model(entry, {file, false, {}}, false, progress);
    if (check.unreadable) throw UnreadableFile(check.problem);
    return check.problem;
  }
  try {
    const SafetensorsFile readable(file);
  } catch (const UnreadableFile&) {
    throw;
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

fs::path with_suffix(fs::path path, const char* suffix) {
  path += suffix;
  return path;
}

// Gigabytes are never thrown away: the user may know better what they are.
void reject(const std::string& url, const fs::path& file, const std::string& problem) {
  const fs::path rejected = with_suffix(file, ".rejected");
  std::error_code error;
  fs::remove(with_suffix(file, ".sha256"), error);
  fs::rename(file, rejected, error);
  throw Error(fmt::format("what {} sent is no model file: {}; it is kept as {}", url, problem,
                          error ? file.string() : rejected.string()));
}

}  // namespace

fs::path fetch_model(const ModelEntry& entry, const fs::path& folder, Progress& progress) {
  const fs::path destination = folder / entry.file;
  const std::string token = hugging_face_token();
  const bool hub = !entry.repository.empty();
  DownloadRequest request{.url = hub ? fmt::format("{}/{}/resolve/main/{}", endpoint(), entry.repository,
                                                   entry.source.empty() ? entry.file : entry.source)
                                     : entry.source,
                          .destination = destination,
                          .token = hub ? token : "",
                          .label = entry.file};
  DownloadResult result;
  try {
    result = download(request, progress);
  } catch (const HttpError& error) {
    if (!hub) throw;
    throw Error(explain(entry, error, !token.empty()));
  }
  write_file_atomically(with_suffix(destination, ".sha256"),
                        fmt::format("{}  {}\n", result.sha256, entry.file));
  try {
    const std::string problem = problem_of(entry, destination, result.sha256, progress);
    if (!problem.empty()) reject(request.url, destination, problem);
  } catch (const UnreadableFile& error) {
    throw Error(
        fmt::format("{} was downloaded but could not be checked: {}; \"eg4d models check {}\" does it again",
                    destination.string(), error.what(), entry.name));
  }
  return destination;
}

}  // namespace eg4d
