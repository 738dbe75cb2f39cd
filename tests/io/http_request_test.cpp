#include "io/http_request.h"

#include <gtest/gtest.h>

namespace eg4d {
namespace {

using State = HttpRequestParser::State;

// The request, or its status as text.
std::string outcome(std::string_view bytes, const HttpLimits& limits = {}) {
  HttpRequestParser parser(limits);
  switch (parser.add(bytes)) {
    case State::incomplete:
      return "incomplete";
    case State::refused:
      return std::to_string(parser.status());
    case State::complete:
      break;
  }
  const HttpRequest& request = parser.request();
  std::string text = request.method;
  for (const std::string& segment : request.path) text += " [" + segment + "]";
  return text + (request.query.empty() ? "" : " ?" + request.query) + (request.keep_alive ? "" : " close") +
         (request.body.empty() ? "" : " " + request.body);
}
std::string path_outcome(const std::string& target) {
  return outcome("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n");
}

TEST(HttpRequest, APlainRequestIsTaken) {
  EXPECT_EQ(path_outcome("/"), "GET");
  EXPECT_EQ(path_outcome("/api/scene"), "GET [api] [scene]");
  EXPECT_EQ(path_outcome("/a%20b/%C3%a9?x=/../%00"), "GET [a b] [\xC3\xA9] ?x=/../%00");
  EXPECT_EQ(outcome("GET / HTTP/1.0\r\n\r\n"), "GET close");
  EXPECT_EQ(outcome("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n"), "GET close");
}

TEST(HttpRequest, HeadersAreFoundByNamesInSmallLetters) {
  HttpRequestParser parser;
  parser.add("GET / HTTP/1.1\r\nHOST: a:1 \r\nX-Thing:\t value, more\r\n\r\n");
  EXPECT_EQ(parser.request().header("host"), "a:1");
  EXPECT_EQ(parser.request().header("x-thing"), "value, more");
  EXPECT_EQ(parser.request().header("absent"), "");
}

TEST(HttpRequest, ItMayComeByteByByteAndAnotherBehindIt) {
  HttpRequestParser parser;
  const std::string text =
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /y HTTP/1.1\r\nHost: a\r\n\r\n";
  for (size_t i = 0; i + 1 < text.find("GET"); ++i)
    ASSERT_EQ(parser.add(text.substr(i, 1)), State::incomplete);
  ASSERT_EQ(parser.add(text.substr(text.find("GET") - 1)), State::complete);
  EXPECT_EQ(parser.request().body, "abc");
  ASSERT_EQ(parser.next(), State::complete);
  EXPECT_EQ(parser.request().path, std::vector<std::string>{"y"});
  EXPECT_EQ(parser.next(), State::incomplete);
  EXPECT_FALSE(parser.has_begun());
}

TEST(HttpRequest, PathsThatLeadElsewhereAreRefused) {
  for (const char* target :
       {"/..", "/a/../b", "/%2e%2e/x", "/.%2E", "/a/./b", "/%2fetc", "/a%5cb", "/a\\b", "/%00", "/a%0d%0ab",
        "/%", "/%4", "/%zz", "/%+1", "etc/passwd", "http://other/", "*", "//a/..", "/\x01"})
    EXPECT_EQ(path_outcome(target), "400") << target;
  EXPECT_EQ(path_outcome("/..."), "GET [...]") << "a name like any other";
}

TEST(HttpRequest, WhatIsAmbiguousIsRefused) {
  const auto with = [](const std::string& headers) {
    return outcome("POST / HTTP/1.1\r\n" + headers + "\r\n");
  };
  EXPECT_EQ(with("Content-Length: 0\r\n"), "400") << "no host";
  EXPECT_EQ(with("Host: a\r\nHost: b\r\nContent-Length: 0\r\n"), "400");
  EXPECT_EQ(with("Host: a\r\n"), "411");
  EXPECT_EQ(with("Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n"), "400");
  EXPECT_EQ(with("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"), "501");
  for (const char* length : {"-1", "+1", "0x1", "1 2", "1,1", ""})
    EXPECT_EQ(with(std::string("Host: a\r\nContent-Length: ") + length + "\r\n"), "400") << length;
  EXPECT_EQ(with("Host: a\r\nContent-Length: 99999999999999999999999\r\n"), "413");
  EXPECT_EQ(with("Host: a\r\nContent-Length: 65537\r\n"), "413");
  EXPECT_EQ(with("Host : a\r\n"), "400");
  EXPECT_EQ(with("Host: a\r\n folded: b\r\n"), "400");
  EXPECT_EQ(with(std::string("Host: a\0b\r\n", 11)), "400");
  EXPECT_EQ(with("Host: a\r\nX: a\nY: b\r\n"), "400") << "a bare line feed";
}

TEST(HttpRequest, RequestLinesThatAreNone) {
  for (const char* line : {"GET /", "GET  HTTP/1.1", "/ HTTP/1.1", " / HTTP/1.1", "G(T / HTTP/1.1",
                           "GET / a HTTP/1.1", "GET / http/1.1"})
    EXPECT_EQ(outcome(std::string(line) + "\r\nHost: a\r\n\r\n"), "400") << line;
  EXPECT_EQ(outcome("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), "505");
  EXPECT_EQ(outcome("\x16\x03\x01\x02\r\n\r\n"), "400") << "TLS";
}

TEST(HttpRequest, SizesAreLimited) {
  EXPECT_EQ(outcome(std::string(16000, 'a')), "incomplete");
  EXPECT_EQ(outcome(std::string(17000, 'a')), "431") << "before its end is seen";
  EXPECT_EQ(path_outcome("/" + std::string(5000, 'a')), "414");
  std::string headers;
  for (int i = 0; i < 64; ++i) headers += "X: y\r\n";
  EXPECT_EQ(outcome("GET / HTTP/1.1\r\nHost: a\r\n" + headers + "\r\n"), "431");
  HttpRequestParser parser;
  parser.add(std::string(17000, 'a'));
  EXPECT_EQ(parser.add("more"), State::refused);
}

// How much a request may carry can depend on its head; nothing of a body that is refused is kept.
TEST(HttpRequest, LargeBodiesAreTakenWhereTheyAreWanted) {
  const auto limit = [](const HttpRequest& head) {
    return head.path == std::vector<std::string>{"up"} ? 100 : 0;
  };
  const auto text = [](const std::string& path, size_t length) {
    return "POST /" + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
  };
  const HttpLimits limits{.body_bytes = 10};
  HttpRequestParser taken(limits, limit), other(limits, limit), longer(limits, limit), small(limits, limit);
  EXPECT_EQ(taken.add(text("up", 100)), State::incomplete);
  EXPECT_TRUE(taken.is_large());
  EXPECT_EQ(taken.add(std::string(100, 'x')), State::complete);
  EXPECT_EQ(taken.request().body, std::string(100, 'x'));
  taken.next();
  EXPECT_FALSE(taken.is_large());
  EXPECT_EQ(other.add(text("down", 11)), State::refused);
  EXPECT_EQ(other.status(), 413);
  EXPECT_FALSE(other.is_large());
  EXPECT_EQ(longer.add(text("up", 101)), State::refused);
  EXPECT_EQ(small.add(text("down", 10) + std::string(10, 'x')), State::complete);
}

}  // namespace
}  // namespace eg4d
