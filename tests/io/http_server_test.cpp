#include "io/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>

#include "core/error.h"
#include "support/expect_error.h"
#include "support/http_client.h"

namespace eg4d {
namespace {

using std::chrono::seconds;
using test::contains;
using test::HttpClient;

// A server in a thread until the end of the test. Time passes when the test says so.
class HttpServerTest : public testing::Test {
 protected:
  ~HttpServerTest() override {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  void serve(HttpHandler handler, const HttpServerLimits& limits = {}, BodyLimit body_limit = {}) {
    server_ = std::make_unique<HttpServer>(
        "127.0.0.1", 0, std::move(handler), limits, std::move(body_limit),
        [this] { return std::chrono::steady_clock::time_point(seconds(1000 + seconds_passed_)); });
    thread_ = std::thread([this] { server_->run([this] { return stop_.load(); }); });
  }
  int port() const { return server_->port(); }

  // An exchange on a connection of its own: the server has looked after all earlier ones at the time of now.
  void meanwhile() const { EXPECT_TRUE(HttpClient(port()).get("/others").starts_with("HTTP/1.1 200 ")); }
  void pass(int count) {
    seconds_passed_ += count;
    meanwhile();
  }

  static HttpResponse hello(const HttpRequest& request) {
    HttpResponse response;
    response.body = request.path.empty() ? "hello" : request.path.front();
    return response;
  }

 private:
  std::unique_ptr<HttpServer> server_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> seconds_passed_ = 0;
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
  serve(hello, {.request_time = seconds(10), .idle_time = seconds(30)});
  const HttpClient silent(port()), half(port()), idle(port());
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  half.send("GET / HT");
  idle.send(request);
  EXPECT_TRUE(idle.receive("hello").ends_with("hello"));
  pass(9);
  half.send("TP/1.1\r\n");
  pass(1);
  EXPECT_TRUE(silent.is_ended());
  EXPECT_TRUE(half.is_ended());
  pass(19);
  idle.send(request);
  EXPECT_TRUE(idle.receive("hello").ends_with("hello")) << "a pause may be longer";
  pass(30);
  EXPECT_TRUE(idle.is_ended());
}

// Bytes that drip do not prolong it.
TEST_F(HttpServerTest, DrippingRequestsGoAsSoon) {
  serve(hello, {.request_time = seconds(10)});
  const HttpClient client(port());
  client.send("GET / HTTP/1.1\r\n");
  meanwhile();
  for (int i = 0; i < 10; ++i) {
    client.send("X");
    pass(1);
  }
  EXPECT_TRUE(client.is_ended());
}

TEST_F(HttpServerTest, SlowReadersGoAndOthersAreServedMeanwhile) {
  const auto large = std::make_shared<const std::string>(size_t{64} << 20, 'x');
  serve(
      [&](const HttpRequest& request) {
        HttpResponse response = hello(request);
        if (request.path.empty()) response.shared = large;
        return response;
      },
      {.slow_time = seconds(20)});
  std::vector<std::unique_ptr<HttpClient>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<HttpClient>(port()));
    slow.back()->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    slow.back()->receive("xxx");  // it is answered, as far as the buffers between take it
  }
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(HttpClient(port()).get("/quick").ends_with("quick"));
  pass(20);  // in which the buffers were filled
  pass(20);
  for (const auto& client : slow) EXPECT_LT(client->receive().size(), large->size()) << "it was ended";
}

TEST_F(HttpServerTest, AFloodEndsThoseThatWaitLongest) {
  serve(hello, {.connections = 8});
  std::vector<std::unique_ptr<HttpClient>> flood;
  for (int i = 0; i < 50; ++i) {
    flood.push_back(std::make_unique<HttpClient>(port()));
    ASSERT_TRUE(flood.back()->connected());
  }
  EXPECT_TRUE(HttpClient(port()).get("/here").ends_with("here"));
  EXPECT_TRUE(flood.front()->is_ended());
}

// Each takes memory: a few at once, and others are refused meanwhile.
TEST_F(HttpServerTest, LargeBodiesAreFewAtOnce) {
  std::promise<void> asked[4];
  int count = 0;  // used in the server's thread alone
  serve(
      [](const HttpRequest& request) {
        HttpResponse response;
        response.body = std::to_string(request.body.size());
        return response;
      },
      {.request_time = seconds(10), .large_bodies = 1, .large_time = seconds(300)},
      [&](const HttpRequest&) {
        asked[count++].set_value();
        return size_t{1} << 20;
      });
  const std::string head =
      "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n";
  const HttpClient first(port());
  first.send(head);
  asked[0].get_future().wait();
  const HttpClient second(port());
  second.send(head);
  EXPECT_TRUE(second.receive().starts_with("HTTP/1.1 413 "));
  pass(299);
  first.send(std::string(1000000, 'x'));
  EXPECT_TRUE(first.receive().ends_with("1000000")) << "it has more time than others";
  const HttpClient third(port());
  third.send(head + std::string(1000000, 'x'));
  EXPECT_TRUE(third.receive().ends_with("1000000"));
  const HttpClient fourth(port());
  fourth.send(head);
  asked[2].get_future().wait();
  pass(300);
  EXPECT_TRUE(fourth.is_ended());
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
