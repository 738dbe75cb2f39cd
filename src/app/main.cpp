#include <cstdio>

int main() {
  std::puts("eg4d");
  return 0;
}
