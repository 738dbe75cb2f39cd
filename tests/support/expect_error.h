#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace eg4d::test {

// The sentence of the eg4d::Error that `action` throws; fails the test when it throws nothing or something
// else.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  } catch (const testing::AssertionException&) {  // the end of the test: it is skipped (device_fixture.h)
    throw;
  } catch (const std::exception& other) {
    ADD_FAILURE() << "not an eg4d::Error: " << other.what();
    return {};
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace eg4d::test

// The action must throw an eg4d::Error whose sentence contains the text.
#define EXPECT_ERROR(action, text)                                               \
  do {                                                                           \
    const std::string error_sentence = ::eg4d::test::error_of([&] { action; });  \
    EXPECT_TRUE(::eg4d::test::contains(error_sentence, text)) << error_sentence; \
  } while (false)
