# `cmake --install`: bin/postbus, lib/ (libraries, postbus/plugins/*.so, the CMake packages), include/postbus/ and, in
# share/postbus/, templates and configurations to begin with. Libraries and plugins go to lib/ wherever the prefix is:
# programs find the plugins in <prefix>/lib/postbus/plugins, the libraries in postbus/plugins beside themselves.
include(CMakePackageConfigHelpers)

set(package_directory lib/cmake/postbus)
install(EXPORT postbus FILE postbusTargets.cmake NAMESPACE postbus:: DESTINATION "${package_directory}")
configure_package_config_file("${CMAKE_SOURCE_DIR}/cmake/postbusConfig.cmake.in" "${CMAKE_BINARY_DIR}/postbusConfig.cmake"
  INSTALL_DESTINATION "${package_directory}")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/postbusConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/postbusConfig.cmake" "${CMAKE_BINARY_DIR}/postbusConfigVersion.cmake"
  DESTINATION "${package_directory}")
install(DIRECTORY "${CMAKE_SOURCE_DIR}/templates" "${CMAKE_SOURCE_DIR}/config" DESTINATION "${CMAKE_INSTALL_DATADIR}/postbus")
