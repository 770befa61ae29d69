# postbus_add_test(NAME SOURCES a_test.cc ... [LINK lib ...] [LABELS unit] [KAFKA])
# One GoogleTest executable a folder; ctest lists each test case. KAFKA: runs on the shared real broker
# (fixture `kafka` of tests/support/kafka), its address in KAFKA_BROKERS.
include(GoogleTest)
function(postbus_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "KAFKA" "TIMEOUT" "SOURCES;LINK;LABELS;DEPENDS")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE POSTBUS_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             POSTBUS_BUILD_DIR="${CMAKE_BINARY_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
  set(properties TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
  if(ARG_KAFKA)
    list(APPEND properties FIXTURES_REQUIRED kafka
         ENVIRONMENT "POSTBUS_KAFKA_STATE=${CMAKE_BINARY_DIR}/tests/kafka.json")
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST TEST_PREFIX "${name}/" PROPERTIES ${properties})
endfunction()

# postbus_add_script_test(NAME SCRIPT file.py [ARGS ...] [LABELS e2e] [TIMEOUT s] [KAFKA])
# A test that drives the built programs from outside; exit code 0 passes.
function(postbus_add_script_test name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "KAFKA" "SCRIPT;TIMEOUT" "ARGS;LABELS")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND Python3::Interpreter ${ARG_SCRIPT} ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}" SKIP_RETURN_CODE 77
    ENVIRONMENT "POSTBUS_BUILD_DIR=${CMAKE_BINARY_DIR};POSTBUS_KAFKA_STATE=${CMAKE_BINARY_DIR}/tests/kafka.json;PYTHONDONTWRITEBYTECODE=1;PYTHONPATH=${CMAKE_SOURCE_DIR}/tests/support:${CMAKE_SOURCE_DIR}/tests/e2e:${CMAKE_SOURCE_DIR}/tests/support/kafka")
  if(ARG_KAFKA)
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED kafka)
  endif()
endfunction()
