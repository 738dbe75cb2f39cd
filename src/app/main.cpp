#include "app/command.h"

int main(int argc, char** argv) {
  return eg4d::run_program(argc, argv);
}
