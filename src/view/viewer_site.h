#pragma once

#include <memory>
#include <string>

#include "io/http_server.h"
#include "view/viewer_content.h"

namespace eg4d {

// Who may ask.
struct ViewerAccess {
  int port = 0;
  bool loopback = true;  // the server is at 127.0.0.1 or ::1
  std::string token;     // what must be sent by whoever changes something and, where it is not, by readers
};

// Answers requests, without sockets, so that tests and fuzzers can ask it anything.
//   GET /                                     the page
//   GET /api/home                             ViewerLibrary::home
//   GET /api/runs                             …list
//   GET /api/runs/RUN                         …describe
//   GET /api/runs/RUN/thumbnail               …picture
//   GET /api/runs/RUN/frame/MOMENT            …picture
//   GET /api/runs/RUN/view/MOMENT/VIEW        …picture
//   GET /api/runs/RUN/info                    ViewerContent::info
//   GET /api/runs/RUN/scene                   …scene
//   GET /api/runs/RUN/cameras                 …cameras
//   GET /api/runs/RUN/picture/SPLIT/INDEX     …picture
//   GET /api/runs/RUN/status                  …status
//   POST /api/runs/RUN/training/WORD          …command
//   POST /api/runs/RUN/job/WORD               ViewerLibrary::command
//   POST /api/jobs/PRESET/NAME                …upload, of the body
// Names are looked up in what the content offers and never become paths of files. A request must name this
// server as its host (else another site could point its own name at this machine and read along), and may not
// come from another site's page. What changes something needs the token of the printed link.
class ViewerSite {
 public:
  // `page` is the page's HTML, `policy` its Content-Security-Policy.
  ViewerSite(std::string page, const std::string& policy, ViewerAccess access, ViewerLibrary& library);
  HttpResponse answer(const HttpRequest& request) const;

  // How long the body of such a request may be: kMostUpload for an upload by somebody who may send one.
  size_t body_limit(const HttpRequest& head) const;
  static constexpr size_t kMostUpload = size_t{32} << 20;

 private:
  HttpResponse route(const HttpRequest& request) const;
  std::optional<HttpResponse> refused(const HttpRequest& request) const;
  HttpResponse from_library(const HttpRequest& request) const;
  HttpResponse from_run(const HttpRequest& request) const;
  HttpResponse command(const HttpRequest& request) const;
  bool is_own_host(std::string_view host) const;
  bool has_token(const HttpRequest& request) const;

  const std::shared_ptr<const std::string> page_;
  const std::string policy_;
  const ViewerAccess access_;
  ViewerLibrary& library_;
};

// 128 random bits in hexadecimal.
std::string random_token();

// Whether only this machine reaches the (numeric) address.
bool is_loopback(const std::string& address);

}  // namespace eg4d
