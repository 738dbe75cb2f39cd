#include "text/unicode.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "text/html_entities.h"

namespace eg4d::test {
namespace {

TEST(Unicode, Utf8ThereAndBack) {
  const std::string text = "a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80";
  EXPECT_EQ(decode_utf8(text, "it"), U"aé中😀");
  EXPECT_EQ(encode_utf8(U"aé中😀"), text);
  EXPECT_EQ(decode_utf8("", "it"), U"");
}

TEST(Unicode, WhatIsNoUtf8IsRefused) {
  for (const char* text :
       {"ab\xE9", "ab\xC0\xAF", "ab\xED\xA0\x80", "ab\xF5\x80\x80\x80", "ab\x80", "ab\xE4\xB8"})
    EXPECT_ERROR(decode_utf8(text, "the prompt"), "the prompt is not UTF-8: byte 3");
}

TEST(Unicode, ComposesAndLowers) {
  EXPECT_EQ(compose(U"e\u0301"), U"é");
  EXPECT_EQ(compatible_form(U'ﬁ'), U"fi");
  EXPECT_EQ(compatible_form(U'Ａ'), U"A");
  EXPECT_EQ(lower_case(U"ÀΩЖ", false), U"àωж");
  EXPECT_EQ(lower_case(U"\u0130I", false), U"i\u0307i");
  EXPECT_EQ(lower_case(U"ΟΔΟΣ ΣΑΣ'Α", true), U"οδος σασ'α");
  EXPECT_EQ(lower_case(U"ΟΔΟΣ Σ", true), U"οδος σ");
  EXPECT_EQ(lower_case(U"ΟΔΟΣ", false), U"οδοσ");
}

TEST(Unicode, Classes) {
  EXPECT_TRUE(is_letter(U'é') && is_letter(U'中') && !is_letter(U'1') && !is_letter(U'\u0301'));
  EXPECT_TRUE(is_number(U'१') && is_number(U'½') && is_number(U'²') && !is_number(U'a'));
  EXPECT_TRUE(is_white_space(U'\u00A0') && is_white_space(U'\u3000') && !is_white_space(U'\u200B'));
}

TEST(HtmlEntities, AreReplacedAsBrowsersDo) {
  EXPECT_EQ(unescape_html(U"&amp;&lt;&eacute;&hellip;&apos;"), U"&<é…'");
  EXPECT_EQ(unescape_html(U"&#65;&#x42;&#x80;&#0;&#55296;&#7;&#99999999999999999999;"),
            U"AB€\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(unescape_html(U"&copy2 &notit; &ampamp;"), U"©2 ¬it; &amp;");
  for (const std::u32string text : {U"&", U"&;", U"&#;", U"&#x;", U"&nosuch;", U"& amp;", U"&hellip"})
    EXPECT_EQ(unescape_html(text), text);
}

}  // namespace
}  // namespace eg4d::test
