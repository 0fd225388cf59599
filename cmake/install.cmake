# `cmake --install`: the programs into bin/, with the libraries of the virtual environment they were
# built with by absolute path. In a build of the wheel (scikit-build-core sets SKBUILD): into the
# Python package, with what they need beside them.
if(PEPNET_TORCH_FREE)
  return()  # no `pepnet`
endif()
set_target_properties(pepnet pepnet_ps PROPERTIES INSTALL_RPATH_USE_LINK_PATH TRUE)
if(NOT SKBUILD)
  install(TARGETS pepnet pepnet_ps RUNTIME DESTINATION bin)
  return()
endif()
install(TARGETS pepnet pepnet_ps RUNTIME DESTINATION pepnet_trainer/bin)
install(CODE "
  execute_process(
    COMMAND ${PEPNET_PYTHON} ${CMAKE_SOURCE_DIR}/cmake/carry_libraries.py
            \${CMAKE_INSTALL_PREFIX}/pepnet_trainer
    COMMAND_ERROR_IS_FATAL ANY)")
