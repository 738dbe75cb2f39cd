#include "support/places.h"

#include "core/error.h"
#include "core/shared_library.h"
#include "io/video_library.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

// The bundle's folder; empty outside one.
fs::path bundle() {
  std::error_code error;
  const fs::path root = fs::read_symlink("/proc/self/exe", error).parent_path().parent_path();
  return !error && fs::exists(root / "MANIFEST.txt") ? root : fs::path();
}

fs::path place(const char* in_bundle, const char* built) {
  static const fs::path root = bundle();
  return root.empty() ? fs::path(built) : root / in_bundle;
}

}  // namespace

fs::path test_data() {
  return place("tests/data", EG4D_TEST_DATA);
}
fs::path examples() {
  return place("examples", EG4D_EXAMPLES);
}
fs::path docs() {
  return place("docs", EG4D_DOCS);
}
fs::path eg4d_program() {
  return place("bin/eg4d", EG4D_PROGRAM);
}
fs::path stub_libraries() {
  return place("lib/stubs", EG4D_STUBS);
}

std::string missing_video() {
  try {
    load_function("eg4d_video", EG4D_VIDEO_LIBRARY_NAME, "this test needs videos");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace eg4d::test
