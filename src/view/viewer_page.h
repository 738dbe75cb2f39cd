#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "io/mapped_file.h"

namespace eg4d {

// The page of the viewer, which `npm run build` makes of viewer/: one file of HTML that loads nothing.
class ViewerPage {
 public:
  // The file that $EG4D_VIEWER_PAGE names, or that was built or installed with this program. Throws Error
  // that says what is missing.
  static ViewerPage load();
  // Throws Error when the text is no such page.
  explicit ViewerPage(std::string html);

  const std::string& html() const { return html_; }
  // The Content-Security-Policy that stands in it.
  const std::string& policy() const { return policy_; }
  // The page with an object inside it: `info` is JSON, `scene` a scene file (view/scene_file.h).
  std::string with_object(const std::string& info, Bytes scene) const;

 private:
  std::string html_, policy_;
  size_t data_place_ = 0;  // where the object goes
};

}  // namespace eg4d
