# Every library postbus uses, found once. All are Debian 12 packages.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.74 REQUIRED)  # headers only: Asio, Beast, DLL (with std::filesystem)
find_package(OpenSSL 3.0 REQUIRED)
find_package(CURL 7.88 REQUIRED)  # of the HTTP transports
find_package(LibXml2 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp REQUIRED CONFIG)
pkg_check_modules(rdkafka REQUIRED IMPORTED_TARGET rdkafka)
pkg_check_modules(idn2 REQUIRED IMPORTED_TARGET libidn2)
pkg_check_modules(ctemplate REQUIRED IMPORTED_TARGET libctemplate)
if(POSTBUS_BUILD_TESTS)
  find_package(GTest REQUIRED)
  # The tests use Debian's Python packages, which an interpreter earlier in PATH (pyenv, a venv) would not see.
  if(NOT DEFINED Python3_ROOT_DIR)
    set(Python3_ROOT_DIR /usr)
  endif()
  find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
endif()

add_library(postbus_boost INTERFACE)
target_link_libraries(postbus_boost INTERFACE Boost::headers Threads::Threads)
target_compile_definitions(postbus_boost INTERFACE BOOST_DLL_USE_STD_FS BOOST_ASIO_NO_DEPRECATED)
if(POSTBUS_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(postbus_boost INTERFACE -Wno-tsan)  # Asio's fences; what they guard has locks, too
endif()

add_library(postbus_rapidjson INTERFACE)  # Debian's rapidjson-dev is headers under /usr/include
target_compile_definitions(postbus_rapidjson INTERFACE RAPIDJSON_HAS_STDSTRING=1)
if(POSTBUS_SANITIZE MATCHES "undefined" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Its empty stack adds 4 to a null pointer and does not use the sum.
  target_compile_options(postbus_rapidjson INTERFACE -fno-sanitize=pointer-overflow)
endif()
