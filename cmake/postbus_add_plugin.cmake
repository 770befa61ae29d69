# postbus_add_plugin(NAME SOURCES a.cc ... [LINK lib ...] [OUTPUT_DIRECTORY dir])
# A plugin: one shared object plugins/NAME.so that exports postbus_plugin_entry and nothing else. Here as well as in
# projects that find_package(postbus-sdk).
#   -z defs            a missing symbol fails the link, not the first call
#   -fno-gnu-unique    otherwise two loaded versions of a plugin would share inline statics
# What tests link without loading the plugin goes into a static library of its own, given as LINK (plugins/smtp does so).
function(postbus_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "OUTPUT_DIRECTORY" "SOURCES;LINK")
  set(target "postbus_plugin_${name}")
  set(version_script "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.version")
  add_library(${target} MODULE ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE postbus::sdk ${ARG_LINK})
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME "${name}" SUFFIX ".so"
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS "${version_script}")
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>")
  target_link_options(${target} PRIVATE "-Wl,--version-script=${version_script}" -Wl,--exclude-libs,ALL -Wl,-z,now)
  if(NOT POSTBUS_SANITIZE)  # the sanitizer runtime lives in the executable
    target_link_options(${target} PRIVATE -Wl,-z,defs)
  endif()
  if(ARG_OUTPUT_DIRECTORY)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${ARG_OUTPUT_DIRECTORY}")
  else()
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/plugins")
    install(TARGETS ${target} LIBRARY DESTINATION lib/postbus/plugins)
  endif()
endfunction()
