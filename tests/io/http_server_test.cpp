#include "io/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "core/error.h"
#include "support/expect_error.h"
#include "support/http_client.h"

namespace eg4d {
namespace {

using std::chrono::milliseconds;
using test::contains;
using test::HttpClient;

// A server in a thread until the end of the test.
class HttpServerTest : public testing::Test {
 protected:
  ~HttpServerTest() override {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  void serve(HttpHandler handler, const HttpServerLimits& limits = {}, BodyLimit body_limit = {}) {
    server_ = std::make_unique<HttpServer>("127.0.0.1", 0, std::move(handler), limits, std::move(body_limit));
    thread_ = std::thread([this] { server_->run([this] { return stop_.load(); }); });
  }
  int port() const { return server_->port(); }

  static HttpResponse hello(const HttpRequest& request) {
    HttpResponse response;
    response.body = request.path.empty() ? "hello" : request.path.front();
    return response;
  }

 private:
  std::unique_ptr<HttpServer> server_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST_F(HttpServerTest, OneConnectionCarriesSeveralRequests) {
  serve(hello);
  const HttpClient client(port());
  client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
  client.send("HEAD /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string received = client.receive();
  EXPECT_TRUE(contains(received, "HTTP/1.1 200 OK\r\n")) << received;
  EXPECT_LT(received.find("\r\n\r\na"), received.find("\r\n\r\nb"));
  EXPECT_TRUE(received.ends_with("Content-Length: 1\r\nConnection: close\r\n\r\n")) << received;
}

TEST_F(HttpServerTest, WhatGrowsIsSentAsItGrows) {
  const auto bytes = std::make_shared<GrowingBytes>();
  serve([&](const HttpRequest&) {
    HttpResponse response;
    response.growing = bytes;
    return response;
  });
  bytes->append("first");
  const HttpClient client(port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(contains(client.receive("5\r\nfirst\r\n"), "Transfer-Encoding: chunked"));
  bytes->append("second");
  client.receive("6\r\nsecond\r\n");
  bytes->finish();
  EXPECT_EQ(client.receive(), "0\r\n\r\n");
  EXPECT_TRUE(HttpClient(port()).get("/").ends_with("b\r\nfirstsecond\r\n0\r\n\r\n"))
      << "whole from the start";
}

TEST_F(HttpServerTest, WhatFailsWhileItGrowsHasNoEnd) {
  const auto bytes = std::make_shared<GrowingBytes>();
  serve([&](const HttpRequest&) {
    HttpResponse response;
    response.growing = bytes;
    return response;
  });
  bytes->append("part");
  bytes->finish("no memory");
  EXPECT_TRUE(HttpClient(port()).get("/").ends_with("4\r\npart\r\n"));
}

TEST_F(HttpServerTest, LargeAnswersArriveWhole) {
  const std::string large(3 << 20, 'x');
  serve([&](const HttpRequest&) {
    HttpResponse response;
    response.body = large;
    return response;
  });
  const std::string received = HttpClient(port()).get("/");
  EXPECT_EQ(received.size() - received.find("\r\n\r\n") - 4, large.size());
}

TEST_F(HttpServerTest, BadRequestsAndThrowingHandlersAreAnswered) {
  serve([](const HttpRequest&) -> HttpResponse { throw Error("the secret reason"); });
  const HttpClient client(port());
  client.send("nonsense\r\n\r\n");
  EXPECT_TRUE(client.receive().starts_with("HTTP/1.1 400 Bad Request\r\n"));
  const std::string failed = HttpClient(port()).get("/");
  EXPECT_TRUE(failed.starts_with("HTTP/1.1 500 "));
  EXPECT_FALSE(contains(failed, "secret"));
}

TEST_F(HttpServerTest, HalfOpenConnectionsGoAfterAWhile) {
  serve(hello, {.request_time = milliseconds(300), .idle_time = milliseconds(300)});
  const HttpClient silent(port()), half(port()), idle(port());
  half.send("GET / HT");
  idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(silent.receive(), "");
  EXPECT_EQ(half.receive(), "");
  EXPECT_TRUE(idle.receive().ends_with("hello"));
}

// Bytes that drip do not prolong it.
TEST_F(HttpServerTest, DrippingRequestsGoAsSoon) {
  serve(hello, {.request_time = milliseconds(400)});
  const HttpClient client(port());
  const auto begin = std::chrono::steady_clock::now();
  client.send("GET / HTTP/1.1\r\n");
  while (client.send("X") && std::chrono::steady_clock::now() - begin < std::chrono::seconds(10))
    std::this_thread::sleep_for(milliseconds(20));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(HttpServerTest, SlowReadersGoAndOthersAreServedMeanwhile) {
  const auto large = std::make_shared<const std::string>(size_t{64} << 20, 'x');
  serve(
      [&](const HttpRequest& request) {
        HttpResponse response = hello(request);
        if (request.path.empty()) response.shared = large;
        return response;
      },
      {.slow_time = milliseconds(500)});
  std::vector<std::unique_ptr<HttpClient>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<HttpClient>(port()));
    slow.back()->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(HttpClient(port()).get("/quick").ends_with("quick"));
  std::this_thread::sleep_for(milliseconds(1500));
  EXPECT_LT(slow[0]->receive().size(), large->size()) << "it was ended";
}

TEST_F(HttpServerTest, AFloodEndsThoseThatWaitLongest) {
  serve(hello, {.connections = 8});
  std::vector<std::unique_ptr<HttpClient>> flood;
  for (int i = 0; i < 50; ++i) {
    flood.push_back(std::make_unique<HttpClient>(port()));
    ASSERT_TRUE(flood.back()->connected());
  }
  EXPECT_TRUE(HttpClient(port()).get("/here").ends_with("here"));
  EXPECT_EQ(flood.front()->receive(), "") << "ended";
}

// Each takes memory: a few at once, and others are refused meanwhile.
TEST_F(HttpServerTest, LargeBodiesAreFewAtOnce) {
  serve(
      [](const HttpRequest& request) {
        HttpResponse response;
        response.body = std::to_string(request.body.size());
        return response;
      },
      {.request_time = milliseconds(300), .large_bodies = 1},
      [](const HttpRequest&) { return size_t{1} << 20; });
  const std::string head =
      "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n";
  const HttpClient first(port());
  first.send(head);
  std::this_thread::sleep_for(milliseconds(500));
  const HttpClient second(port());
  second.send(head);
  EXPECT_TRUE(second.receive().starts_with("HTTP/1.1 413 "));
  first.send(std::string(1000000, 'x'));
  EXPECT_TRUE(first.receive().ends_with("1000000")) << "it has more time than others";
  const HttpClient third(port());
  third.send(head + std::string(1000000, 'x'));
  EXPECT_TRUE(third.receive().ends_with("1000000"));
}

TEST_F(HttpServerTest, ThePortThatIsTakenLeadsToTheNext) {
  const HttpServer first("127.0.0.1", 0, hello);
  const HttpServer second("127.0.0.1", first.port(), hello);
  EXPECT_GT(second.port(), first.port());
  EXPECT_ERROR(HttpServer("example.org", 0, hello), "no address");
  EXPECT_ERROR(HttpServer("192.0.2.1", 0, hello), "cannot listen at 192.0.2.1");
}

}  // namespace
}  // namespace eg4d
