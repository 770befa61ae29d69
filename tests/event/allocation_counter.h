// How often this thread has called operator new: for tests that say "allocates nothing in use".
#pragma once

namespace postbus {

long AllocationCount();

}  // namespace postbus
