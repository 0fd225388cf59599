# Every third-party dependency, found once, each as one imported target.

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Protobuf REQUIRED)
set(MPI_CXX_SKIP_MPICXX TRUE)  # the old C++ bindings of mpi.h: never used, slow to compile
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(absl REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
if(PEPNET_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()

# glog's CMake package drags in unwind and gflags; the library itself is all we use.
find_library(GLOG_LIBRARY glog REQUIRED)
find_path(GLOG_INCLUDE_DIR glog/logging.h REQUIRED)
add_library(pepnet::glog INTERFACE IMPORTED)
target_link_libraries(pepnet::glog INTERFACE ${GLOG_LIBRARY})
target_include_directories(pepnet::glog INTERFACE ${GLOG_INCLUDE_DIR})

# Debian ships no CMake package. The archive goes first: it leaves no library to be found at run
# time.
find_library(PEPNET_FARMHASH NAMES libfarmhash.a farmhash REQUIRED)

# libtorch and Arrow C++ come inside Python wheels. The interpreter of the virtual environment says
# where; nothing is imported, so this takes no time and needs no GPU.
set(PEPNET_PYTHON ${PEPNET_VENV}/bin/python3)
if(SKBUILD AND NOT EXISTS ${PEPNET_PYTHON})
  # pip has put torch, pyarrow and onnx beside it (pyproject.toml).
  set(PEPNET_PYTHON ${Python3_EXECUTABLE})
endif()
if(NOT EXISTS ${PEPNET_PYTHON})
  message(FATAL_ERROR "There is no ${PEPNET_PYTHON}. Run scripts/setup.sh first, or set "
                      "PEPNET_VENV to a virtual environment with torch and pyarrow.")
endif()
# pepnet_find_wheel(torch DIR VERSION): the folder of the installed package and its version.
function(pepnet_find_wheel package directory version)
  execute_process(
    COMMAND ${PEPNET_PYTHON} -c "
import importlib.metadata, importlib.util
print(importlib.util.find_spec('${package}').submodule_search_locations[0])
print(importlib.metadata.version('${package}'))"
    OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE status ERROR_VARIABLE error)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${PEPNET_PYTHON} has no package ${package}. Run scripts/setup.sh first, "
                        "or set PEPNET_VENV to a virtual environment that has it.\n${error}")
  endif()
  string(REPLACE "\n" ";" answer "${answer}")
  list(GET answer 0 found_directory)
  list(GET answer 1 found_version)
  set(${directory} ${found_directory} PARENT_SCOPE)
  set(${version} ${found_version} PARENT_SCOPE)
endfunction()

# Torch's own CMake package is not used: it links the system's libprotobuf.so into every user (a
# second protobuf beside our hidden static one), adds library paths of the machine it was built on
# to the RPATH, and with a CUDA wheel it demands a CUDA toolkit even for code that never calls CUDA.
set(PEPNET_TORCH_DIR "" CACHE PATH
    "Another libtorch (a folder with include/ and lib/); empty: the one of PEPNET_VENV")
if(PEPNET_TORCH_FREE)
  set(Torch_VERSION "left out (PEPNET_TORCH_FREE)")
else()
  if(PEPNET_TORCH_DIR)
    set(torch_dir ${PEPNET_TORCH_DIR})
    set(Torch_VERSION "of ${PEPNET_TORCH_DIR}")
  else()
    pepnet_find_wheel(torch torch_dir Torch_VERSION)
  endif()
  find_library(PEPNET_TORCH_CPU_LIBRARY torch_cpu
               PATHS ${torch_dir}/lib NO_DEFAULT_PATH NO_CACHE REQUIRED)
  find_library(PEPNET_C10_LIBRARY c10 PATHS ${torch_dir}/lib NO_DEFAULT_PATH NO_CACHE REQUIRED)
  add_library(pepnet::torch INTERFACE IMPORTED)
  target_include_directories(pepnet::torch SYSTEM INTERFACE
    ${torch_dir}/include ${torch_dir}/include/torch/csrc/api/include)
  target_link_libraries(pepnet::torch INTERFACE ${PEPNET_TORCH_CPU_LIBRARY} ${PEPNET_C10_LIBRARY})
  # The CUDA kernels register themselves when their library is loaded; nothing refers to it by
  # symbol. A wheel computes on the CPU and runs with every build of torch, whichever it was linked
  # with.
  find_library(PEPNET_TORCH_CUDA_LIBRARY torch_cuda PATHS ${torch_dir}/lib NO_DEFAULT_PATH NO_CACHE)
  if(PEPNET_TORCH_CUDA_LIBRARY AND NOT SKBUILD)
    target_link_libraries(pepnet::torch INTERFACE
      "-Wl,--push-state,--no-as-needed,${PEPNET_TORCH_CUDA_LIBRARY},--pop-state")
  endif()
endif()

# The wheel ships Arrow's libraries under versioned names only, so they are imported by file.
pepnet_find_wheel(pyarrow PEPNET_ARROW_DIR PEPNET_ARROW_VERSION)
file(GLOB PEPNET_ARROW_LIBRARY ${PEPNET_ARROW_DIR}/libarrow.so.*)
file(GLOB PEPNET_PARQUET_LIBRARY ${PEPNET_ARROW_DIR}/libparquet.so.*)
list(LENGTH PEPNET_ARROW_LIBRARY arrow_count)
list(LENGTH PEPNET_PARQUET_LIBRARY parquet_count)
if(NOT arrow_count EQUAL 1 OR NOT parquet_count EQUAL 1)
  message(FATAL_ERROR "${PEPNET_ARROW_DIR} should hold one libarrow.so.* and one libparquet.so.*, "
                      "it holds '${PEPNET_ARROW_LIBRARY}' and '${PEPNET_PARQUET_LIBRARY}'. "
                      "Install the pyarrow that scripts/setup.sh names.")
endif()
add_library(pepnet::arrow INTERFACE IMPORTED)
target_include_directories(pepnet::arrow SYSTEM INTERFACE ${PEPNET_ARROW_DIR}/include)
target_link_libraries(pepnet::arrow INTERFACE ${PEPNET_ARROW_LIBRARY} ${PEPNET_PARQUET_LIBRARY})
