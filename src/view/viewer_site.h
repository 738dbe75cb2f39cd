#pragma once

#include <memory>
#include <optional>
#include <string>

#include "io/http_server.h"

namespace eg4d {

// What the viewer's server shows. All calls come from the server's thread.
class ViewerContent {
 public:
  virtual ~ViewerContent() = default;
  virtual std::string info() = 0;                           // JSON: what the object is
  virtual std::shared_ptr<const GrowingBytes> scene() = 0;  // a scene file, as far as it is made
  virtual std::string cameras() = 0;                        // JSON: the dataset's cameras
  // JSON: how far training is, and "version": which of the objects scene() is now, from 1.
  virtual std::string status() = 0;
  // "pause", "continue" or "stop" for what trains; false when nothing does. None for another word.
  virtual std::optional<bool> command(const std::string& word) = 0;
  // A picture of the dataset as training saw it, as PNG; none where there is none. Throws Error.
  virtual std::optional<std::string> picture(const std::string& split, size_t index) = 0;
};

// Who may ask.
struct ViewerAccess {
  int port = 0;
  bool loopback = true;  // the server is at 127.0.0.1 or ::1
  std::string token;     // what must be sent by whoever changes something and, where it is not, by readers
};

// Answers requests, without sockets, so that tests and fuzzers can ask it anything.
//   GET /                          the page
//   GET /api/info                  ViewerContent::info
//   GET /api/scene                 …scene
//   GET /api/cameras               …cameras
//   GET /api/picture/SPLIT/INDEX   …picture
//   GET /api/status                …status
//   POST /api/training/WORD        …command
// Names are looked up in what the content offers and never become paths of files. A request must name this
// server as its host (else another site could point its own name at this machine and read along), and may not
// come from another site's page. What changes something needs the token of the printed link.
class ViewerSite {
 public:
  // `page` is the page's HTML, `policy` its Content-Security-Policy.
  ViewerSite(std::string page, const std::string& policy, ViewerAccess access, ViewerContent& content);
  HttpResponse answer(const HttpRequest& request) const;

 private:
  HttpResponse route(const HttpRequest& request) const;
  HttpResponse from_content(const HttpRequest& request) const;
  bool is_own_host(std::string_view host) const;
  HttpResponse command(const HttpRequest& request) const;
  bool has_token(const HttpRequest& request) const;

  const std::shared_ptr<const std::string> page_;
  const std::string policy_;
  const ViewerAccess access_;
  ViewerContent& content_;
};

// 128 random bits in hexadecimal.
std::string random_token();

// Whether only this machine reaches the (numeric) address.
bool is_loopback(const std::string& address);

}  // namespace eg4d
