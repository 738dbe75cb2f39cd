#include "view/viewer_page.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "support/environment.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

constexpr const char* kPage =
    "<head><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; x\"></head><body>before"
    "<!--eg4d-object-->after</body>";

TEST(ViewerPage, KnowsItsPolicyAndTakesAnObject) {
  const ViewerPage page(kPage);
  EXPECT_EQ(page.policy(), "default-src 'none'; x");
  const std::string scene = "Ma";
  const std::string with = page.with_object("{\"title\":\"</script>\"}", std::as_bytes(std::span(scene)));
  EXPECT_TRUE(test::contains(with, "before<script type=\"application/json\" id=\"eg4d-info\">"));
  EXPECT_TRUE(test::contains(with, "{\"title\":\"\\u003c/script>\"}</script>")) << with;
  EXPECT_TRUE(test::contains(with, "id=\"eg4d-scene\">TWE=</script>\nafter"));
}

TEST(ViewerPage, AnotherPageIsRefused) {
  EXPECT_ERROR(ViewerPage("<html></html>"), "not the viewer's page");
}

TEST(ViewerPage, TheFileIsNamedByTheEnvironment) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.html", kPage);
  test::write_text(folder / "other.html", "<p>");
  {
    const test::WithEnvironment set("EG4D_VIEWER_PAGE", (folder / "page.html").string());
    EXPECT_EQ(ViewerPage::load().html(), kPage);
  }
  const test::WithEnvironment set("EG4D_VIEWER_PAGE", (folder / "other.html").string());
  EXPECT_ERROR(ViewerPage::load(), "other.html': this is not the viewer's page");
}

}  // namespace
}  // namespace eg4d
