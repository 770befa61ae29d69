// The same layout as seen by C++20.
#include "tests/abi/layout_test.c"  // NOLINT(bugprone-suspicious-include)
