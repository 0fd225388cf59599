# One precompiled header for the whole tree: the standard and abseil headers that nearly every file
# includes, which take half of a compiler's time otherwise. Headers of the project and of torch,
# protobuf and glog stay out of it.
#
# A file still includes what it uses: PEPNET_PRECOMPILE=OFF (the clang preset, whose compiler cannot
# read GCC's header) builds without it.
option(PEPNET_PRECOMPILE "Precompile the common headers" ON)

function(pepnet_targets_below directory result)
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(subdirectories DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
  foreach(subdirectory ${subdirectories})
    pepnet_targets_below(${subdirectory} below)
    list(APPEND targets ${below})
  endforeach()
  set(${result} ${targets} PARENT_SCOPE)
endfunction()

# pepnet_precompile_folders(FOLDERS NAME TARGETS OPTIONS HEADER...): every library and program below
# the folders is compiled with the options and sees the headers, which come from TARGETS.
function(pepnet_precompile_folders folders name linked options)
  file(WRITE ${CMAKE_BINARY_DIR}/${name}.cc "")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE pepnet_flags ${linked})
  target_compile_options(${name} PRIVATE ${options})
  target_precompile_headers(${name} PRIVATE ${ARGN})
  foreach(folder ${folders})
    pepnet_targets_below(${folder} below)
    list(APPEND targets ${below})
  endforeach()
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(type MATCHES "^(STATIC_LIBRARY|EXECUTABLE)$")
      target_compile_options(${target} PRIVATE ${options})
      target_precompile_headers(${target} REUSE_FROM ${name})
      # -fPIC like the libraries instead of -fPIE: a precompiled header serves one of them.
      if(type STREQUAL "EXECUTABLE")
        set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
        target_compile_options(${target} PRIVATE -fPIC)
      endif()
    endif()
  endforeach()
endfunction()

# Call it last: it changes what is there.
function(pepnet_precompile)
  if(NOT PEPNET_PRECOMPILE)
    return()
  endif()
  set(headers
    <algorithm> <array> <atomic> <chrono> <cmath> <cstdint> <cstring> <functional> <map> <memory>
    <mutex> <optional> <span> <string> <thread> <utility> <vector>
    <absl/status/status.h> <absl/status/statusor.h> <absl/strings/str_cat.h>
    <absl/strings/str_format.h>)
  set(linked absl::statusor absl::strings)
  set(folders common ps worker cli)
  if(PEPNET_BUILD_TESTS)
    list(APPEND folders tests/bench)  # programs that measure
  endif()
  list(TRANSFORM folders PREPEND ${CMAKE_SOURCE_DIR}/)
  pepnet_precompile_folders("${folders}" pepnet_precompiled "${linked}" "" ${headers})
  if(PEPNET_BUILD_TESTS)
    get_property(test_folders DIRECTORY ${CMAKE_SOURCE_DIR}/tests PROPERTY SUBDIRECTORIES)
    list(REMOVE_ITEM test_folders ${CMAKE_SOURCE_DIR}/tests/bench)
    # Tests are compiled more often than their own loops count: -O1 saves a third of the time.
    pepnet_precompile_folders("${test_folders}" pepnet_precompiled_tests
      "${linked};GTest::gtest;GTest::gmock" "$<$<CONFIG:Release>:-O1>" ${headers}
      <gtest/gtest.h> <gmock/gmock.h>)
  endif()
endfunction()
