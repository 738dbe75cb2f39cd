#pragma once

#include <stdexcept>
#include <string>

namespace eg4d {

// A failure told to the user: one sentence that says what happened, where, and what to do about it.
// Thrown anywhere, caught once in main(): exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// There is no memory left; whoever knows what takes it says what to do.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// The command line or a configuration file is wrong: exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// Ctrl-C was pressed and the work so far is safe on disk: exit code 130.
class Interrupted : public Error {
 public:
  using Error::Error;
};

}  // namespace eg4d
