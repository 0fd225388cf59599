# pepnet::nccl: headers and libraries of NCCL and the CUDA runtime, if this machine has them
# (PEPNET_WITH_NCCL).
#
# They are searched in PEPNET_NCCL_DIR and PEPNET_CUDA_DIR, in the wheels of the virtual environment
# (a CUDA torch brings its own, and the program must load the same ones), in a CUDA toolkit, in the
# system. The first CUDA runtime that compiles and links is taken.
set(PEPNET_WITH_NCCL AUTO CACHE STRING
    "Sums between GPUs through NCCL: AUTO (if it is found), ON (an error if not), OFF")
set_property(CACHE PEPNET_WITH_NCCL PROPERTY STRINGS AUTO ON OFF)
set(PEPNET_NCCL_DIR "" CACHE PATH
    "Folder of NCCL (with include/ and lib/); empty: search for it")
set(PEPNET_CUDA_DIR "" CACHE PATH
    "Folder of the CUDA runtime (with include/ and lib/ or lib64/); empty: search for it")
if(NOT PEPNET_WITH_NCCL MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "PEPNET_WITH_NCCL is '${PEPNET_WITH_NCCL}', it must be AUTO, ON or OFF.")
endif()
include(CheckCXXSourceCompiles)

# pepnet_try_cuda(LIBRARY INCLUDE...): makes pepnet::nccl of PEPNET_NCCL_* and this CUDA runtime if
# a program links with them. The include folders may be missing.
function(pepnet_try_cuda library)
  set(CMAKE_REQUIRED_INCLUDES ${PEPNET_NCCL_INCLUDE_DIR})
  foreach(dir ${ARGN})
    if(IS_DIRECTORY ${dir})
      list(APPEND CMAKE_REQUIRED_INCLUDES ${dir})
    endif()
  endforeach()
  set(CMAKE_REQUIRED_LIBRARIES ${PEPNET_NCCL_LIBRARY} ${library})
  set(CMAKE_REQUIRED_QUIET ON)
  # CMake caches the answer under this key as long as the question is the same.
  string(MD5 key "${CMAKE_REQUIRED_INCLUDES};${CMAKE_REQUIRED_LIBRARIES}")
  check_cxx_source_compiles("
#include <cuda_runtime_api.h>
#include <nccl.h>
#if NCCL_VERSION_CODE < 21400
#error a communicator that does not block needs NCCL 2.14
#endif
int main() {
  int version = 0;
  return ncclGetVersion(&version) == ncclSuccess && cudaGetDeviceCount(&version) == cudaSuccess;
}" PEPNET_NCCL_LINKS_${key})
  if(PEPNET_NCCL_LINKS_${key})
    add_library(pepnet::nccl INTERFACE IMPORTED GLOBAL)
    target_include_directories(pepnet::nccl SYSTEM INTERFACE ${CMAKE_REQUIRED_INCLUDES})
    target_link_libraries(pepnet::nccl INTERFACE ${CMAKE_REQUIRED_LIBRARIES})
    # The headers alone, for tests with functions of their own behind them.
    add_library(pepnet::nccl_headers INTERFACE IMPORTED GLOBAL)
    target_include_directories(pepnet::nccl_headers SYSTEM INTERFACE ${CMAKE_REQUIRED_INCLUDES})
    set(PEPNET_NCCL_FOUND "${PEPNET_NCCL_LIBRARY} with ${library}" PARENT_SCOPE)
  else()
    set(PEPNET_NCCL_MISSING
      "${PEPNET_NCCL_LIBRARY} and ${library} are here, but do not compile or link together"
      PARENT_SCOPE)
  endif()
endfunction()

set(PEPNET_NCCL_FOUND "")
set(PEPNET_NCCL_MISSING "there is no nccl.h or no libnccl.so")
if(NOT PEPNET_WITH_NCCL STREQUAL "OFF")
  get_filename_component(wheels ${PEPNET_ARROW_DIR} DIRECTORY)
  find_path(PEPNET_NCCL_INCLUDE_DIR nccl.h NO_CACHE
    HINTS ${PEPNET_NCCL_DIR}/include ${wheels}/nvidia/nccl/include)
  find_library(PEPNET_NCCL_LIBRARY NAMES libnccl.so.2 nccl NO_CACHE
    HINTS ${PEPNET_NCCL_DIR}/lib ${PEPNET_NCCL_DIR}/lib64 ${wheels}/nvidia/nccl/lib)
  if(PEPNET_NCCL_INCLUDE_DIR AND PEPNET_NCCL_LIBRARY)
    set(PEPNET_NCCL_MISSING
      "NCCL is here, but there is no CUDA runtime (cuda_runtime_api.h, libcudart.so)")
    set(cuda_dirs ${PEPNET_CUDA_DIR})
    if(NOT PEPNET_CUDA_DIR)
      file(GLOB cuda_dirs ${wheels}/nvidia/cu[0-9]* ${wheels}/nvidia/cuda_runtime)
    endif()
    foreach(dir ${cuda_dirs})
      file(GLOB library ${dir}/lib/libcudart.so.[0-9]* ${dir}/lib/libcudart.so
        ${dir}/lib64/libcudart.so)
      if(library AND NOT PEPNET_NCCL_FOUND)
        list(GET library 0 library)
        pepnet_try_cuda(${library} ${dir}/include ${dir}/include/cccl)
      endif()
    endforeach()
    if(NOT PEPNET_NCCL_FOUND AND NOT PEPNET_CUDA_DIR)
      find_package(CUDAToolkit QUIET)
      if(CUDAToolkit_FOUND)
        list(GET CUDAToolkit_INCLUDE_DIRS 0 dir)
        pepnet_try_cuda(${CUDA_cudart_LIBRARY} ${CUDAToolkit_INCLUDE_DIRS} ${dir}/cccl)
      endif()
    endif()
  endif()
  if(PEPNET_WITH_NCCL STREQUAL "ON" AND NOT PEPNET_NCCL_FOUND)
    message(FATAL_ERROR "PEPNET_WITH_NCCL is ON, and ${PEPNET_NCCL_MISSING}. Run "
                        "scripts/setup.sh --tests, or set PEPNET_NCCL_DIR and PEPNET_CUDA_DIR, "
                        "or set PEPNET_WITH_NCCL to AUTO or OFF.")
  endif()
endif()
if(PEPNET_NCCL_FOUND)
  set(PEPNET_NCCL_SUMMARY ${PEPNET_NCCL_FOUND})
elseif(PEPNET_WITH_NCCL STREQUAL "OFF")
  set(PEPNET_NCCL_SUMMARY "not used (PEPNET_WITH_NCCL is OFF)")
else()
  set(PEPNET_NCCL_SUMMARY "not used (${PEPNET_NCCL_MISSING})")
endif()
