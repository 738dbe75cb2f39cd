#include "view/viewer_page.h"

#include <fmt/format.h>

#include <cstdlib>

#include "core/error.h"
#include "io/html.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

// Both stand in viewer/index.html.
constexpr std::string_view kDataMark = "<!--eg4d-object-->";
constexpr std::string_view kPolicyMark = "http-equiv=\"Content-Security-Policy\" content=\"";

fs::path page_file() {
  if (const char* named = std::getenv("EG4D_VIEWER_PAGE"); named && *named) return named;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place :
       {"viewer/viewer.html", "../viewer/viewer.html", "../share/eg4d/viewer/viewer.html"})
    if (const fs::path file = (program / place).lexically_normal(); fs::is_regular_file(file, error))
      return file;
  throw Error(
      "the viewer's page was not built with this program: it needs Node.js 18 or newer with npm (Debian: "
      "apt-get install npm) when the program is built; build again, or name the file by EG4D_VIEWER_PAGE");
}

// `<` would end a script element early.
std::string inside_script(const std::string& json) {
  std::string safe;
  for (const char c : json)
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  return safe;
}

}  // namespace

ViewerPage ViewerPage::load() {
  const fs::path file = page_file();
  const MappedFile mapped(file);
  try {
    return ViewerPage({reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()});
  } catch (const Error& error) {
    throw Error(fmt::format("'{}': {}", file.string(), error.what()));
  }
}

ViewerPage::ViewerPage(std::string html) : html_(std::move(html)) {
  const size_t policy = html_.find(kPolicyMark);
  data_place_ = html_.find(kDataMark);
  if (policy == std::string::npos || data_place_ == std::string::npos)
    throw Error("this is not the viewer's page, or one of another version");
  const size_t begin = policy + kPolicyMark.size();
  policy_ = html_.substr(begin, html_.find('"', begin) - begin);
}

std::string ViewerPage::with_object(const std::string& info, Bytes scene) const {
  std::string page = html_.substr(0, data_place_);
  page += "<script type=\"application/json\" id=\"eg4d-info\">" + inside_script(info) + "</script>\n";
  page += "<script type=\"application/octet-stream\" id=\"eg4d-scene\">";
  page += html::base64(scene);
  page += "</script>\n";
  return page.append(html_, data_place_ + kDataMark.size(), std::string::npos);
}

}  // namespace eg4d
