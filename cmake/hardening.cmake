# Makes a fault of the programs harder to use by others: they are position independent, and what the
# loader has written (the table of imported functions among it) is read-only before main() begins.
#
# Every entry of their RPATH is an absolute path. CMake ends one that it may exchange at the
# installation with a ':', and the loader takes the empty entry behind it for the current directory:
# a libm.so.6 that lies there would run. So the programs are linked with the RPATH that they keep.
if(PEPNET_TORCH_FREE)
  return()  # no `pepnet`
endif()
set(libraries ${PEPNET_TORCH_CPU_LIBRARY})
if(TARGET pepnet::nccl)
  get_target_property(nccl_libraries pepnet::nccl INTERFACE_LINK_LIBRARIES)
  list(PREPEND libraries ${nccl_libraries})
endif()
set(folders "")
foreach(library ${libraries})
  if(IS_ABSOLUTE "${library}")
    get_filename_component(folder "${library}" DIRECTORY)
    list(APPEND folders "${folder}")
  endif()
endforeach()
list(REMOVE_DUPLICATES folders)
set_target_properties(pepnet PROPERTIES INSTALL_RPATH "${folders};${PEPNET_ARROW_DIR}")
set_target_properties(pepnet_ps PROPERTIES INSTALL_RPATH "${PEPNET_ARROW_DIR}")
foreach(program pepnet pepnet_ps)
  set_target_properties(${program} PROPERTIES BUILD_WITH_INSTALL_RPATH TRUE)
  target_link_options(${program} PRIVATE -pie -Wl,-z,relro,-z,now,-z,noexecstack)
endforeach()
