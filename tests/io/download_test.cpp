#include "io/download.h"

#include <gtest/gtest.h>

#include "core/interrupt.h"
#include "io/partial_file.h"
#include "io/sha256.h"
#include "support/canned_server.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::CannedServer;
using test::http_response;
using test::range_start;
using test::TemporaryFolder;

std::string sample(size_t size = 5000) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += static_cast<char>('a' + i * i % 26);
  return text;
}

std::string hash_of(const std::string& text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

std::string partial_response(const std::string& body, size_t start, const std::string& headers, size_t sent) {
  return http_response(206,
                       headers + "Content-Range: bytes " + std::to_string(start) + "-" +
                           std::to_string(body.size() - 1) + "/" + std::to_string(body.size()) +
                           "\r\nContent-Length: " + std::to_string(body.size() - start) + "\r\n",
                       body.substr(start, sent));
}

DownloadRequest request_to(const CannedServer& server, const TemporaryFolder& folder) {
  return {.url = server.url("/file"),
          .destination = folder / "models/file",
          .token = {},
          .sha256 = {},
          .label = "file",
          .attempts = 3,
          .first_pause = 0.001};
}

TEST(Download, FetchesAndSendsTheToken) {
  const TemporaryFolder folder;
  CannedServer server([](const std::string&) { return http_response(200, "ETag: \"v1\"\r\n", sample()); });
  auto request = request_to(server, folder);
  request.token = "hf_secret";
  Progress progress;
  const auto result = download(request, progress);
  EXPECT_EQ(test::read_text(folder / "models/file"), sample());
  EXPECT_EQ(result.sha256, hash_of(sample()));
  EXPECT_FALSE(result.verified);
  EXPECT_NE(server.requests()[0].find("Authorization: Bearer hf_secret"), std::string::npos);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "models"), {}), 1);
}

TEST(Download, ContinuesWhatBreaksOff) {
  const TemporaryFolder folder;
  CannedServer server([](const std::string& request) {  // 700 bytes at a time
    const size_t start = range_start(request);
    if (start == 0)
      return http_response(200, "ETag: \"v1\"\r\nContent-Length: 5000\r\n", sample().substr(0, 700));
    return partial_response(sample(), start, "ETag: \"v1\"\r\n", 700);
  });
  auto request = request_to(server, folder);
  request.sha256 = hash_of(sample());
  Progress progress;
  EXPECT_TRUE(download(request, progress).verified);
  EXPECT_EQ(test::read_text(folder / "models/file"), sample());
  EXPECT_EQ(server.requests().size(), 8u);
}

TEST(Download, ContinuesInALaterCall) {
  const TemporaryFolder folder;
  std::string tag = "v1";
  bool works = false;
  CannedServer server([&](const std::string& request) {
    const size_t start = range_start(request);
    const std::string headers = "ETag: \"" + tag + "\"\r\n";
    if (start == 0)
      return http_response(200, headers + "Content-Length: 5000\r\n",
                           works ? sample() : sample().substr(0, 2000));
    return works ? partial_response(sample(), start, headers, 5000) : std::string();
  });
  const auto request = request_to(server, folder);
  Progress progress;
  EXPECT_ERROR(download(request, progress), "2000 of 5000 bytes are kept");
  EXPECT_FALSE(std::filesystem::exists(folder / "models/file"));
  works = true;
  EXPECT_TRUE(download(request, progress).resumed);
  EXPECT_EQ(test::read_text(folder / "models/file"), sample());
  EXPECT_EQ(range_start(server.requests().back()), 2000u);

  // A part of another version is not continued.
  works = false;
  std::filesystem::remove(folder / "models/file");
  EXPECT_ERROR(download(request, progress), "2000 of 5000");
  works = true;
  tag = "v2";
  download(request, progress);
  EXPECT_EQ(test::read_text(folder / "models/file"), sample());
  EXPECT_EQ(range_start(server.requests().back()), 0u);
}

TEST(Download, StartsAnewWhenTheServerCannotContinue) {
  const TemporaryFolder folder;
  int call = 0;
  CannedServer server([&](const std::string&) {
    const std::string body = call++ == 0 ? sample().substr(0, 100) : sample();
    return http_response(200, "ETag: \"v1\"\r\nContent-Length: 5000\r\n", body);
  });
  Progress progress;
  download(request_to(server, folder), progress);
  EXPECT_EQ(test::read_text(folder / "models/file"), sample());
}

TEST(Download, NoticesALieAboutTheLength) {
  const TemporaryFolder folder;
  Progress progress;
  CannedServer longer([](const std::string& request) {
    if (range_start(request)) return http_response(416, "", "");
    return http_response(200, "ETag: \"v1\"\r\nContent-Length: 9000\r\n", sample());
  });
  EXPECT_ERROR(download(request_to(longer, folder), progress), "contradicts itself");
  CannedServer contradicting(
      [](const std::string&) { return http_response(200, "X-Linked-Size: 77\r\n", sample()); });
  EXPECT_ERROR(download(request_to(contradicting, folder), progress), "77 bytes and then that it has 5000");
  CannedServer shorter([](const std::string&) {
    return http_response(200, "X-Linked-ETag: \"" + hash_of(sample()) + "\"\r\nContent-Length: 4000\r\n",
                         sample());
  });
  EXPECT_ERROR(download(request_to(shorter, folder), progress), "SHA-256");
  EXPECT_FALSE(std::filesystem::exists(folder / "models/file"));
}

TEST(Download, ThrowsWrongBytesAway) {
  const TemporaryFolder folder;
  CannedServer server([](const std::string& request) {
    if (request.find("GET /file ") == 0)
      return http_response(
          302, "Location: /blob\r\nX-Linked-Size: 5000\r\nX-Linked-ETag: \"" + hash_of(sample()) + "\"\r\n",
          "");
    std::string wrong = sample();
    wrong[1234] ^= 1;
    return http_response(200, "ETag: \"cdn\"\r\n", wrong);
  });
  Progress progress;
  EXPECT_ERROR(download(request_to(server, folder), progress), hash_of(sample()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "models"), {}), 0);
}

TEST(Download, TellsRefusals) {
  const TemporaryFolder folder;
  Progress progress;
  for (const int status : {401, 403, 404}) {
    CannedServer server(
        [&](const std::string&) { return http_response(status, "X-Error-Message: no\r\n", "no"); });
    try {
      download(request_to(server, folder), progress);
      ADD_FAILURE();
    } catch (const HttpError& error) {
      EXPECT_EQ(error.status(), status);
    }
    EXPECT_EQ(server.requests().size(), 1u);
  }
  CannedServer broken([](const std::string&) { return http_response(500, "", "oops"); });
  EXPECT_ERROR(download(request_to(broken, folder), progress), "500");
  EXPECT_EQ(broken.requests().size(), 3u);
  CannedServer silent([](const std::string&) { return std::string(); });
  EXPECT_ERROR(download(request_to(silent, folder), progress), "cannot download");
  EXPECT_ERROR(download({.url = "http://example.org/x", .destination = folder / "x"}, progress), "https");
  EXPECT_ERROR(download({.url = "http://127.0.0.1.example.org/x", .destination = folder / "x"}, progress),
               "https");
  CannedServer away(
      [](const std::string&) { return http_response(302, "Location: file:///etc/passwd\r\n", ""); });
  EXPECT_ERROR(download(request_to(away, folder), progress), "cannot download");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "models"), {}), 0);
}

TEST(Download, OneProcessAtATime) {
  const TemporaryFolder folder;
  CannedServer server([](const std::string&) { return http_response(200, "ETag: \"v1\"\r\n", sample()); });
  const auto request = request_to(server, folder);
  Progress progress;
  {
    const PartialFile other(request.destination);
    EXPECT_ERROR(download(request, progress), "is in use by another process (pid");
  }
  EXPECT_EQ(server.requests().size(), 0u);
  EXPECT_NO_THROW(download(request, progress));
}

// After a power cut the end of a file may be zeros. Where no hash would tell, it is not believed.
TEST(PartialFile, GoesOnFromWhatReachedTheDisk) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "file", part = folder / "file.part";
  const auto leave = [&](const RemoteFile& remote) {
    PartialFile partial(file);
    partial.restart();
    partial.describe(remote);
    partial.append("0123456789", 10);
  };
  leave({"https://x/y", "v1", 5000, {}});
  EXPECT_EQ(PartialFile(file).size(), 10);
  test::write_text(part, std::string("0123456789") + std::string(4000, '\0'));
  EXPECT_EQ(PartialFile(file).size(), 10);
}

TEST(PartialFile, WhatAHashWillTellIsKept) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "file", part = folder / "file.part";
  {
    PartialFile partial(file);
    partial.describe({"https://x/y", "v1", 5000, std::string(64, '0')});
    partial.append("0123456789", 10);
  }
  test::write_text(part, sample(3000));
  EXPECT_EQ(PartialFile(file).size(), 3000);
  // A part of a version that did not note what had reached the disk.
  test::write_text(folder / "file.part.json", R"({"url": "https://x/y", "identity": "v1"})");
  EXPECT_EQ(PartialFile(file).size(), 0);
}

TEST(PartialFile, CommittingSaysWhatIsWrong) {
  const TemporaryFolder folder;
  PartialFile partial(folder / "file");
  partial.describe({"https://x/y", "v1", 5000, {}});
  const test::FullDisk disk(100);
  partial.append(sample(2000).data(), 2000);  // into the buffer
  EXPECT_ERROR(partial.commit(), "file.part: File too large");
}

TEST(Download, KeepsThePartWhenInterrupted) {
  const TemporaryFolder folder;
  CannedServer server([](const std::string&) {
    request_interrupt();
    return http_response(200, "ETag: \"v1\"\r\nContent-Length: 900000\r\n", sample());
  });
  Progress progress;
  EXPECT_THROW(download(request_to(server, folder), progress), Interrupted);
  clear_interrupt();
  EXPECT_FALSE(std::filesystem::exists(folder / "models/file"));
}

}  // namespace
}  // namespace eg4d
