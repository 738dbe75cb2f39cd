#pragma once

namespace eg4d {

// Gives memory that was freed back to the system, where the C library (glibc) keeps it: between pieces of
// work of different kinds, so that the later one does not come on top of what the earlier one left in pieces.
void return_freed_memory();

}  // namespace eg4d
