# Toolchain of the preset `clang`: finds the compiler. The newest one is taken where several
# versions stand side by side; -DCMAKE_CXX_COMPILER names another.
if(NOT CMAKE_CXX_COMPILER)
  set(names clang++)
  foreach(version RANGE 30 14 -1)
    list(APPEND names clang++-${version})
  endforeach()
  find_program(PEPNET_CLANG NAMES ${names})
  if(NOT PEPNET_CLANG)
    message(FATAL_ERROR "There is no clang++ (14 or newer) here, which checks the annotations of "
                        "locks. Run scripts/setup.sh --tests, which installs the package clang, "
                        "or give -DCMAKE_CXX_COMPILER.")
  endif()
  set(CMAKE_CXX_COMPILER ${PEPNET_CLANG})
endif()
