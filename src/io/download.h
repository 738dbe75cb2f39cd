#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/progress.h"

namespace eg4d {

struct DownloadRequest {
  std::string url;                    // https, or http to this very machine
  std::filesystem::path destination;  // appears complete and checked, or not at all
  std::string token = {};             // sent as "Authorization: Bearer" to the first host alone; empty: none
  std::optional<std::string> sha256 =
      {};                  // what the file must hash to; else what the server tells, if it does
  std::string label = {};  // for the progress bar
  int attempts = 5;        // without a byte between them, before giving up
  double first_pause = 1;  // seconds between attempts, doubled each time
};

struct DownloadResult {
  int64_t bytes = 0;
  std::string sha256;     // of the file
  bool verified = false;  // it was compared with a hash from the request or the server
  bool resumed = false;   // part of it was there from an earlier call
};

// The server refused with a status of 400 or more; the caller knows what the user can do about it.
class HttpError : public Error {
 public:
  HttpError(int status, const std::string& sentence) : Error(sentence), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

// Downloads to <destination>.part and renames it when everything is right. A transfer that breaks off is
// continued where it stopped, now or in a later call; one whose file has changed on the server meanwhile
// starts anew. Size and SHA-256 are checked against what the server tells (Content-Length, and the Hugging
// Face hub's X-Linked-Size and X-Linked-ETag). Throws HttpError, Error (no connection, disk full, wrong
// length, wrong hash: then nothing is kept) and Interrupted (then the part is kept).
DownloadResult download(const DownloadRequest& request, Progress& progress);

}  // namespace eg4d
